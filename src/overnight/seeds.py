"""Changes that choose a seed: what scores well by it is a lucky draw, not a better program."""

from __future__ import annotations

import re

_SETS = re.compile(
    r"""(?:
        (?:\b|_)seed["']?\s*(?::\s*\w+\s*)?[=(:] | --seed\s |
        \b(?:seed_everything|seed_from_u64|srand|prngkey|random\.key|default_rng|pcg64)\( |
        \brandom_?state["']?\s*[=(:] | \b(?-i:Random)\(
    )\s*\(?-?\d""",
    re.IGNORECASE | re.VERBOSE,
)
"""An assignment, an argument, a call, a key or an option, with a number."""
_COMMENT = re.compile(r"(^|\s)(#|//|--\s|%|;).*")
_GIVEN = "OVERNIGHT_SEED"


def chosen_seed(diff: str) -> str | None:
    """The line by which this patch sets a seed, or no longer reads the one that is given; None when
    it does neither. A seed that was there before is none of its business."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    added = [line[1:].strip() for line in lines if line.startswith("+")]
    removed = [line[1:].strip() for line in lines if line.startswith("-")]
    for line in added:
        if _SETS.search(_COMMENT.sub("", line)) and line not in removed:
            return line
    given = [line for line in removed if _GIVEN in line]
    return given[0] if given and not any(_GIVEN in line for line in added) else None
