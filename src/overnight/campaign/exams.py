"""The final exam: who sits it, and when. Its results go to no agent and into no decision.

What is due follows from the ledger alone, so that a driver that was killed goes on with the same
list and nobody sits twice. How it is told that a campaign has over-fitted its referee: gap.py.
"""

from __future__ import annotations

from collections.abc import Callable

from overnight.arena.settings import Holdout
from overnight.campaign.measurements import Measure
from overnight.core.experiment import Experiment, Purpose, Verdict
from overnight.record.ledger import Ledger

SEED = 1_000_000
"""Of every exam: one that no judging measurement has, and the same for the baseline and the wins,
so that they differ by less luck."""


class Exams:
    """The final exams of one campaign, in an arena with `[holdout]`; without it, none."""

    def __init__(
        self,
        table: Holdout | None,
        ledger: Ledger,
        tag: str,
        measure: Measure,
        warn: Callable[[str], None],
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._tag = tag
        self._measure = measure
        self._warn = warn
        self._keeps = 0

    def sit(self, end: bool = False) -> None:
        """Hold the exams that are due; `end`: the incumbent's too."""
        keeps = self._ledger.counts(self._tag).get(Verdict.KEEP, 0)
        if self._table is None or (keeps == self._keeps and not end):
            return
        for experiment in due(self._ledger, self._tag, self._table.every, end):
            measurement = self._measure(Purpose.HOLDOUT, experiment, SEED)
            if measurement.score is None:
                # Not what it printed: that may tell of the exam's data.
                self._warn(
                    f"the final exam of experiment {experiment.n} gave no score "
                    f"({measurement.outcome}); its logs are in {measurement.log}"
                )
        self._keeps = keeps


def due(ledger: Ledger, tag: str, every: int, end: bool = False) -> list[Experiment]:
    """The keeps that are to sit the exam now: the baseline, every `every`-th keep after the last
    that sat it, and, at the end, the incumbent. One that failed it has sat it. Those that were
    confirmed with a later one do not count: only of the whole is known what it gained."""
    sat = ledger.exams(tag)
    keeps = [e for e in ledger.experiments(tag, verdict=Verdict.KEEP) if not e.is_member]
    if not keeps:
        return []
    last = max((at for at, keep in enumerate(keeps) if keep.n in sat), default=-1)
    # A keep that is confirmed late may stand before one that sat already: it is passed over.
    chosen = keeps[last + every :: every] if last >= 0 else keeps[::every]
    if end and keeps[-1].n not in sat and keeps[-1] not in chosen:
        chosen.append(keeps[-1])
    return chosen
