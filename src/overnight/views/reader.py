"""A campaign's record, open for reading: what every command that only looks begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.errors import NoCampaign, UsageError
from overnight.core.experiment import Experiment
from overnight.record.history import History
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE
from overnight.repo.base_arena import base_arena
from overnight.repo.workspace import Workspace
from overnight.views.report import write_report
from overnight.views.summary import Summary, summarize


@dataclass(frozen=True)
class Record:
    """An arena's ledger, and the campaign that is spoken of."""

    arena: Arena
    ledger: Ledger
    tag: str

    def summary(self) -> Summary:
        """Where the campaign stands now."""
        return summarize(self.arena, self.ledger, self.tag)

    def experiments(self) -> Iterator[Experiment]:
        """Every one of the campaign, oldest first, however many there are."""
        after = -1
        while page := self.ledger.experiments(self.tag, after=after, first=PAGE):
            yield from page
            after = page[-1].n

    def experiment(self, n: int, whole: bool = False) -> Experiment:
        """`whole`: with its final exams and replays. Raises UsageError, with the numbers that there
        are, when there is no such one."""
        newest = self.ledger.experiments(self.tag, last=1)
        # No database is asked for a number that it cannot hold.
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
        """What an agent that tries changes of its own would be told now, under the campaign's own
        contract."""
        from overnight.agents.base import Reader
        from overnight.briefing.brief import first_brief, write_brief  # imports the agents

        campaign = self.ledger.campaign(self.tag)
        assert campaign is not None
        arena = base_arena(self.arena, self._workspace(), campaign.base)
        history = History(self.ledger, self.tag)
        history.load()
        steers = self.ledger.events(self.tag, "steer")
        reader = Reader(edits=False)
        if not history.begun:
            return first_brief(arena, reader)
        return write_brief(arena, history, steers, reader=reader)

    def draw(self) -> Path:
        """Write progress.png, and holdout.png where there is a final exam."""
        from overnight.views.plots import draw, draw_gap  # loads matplotlib, which takes a second

        path = self.arena.state / "progress.png"
        summary = self.summary()
        draw(self.ledger.experiments(self.tag), self.arena, path, summary.gained)
        if summary.holdout and summary.holdout.gains:
            draw_gap(summary.holdout, self.arena, self.arena.state / "holdout.png")
        return path

    def report(self) -> Path:
        """Write report.md."""
        path = self.arena.state / "report.md"
        write_report(self.arena, self.ledger, self._workspace().diff, self.tag, path)
        return path

    def _workspace(self) -> Workspace:
        return Workspace.open(self.arena.root, self.arena.state)


@contextmanager
def open_record(root: Path, tag: str | None) -> Iterator[Record]:
    """The record of the campaign `tag`, by default the newest, of the arena in this folder.

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
