"""What an agent says about its change: a title, why it should help, and the gain it expects."""

from __future__ import annotations

import math
import re
from pathlib import Path

from overnight.core.experiment import Idea
from overnight.core.files import plain_text, take_away
from overnight.core.text import one_line

IDEA_FILE = ".overnight-idea.md"
"""Where an agent that edits files describes its change: a title line, then the hypothesis."""
_MOST_BYTES = 20_000
_EXPECTED = re.compile(
    r"^[ \t]*Expected:[ \t]*([-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[ \t]*$\n?", re.MULTILINE
)


def take_idea(folder: Path, title: str) -> Idea:
    """Read and remove the idea file of a worktree. `title`: used where the file has none. Only a
    plain file is read, never a link."""
    text = plain_text(folder / IDEA_FILE, _MOST_BYTES)
    take_away(folder / IDEA_FILE)
    return idea_in(text or "", title)


def idea_in(text: str, title: str) -> Idea:
    """From a title line, then the hypothesis; a line `Expected: +0.01` anywhere is the expected
    gain."""
    rest, expected = expectation_in(text.replace("\r\n", "\n"))
    first, _, body = rest.strip().partition("\n")
    hypothesis = body.strip().removeprefix("Hypothesis:").strip()
    return Idea(one_line(first.lstrip("# ")) or title, hypothesis, expected=expected)


def expectation_in(text: str) -> tuple[str, float | None]:
    """The text without its line `Expected: +0.01`, and that gain in units of the metric; positive
    is better. A line without a finite number is left in the text."""
    for found in _EXPECTED.finditer(text):
        expected = float(found[1].replace("−", "-"))
        if math.isfinite(expected):
            return text[: found.start()] + text[found.end() :], expected
    return text, None
