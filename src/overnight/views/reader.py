"""Opens a campaign's record for the commands that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.arena.arena import Arena
from overnight.core.errors import NoCampaign, UsageError
from overnight.core.experiment import Experiment
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE

if TYPE_CHECKING:  # loaded where they are used: most commands print a table and end
    from overnight.repo.workspace import Workspace
    from overnight.views.summary import Summary

_RECENT = 50
"""How many of the newest experiments a view needs."""


@dataclass(frozen=True)
class Record:
    """One campaign in an arena's ledger."""

    arena: Arena
    ledger: Ledger
    tag: str

    @classmethod
    def of(cls, book: Book) -> Record:
        """The record of a campaign whose book is already open."""
        return cls(book.arena, book.ledger, book.tag)

    @cached_property
    def book(self) -> Book:
        """The campaign as it is now."""
        return Book.of(self.arena, self.ledger, self.tag, _RECENT)

    def summary(self) -> Summary:
        """The state of the campaign."""
        from overnight.views.summary import summarize

        return summarize(self.book)

    def experiments(self) -> Iterator[Experiment]:
        """All experiments of the campaign, oldest first, read page by page."""
        after = -1
        while page := self.ledger.experiments(self.tag, after=after, first=PAGE):
            yield from page
            after = page[-1].n

    def experiment(self, n: int, whole: bool = False) -> Experiment:
        """Experiment `n`; with `whole`, including its final exams and replays. Raises UsageError if
        there is none, with the numbers that exist."""
        newest = self.ledger.experiments(self.tag, last=1)
        # A number that is too large for the database must not reach it.
        there = newest and 0 <= n <= newest[0].n
        found = self.ledger.experiment(self.tag, n, whole) if there else None
        if found is None:
            have = f"it has 0 to {newest[0].n}" if newest else "it has none yet"
            raise UsageError(f"campaign {self.tag} has no experiment {n}; {have}")
        return found

    def diff(self, n: int) -> str:
        """What experiment n changed, as a patch; empty for the baseline."""
        experiment = self.experiment(n)
        if experiment.candidate is None:
            raise UsageError(f"experiment {n} has no candidate: {experiment.reason}")
        if experiment.parent is None:
            return ""
        return self._workspace().diff(experiment.parent, experiment.candidate)

    def brief(self) -> str:
        """The brief that an agent which submits its own changes would get now, by the arena of the
        campaign's base commit."""
        from overnight.agents.base import Reader
        from overnight.briefing.brief import first_brief, write_brief
        from overnight.repo.base_arena import base_arena

        arena = base_arena(self.arena, self._workspace(), self.book.record.base)
        book, reader = Book.of(arena, self.ledger, self.tag), Reader(edits=False)
        return write_brief(book, reader=reader) if book.begun else first_brief(arena, reader)

    def draw(self) -> Path:
        """Write progress.png and return its path; write holdout.png if there are exam scores."""
        from overnight.views.plots import draw, draw_gap  # loads matplotlib, which takes a second

        path = self.arena.state / "progress.png"
        summary = self.summary()
        draw(self.ledger.experiments(self.tag), self.arena, path, summary.gained)
        if summary.holdout and summary.holdout.gains:
            draw_gap(summary.holdout, self.arena, self.arena.state / "holdout.png")
        return path

    def report(self) -> Path:
        """Write report.md. Returns its path."""
        from overnight.views.report import write_report

        path = self.arena.state / "report.md"
        write_report(self.book, self._workspace().diff, path, self.unmoved())
        return path

    def unmoved(self) -> str | None:
        """The incumbent's commit if the branch is not there, because it is checked out or gone,
        else None."""
        tip = self._workspace().refs.branch(self.tag)
        wanted = self.book.incumbent.candidate if self.book.begun else tip
        return None if tip == wanted else wanted

    def _workspace(self) -> Workspace:
        from overnight.repo.workspace import Workspace

        return Workspace.open(self.arena.root, self.arena.state)


@contextmanager
def open_record(root: Path, tag: str | None) -> Iterator[Record]:
    """The record of the campaign `tag`, by default the newest, of the arena in the folder `root`.

    Raises NoCampaign, ArenaError, LedgerError.
    """
    arena = Arena.load(root)
    place = arena.ledger_place
    none_yet = f"{root} has no campaign yet; start one with `overnight run` or `overnight try`"
    if isinstance(place, Path) and not place.exists():
        raise NoCampaign(none_yet)
    ledger = Ledger.at(place, arena.name, create=False)
    try:
        known = [campaign.tag for campaign in ledger.campaigns()]
        if not known:
            raise NoCampaign(none_yet)
        if tag is not None and tag not in known:
            raise NoCampaign(f"there is no campaign {tag}; there is: {', '.join(known)}")
        yield Record(arena, ledger, tag or known[-1])
    finally:
        ledger.close()
