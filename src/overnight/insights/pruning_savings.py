"""What pruning has saved, and how many wins it cost as estimated from the controls: runs that were
to be ended early and were allowed to finish.

Each pruning records an event with the totals so far, so only the newest event is read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median

from overnight.core.experiment import Event, Experiment, Measurement, Outcome, Verdict
from overnight.core.quantity import format_duration
from overnight.core.text import counted
from overnight.record.book import Book
from overnight.record.ledger import Note

_PRUNE = "prune"
_WON = ("keep", "provisional")
"""Verdicts of a control that show that pruning it would have cost a win."""


@dataclass(frozen=True)
class Savings:
    """Totals of pruning in a campaign so far."""

    prunes: int = 0
    """Runs that were ended early."""
    controls: int = 0
    """Runs that were to be ended early but were allowed to finish."""
    seconds_saved: float = 0.0
    """Wall seconds by which the ended runs were shorter than the incumbent's median run."""
    wins_lost: int = 0
    """Controls that won."""

    @property
    def words(self) -> str:
        """The totals in one line; empty without pruned runs and controls."""
        if not self.prunes and not self.controls:
            return ""
        runs = f"{counted(self.prunes, 'run')} ended early"
        saved = f"{format_duration(self.seconds_saved)} saved"
        controls = counted(self.controls, "control")
        return f"{runs}, {saved}; wins lost: {self.wins_lost} of {controls}"

    @classmethod
    def of(cls, event: Event | None) -> Savings:
        """The totals in an event; zeros without one."""
        if event is None:
            return cls()
        data = {name: float(event.data.get(name) or 0) for name in cls.__dataclass_fields__}
        seconds = data.pop("seconds_saved")
        return cls(**{name: int(number) for name, number in data.items()}, seconds_saved=seconds)


def savings(book: Book) -> Savings:
    """The totals of pruning in this campaign."""
    return Savings.of(book.ledger.newest_event(book.tag, _PRUNE))


def counted_pruning(book: Book, e: Experiment, verdict: Verdict) -> list[Note]:
    """The event with the new totals once the experiment gets this verdict; none unless its first
    run was pruned or a control."""
    first = next(iter(e.judged), None)
    pruned = first is not None and first.outcome is Outcome.PRUNED
    control = first is not None and "prune_control" in first.numbers
    if e.verdict is not None or first is None or not (pruned or control):
        return []
    before = savings(book)
    now = Savings(
        before.prunes + pruned,
        before.controls + control,
        before.seconds_saved + (_saved(book, first) if pruned else 0.0),
        before.wins_lost + (control and verdict in _WON),
    )
    return [(_PRUNE, {"n": e.n, **asdict(now)})]


def _saved(book: Book, pruned: Measurement) -> float:
    judged = book.incumbent.judged if book.begun else ()
    whole = [m.stage_seconds.get("run", 0.0) for m in judged if m.score is not None]
    return max(median(whole) - pruned.stage_seconds["run"], 0.0) if whole else 0.0
