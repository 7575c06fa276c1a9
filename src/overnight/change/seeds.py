"""Seeds that a change chooses: with one, a good score is a lucky draw, not a better program."""

from __future__ import annotations

import re
from collections.abc import Mapping

from overnight.arena.arena import Arena
from overnight.core.text import one_line
from overnight.repo.workspace import Workspace

_SETS = re.compile(
    r"""(?:
        (?:\b|_)seed["']?\s*(?::\s*\w+\s*)?[=(:] | --seed\s |
        \b(?:seed_everything|seed_from_u64|srand|prngkey|random\.key|default_rng|pcg64)\( |
        \brandom_?state["']?\s*[=(:] | \b(?-i:Random)\(
    )\s*\(?-?\d""",
    re.IGNORECASE | re.VERBOSE,
)
"""Sets a seed: an assignment, argument, call, key or option with a number."""
_DRAWS = re.compile(
    r"\b(?:(?:from|import)\s+random\b|random\.\w+\(|rand\w*(?:\(|::)|shuffle\(|\w*seed\w*\()",
    re.IGNORECASE,
)
"""Uses randomness, whose seed may be set elsewhere."""
_WORDS = "seed|rand|shuffle|prngkey|default_rng|pcg64"
"""In every line that matches one of the two; for `git grep`."""
_COMMENT = re.compile(r"(^|\s)(#|//|--\s|%|;).*")
GIVEN = "OVERNIGHT_SEED"
_MOST = 80  # characters that are quoted of a line


def chosen_seed(diff: str) -> str | None:
    """The line by which this patch sets a seed, or by which it stops reading OVERNIGHT_SEED; None
    when it does neither. Seeds that were set before are ignored."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    added = [line[1:].strip() for line in lines if line.startswith("+")]
    removed = [line[1:].strip() for line in lines if line.startswith("-")]
    for line in added:
        if _SETS.search(_COMMENT.sub("", line)) and line not in removed:
            return line
    given = [line for line in removed if GIVEN in line]
    return given[0] if given and not any(GIVEN in line for line in added) else None


def seed_set_in(files: Mapping[str, str]) -> str | None:
    """The first line of these files (path → text) that sets a seed, such as "train.py has `SEED =
    7`"; None when none does."""
    return _first(_SETS, files)


def fixed_seed(arena: Arena, workspace: Workspace, commit: str) -> str | None:
    """The first line of a commit's editable files that sets a seed, or else uses randomness; None
    without either, or when a file other than prose reads OVERNIGHT_SEED. If repeats of a program
    with such a line are equal, all its measurements share one random draw."""
    for path in workspace.mentioning(commit, GIVEN):
        text = (workspace.read(commit, path) or b"").decode(errors="replace")
        if not path.endswith(".md") and any(
            GIVEN in _COMMENT.sub("", line) for line in text.splitlines()
        ):
            return None
    paths = filter(arena.is_editable, workspace.mentioning(commit, _WORDS))
    blobs = {path: workspace.read(commit, path) or b"" for path in paths}
    files = {path: blob.decode(errors="replace") for path, blob in blobs.items()}
    return seed_set_in(files) or _first(_DRAWS, files)


def _first(pattern: re.Pattern[str], files: Mapping[str, str]) -> str | None:
    for path, text in files.items():
        for line in text.splitlines():
            if pattern.search(_COMMENT.sub("", line)):
                return f"{path} has `{one_line(line.strip(), _MOST)}`"
    return None
