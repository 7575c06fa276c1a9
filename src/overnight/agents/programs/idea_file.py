"""What an agent says of its change: a title, why it should help, and how much it expects of it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from overnight.core.experiment import Idea
from overnight.core.files import plain_text, take_away
from overnight.core.text import one_line

IDEA_FILE = ".overnight-idea.md"
"""Where an agent that edits files may say what it did: a title line, then the hypothesis."""
_MOST_BYTES = 20_000
_EXPECTED = re.compile(
    r"^[ \t]*Expected:[ \t]*([-+−]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[ \t]*$\n?", re.MULTILINE
)


def take_idea(folder: Path, title: str) -> Idea:
    """The idea file of a worktree, which is then gone; `title` where it names none. A link, or
    anything but a plain file, says nothing."""
    said = plain_text(folder / IDEA_FILE, _MOST_BYTES)
    take_away(folder / IDEA_FILE)
    return idea_in(said or "", title)


def idea_in(text: str, title: str) -> Idea:
    """A title line, then the hypothesis; in a line of its own, wherever, `Expected: +0.01`."""
    words, expected = expectation_in(text.replace("\r\n", "\n"))
    first, _, body = words.strip().partition("\n")
    hypothesis = body.strip().removeprefix("Hypothesis:").strip()
    return Idea(one_line(first.lstrip("# ")) or title, hypothesis, expected=expected)


def expectation_in(text: str) -> tuple[str, float | None]:
    """The text without its line `Expected: +0.01`, and the gain that it names: positive is better,
    in units of the metric. A line that names no finite number is text like any other."""
    for found in _EXPECTED.finditer(text):
        expected = float(found[1].replace("−", "-"))
        if math.isfinite(expected):
            return text[: found.start()] + text[found.end() :], expected
    return text, None
