"""The history of a campaign as its driver holds it: bounded, however long the campaign."""

from __future__ import annotations

from collections.abc import Sequence

from overnight.experiment import Experiment, Verdict
from overnight.judge import estimate
from overnight.ledger import Ledger
from overnight.tables import Metric

RECENT = 1000
"""The newest finished experiments that are held, beside every keep."""
PRIOR = 300
"""The newest experiments of earlier campaigns that are held."""


class History:
    """Finished experiments of a campaign, oldest first: every keep and the newest RECENT."""

    def __init__(self, ledger: Ledger, tag: str) -> None:
        self._ledger = ledger
        self._tag = tag
        self._kept: list[Experiment] = []
        self._recent: list[Experiment] = []
        self.prior: Sequence[Experiment] = ()
        """Experiments of the arena's earlier campaigns."""

    def load(self) -> None:
        """Read everything from the ledger."""
        newest = self._ledger.experiments(self._tag, last=RECENT)
        self._recent = [experiment for experiment in newest if experiment.verdict]
        self._kept = self._ledger.experiments(self._tag, verdict=Verdict.KEEP)
        self.prior = self._others()

    def add(self, experiment: Experiment) -> None:
        """Note an experiment that has just finished."""
        self._recent = [*self._recent[-RECENT + 1 :], experiment]
        if experiment.kept:
            self._kept.append(experiment)

    def refresh_incumbent(self, metric: Metric) -> None:
        """The incumbent was measured again: its score is the judge's estimate from all."""
        again = self._ledger.experiment(self._tag, self.incumbent.n)
        assert again is not None
        revised = self._ledger.revise_score(self._tag, again.n, estimate(again.scores))
        self._kept[-1] = revised
        self._recent = [revised if e.n == revised.n else e for e in self._recent]

    def _others(self) -> list[Experiment]:
        """Of other campaigns, oldest first."""
        found: list[Experiment] = []
        for campaign in reversed(self._ledger.campaigns()):
            if campaign.tag != self._tag and (room := PRIOR - len(found)):
                newest = self._ledger.experiments(campaign.tag, last=room)
                found = [*(e for e in newest if e.verdict), *found]
        return found

    @property
    def finished(self) -> Sequence[Experiment]:
        """Oldest first."""
        oldest = self._recent[0].n if self._recent else 0
        return [*(e for e in self._kept if e.n < oldest), *self._recent]

    @property
    def wins(self) -> Sequence[Experiment]:
        """Every keep after the baseline."""
        return self._kept[1:]

    @property
    def baseline(self) -> Experiment:
        return self._kept[0]

    @property
    def incumbent(self) -> Experiment:
        """The newest keep."""
        return self._kept[-1]

    @property
    def latest(self) -> Experiment:
        """The newest finished experiment."""
        return self._recent[-1]
