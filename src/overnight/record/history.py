"""The history of a campaign as its driver holds it: bounded, however long the campaign."""

from __future__ import annotations

from collections.abc import Sequence

from overnight.core.experiment import Experiment, Verdict, estimate
from overnight.record.ledger import Ledger

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
        self._provisional: list[Experiment] = []
        self._recent: list[Experiment] = []
        self.measured = 0
        """Measurements that the campaign has taken."""
        self.prior: Sequence[Experiment] = ()
        """Experiments of the arena's earlier campaigns."""

    def load(self) -> None:
        """Read everything from the ledger."""
        newest = self._ledger.experiments(self._tag, last=RECENT)
        self._recent = [experiment for experiment in newest if experiment.verdict]
        self._kept = self._ledger.experiments(self._tag, verdict=Verdict.KEEP)
        self._provisional = self._ledger.experiments(self._tag, verdict=Verdict.PROVISIONAL)
        self.measured = self._ledger.measured(self._tag)
        self.prior = self._others()

    def add(self, experiment: Experiment) -> None:
        """Note an experiment that has just finished."""
        self._recent = [*self._recent[-RECENT + 1 :], experiment]
        if experiment.kept:
            self._kept.append(experiment)
        if experiment.verdict is Verdict.PROVISIONAL:
            self._provisional.append(experiment)

    def refresh(self, n: int) -> None:
        """Experiment n was measured again: its score is the estimate from all measurements."""
        again = self._ledger.experiment(self._tag, n)
        assert again is not None
        if again.scores:
            again = self._ledger.revise_score(self._tag, n, estimate(again))
        self._replace(again)

    def revise(self, experiments: Sequence[Experiment]) -> None:
        """Provisional keeps have been confirmed or dropped."""
        numbers = {experiment.n for experiment in experiments}
        self._provisional = [e for e in self._provisional if e.n not in numbers]
        self._kept += [experiment for experiment in experiments if experiment.kept]
        for experiment in experiments:
            self._replace(experiment)

    def find(self, n: int) -> Experiment:
        """A finished experiment that is held, as it is known now."""
        return next(e for e in [*self._kept, *self._provisional, *self._recent] if e.n == n)

    def _replace(self, experiment: Experiment) -> None:
        for held in (self._kept, self._provisional, self._recent):
            held[:] = [experiment if e.n == experiment.n else e for e in held]

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
        held = [*self._kept, *self._provisional]
        return [*(e for e in held if e.n < oldest), *self._recent]

    @property
    def keeps(self) -> Sequence[Experiment]:
        """Every confirmed keep after the baseline."""
        return self._kept[1:]

    @property
    def begun(self) -> bool:
        """Whether there is a baseline."""
        return bool(self._kept)

    @property
    def baseline(self) -> Experiment:
        return self._kept[0]

    @property
    def incumbent(self) -> Experiment:
        """The newest keep that is confirmed."""
        return self._kept[-1]

    @property
    def stack(self) -> Sequence[Experiment]:
        """The incumbent and the provisional keeps above it, the tip last."""
        return [self._kept[-1], *self._provisional]

    @property
    def tip(self) -> Experiment:
        """What the next change is made to: the newest keep, provisional or not."""
        return self.stack[-1]

    @property
    def fresh_seed(self) -> int:
        """A seed that no measurement of the campaign has had."""
        return self.measured

    @property
    def latest(self) -> Experiment:
        """The newest finished experiment."""
        return self._recent[-1]
