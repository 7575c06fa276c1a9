"""Seeds that a change chooses: with one, a good score is a lucky draw, not a better program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from overnight.arena.arena import FILE, Arena
from overnight.change.source import comment_sign
from overnight.core.text import one_line
from overnight.repo.patch import changed_lines
from overnight.repo.workspace import Workspace

_SETS = re.compile(
    r"""(?:
        (?:\b|_)seed["']?\s*(?::\s*\w+\s*)?[=(:] | --seed\s |
        \b(?:seed_everything|seed_from_u64|srand|prngkey|random\.key|default_rng|pcg64)\( |
        \brandom_?state["']?\s*[=(:] | \b(?-i:Random)\(
    )\s*\(?-?\d[\w.]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""Sets a seed: an assignment, argument, call, key or option with a number."""
_DRAWS = re.compile(
    r"\b(?:(?:from|import)\s+random\b|random\.\w+\(|rand\w*(?:\(|::)|shuffle\(|\w*seed\w*\()",
    re.IGNORECASE,
)
"""Uses randomness, whose seed may be set elsewhere."""
_WORDS = "seed|rand|shuffle|prngkey|default_rng|pcg64"
"""For `git grep`: every line that `_SETS` or `_DRAWS` matches has one of these words."""
_SIGNS = "#|//|--\\s|%|;"
"""What may begin a comment where the kind of file is not known."""
_AGAIN = re.compile(r"seed|spawn|jump|advance", re.IGNORECASE)
"""Takes another stream of a generator, or changes its seed."""
GIVEN = "OVERNIGHT_SEED"
_MOST = 80  # characters that are quoted of a line


def chosen_seed(diff: str) -> str | None:
    """The line by which this patch sets a seed; None when it sets none. Seeds that were set before
    are ignored, also where they are moved."""
    before = Counter(s for _, _, code in _changed(diff, "-") for s in _settings(code))
    for _, line, code in _changed(diff, "+"):
        now = Counter(_settings(code))
        if now - before:
            return line.strip()
        before -= now
    return None


def unread_seed(diff: str, workspace: Workspace, commit: str) -> str | None:
    """The line without which a file of this commit no longer reads OVERNIGHT_SEED; None when the
    patch takes no such line away, or reads it elsewhere. `diff`: the patch that made the commit."""
    if any(GIVEN in code for _, _, code in _changed(diff, "+")):
        return None
    for path, line, code in _changed(diff, "-"):
        if GIVEN in code:
            data = workspace.read(commit, path.removeprefix(workspace.prefix)) or b""
            if not _reads_given(path, data):
                return line.strip()
    return None


def _changed(diff: str, sign: str) -> Iterator[tuple[str, str, str]]:
    """File, line and code of each line that a patch adds (`+`) or removes (`-`)."""
    for path, lines in changed_lines(diff).items():
        for line in lines:
            if line.startswith(sign):
                yield path, line[1:], _code(path, line[1:])


def _reads_given(path: str, data: bytes) -> bool:
    lines = data.decode(errors="replace").splitlines()
    return any(GIVEN in _code(path, line) for line in lines)


def _settings(code: str) -> Iterator[str]:
    """The seeds that a line sets, each with all that may change it, such as `seed=7+n`."""
    for found in _SETS.finditer(code):
        option = found[0].lower().startswith("--")
        rest = "" if option else _rest_of_value(code[found.end() :], found[0].count("("))
        yield "".join((found[0] + rest).split())


def _rest_of_value(code: str, depth: int) -> str:
    """What follows a number until its argument or its statement ends; all that follows if it speaks
    of the seed again. `depth`: brackets that are open before it."""
    for at, character in enumerate(code):
        depth += (character in "([{") - (character in ")]}")
        ends = character == ";" or (character == "," and depth <= 1) or depth < 0
        if ends or (depth == 0 and character == ")"):
            return code if _AGAIN.search(code[at:]) else code[:at]
    return code


def _code(path: str, line: str) -> str:
    """A line without its comment."""
    return re.sub(rf"(^|\s)(?:{comment_sign(path) or _SIGNS}).*", "", line)


def seed_set_in(files: Mapping[str, str]) -> str | None:
    """The first line of these files (path → text) that sets a seed, such as "train.py has `SEED =
    7`"; None when none does."""
    return _first(_SETS, files)


def fixed_seed(arena: Arena, workspace: Workspace, commit: str) -> str | None:
    """The first line of a commit's editable files that sets a seed, or else uses randomness; None
    without either, or when the program reads OVERNIGHT_SEED. If repeats of a program with such a
    line are equal, all its measurements share one random draw."""
    if GIVEN in arena.run.command:
        return None
    for path in workspace.mentioning(commit, GIVEN):
        data = workspace.read(commit, path) or b""
        if not _is_beside_the_program(arena, path) and _reads_given(path, data):
            return None
    paths = filter(arena.is_editable, workspace.mentioning(commit, _WORDS))
    blobs = {path: workspace.read(commit, path) or b"" for path in paths}
    files = {path: blob.decode(errors="replace") for path, blob in blobs.items()}
    return seed_set_in(files) or _first(_DRAWS, files)


def _is_beside_the_program(arena: Arena, path: str) -> bool:
    """Whether a file is no part of the program: prose, or what prepares and scores it."""
    return path.endswith(".md") or path == FILE or path in arena.scoring_programs


def _first(pattern: re.Pattern[str], files: Mapping[str, str]) -> str | None:
    for path, text in files.items():
        for line in text.splitlines():
            if pattern.search(_code(path, line)):
                return f"{path} has `{one_line(line.strip(), _MOST)}`"
    return None
