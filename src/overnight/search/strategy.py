"""Strategies: where to improve next, computed from the book alone.

HillClimb changes the newest keep. After each PLATEAU experiments without a win it tries something
else: first another agent, then bolder changes, then changes to an earlier keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from overnight.core.experiment import Experiment
from overnight.record.book import Book

PLATEAU = 12
"""Number of experiments without a win after which the strategy changes."""
_BOLD = (
    "There was no win in the last {since} experiments. Small changes near the incumbent no longer "
    "help: try a different kind of change, or combine near misses."
)
_BACK = (
    "There was no win in the last {since} experiments. Your working folder is not the incumbent "
    "but an earlier keep, experiment {n}: continue from there in another direction. Your change "
    "must beat the incumbent."
)


@dataclass(frozen=True)
class Start:
    """Where a change should begin."""

    start: Experiment
    """The experiment whose candidate is changed."""
    against: Experiment
    """The experiment whose candidate the change must beat."""
    hint: str = ""
    """An addition to the brief."""
    other: bool = False
    """Whether the agent with the fewest recent turns should be asked."""
    why: str = ""
    """Why the strategy has changed, in words."""
    switch: str = ""
    """A sentence for the user on what changes from now on; empty if nothing does."""

    @classmethod
    def plain(cls, book: Book) -> Start:
        """Change the tip."""
        return cls(book.tip, book.tip)


class Strategy(Protocol):
    """Chooses what to improve next."""

    def wanted(self, book: Book, free: int) -> list[Start]:
        """Where the next changes should begin, at most `free` of them."""
        ...


class HillClimb:
    """One change at a time, to the newest keep; the next is due when nothing is under way."""

    def wanted(self, book: Book, free: int) -> list[Start]:
        if not free or not book.begun or book.unfinished or book.under_way or book.asked:
            return []
        since = book.next_number - 1 - book.incumbent.n
        if since < PLATEAU:
            return [Start.plain(book)]
        why, tip = f"no win in {since} experiments", book.tip
        step, first = (since // PLATEAU - 1) % 3, since % PLATEAU == 0
        earlier = [book.baseline, *book.keeps][:-1]
        if step == 2 and earlier and since % 2 == 0:
            start = earlier[-1 - (since // (3 * PLATEAU) - 1) % len(earlier)]
            words = f"{why}: every other change starts from experiment {start.n}"
            hint = _BACK.format(since=since, n=start.n)
            return [Start(start, tip, hint, False, why, words if first else "")]
        words = f"{why}: the brief asks for bolder changes" if first else ""
        return [Start(tip, tip, _BOLD.format(since=since), step == 0, why, words)]
