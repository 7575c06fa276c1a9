"""Measures a past candidate again because the user asks. No verdict changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from overnight.arena.settings import Metric
from overnight.campaign.slots import Measure
from overnight.core.errors import UsageError
from overnight.core.experiment import Experiment, Measurement, Purpose, counted_scores
from overnight.record.book import Book

FIRST_SEED = 2_000_000
"""Seed of an experiment's first replay; later ones count up. Other kinds of measurements have other
seeds."""


@dataclass(frozen=True)
class Replay:
    """What one call of `overnight replay` found."""

    experiment: Experiment
    metric: Metric
    taken: Sequence[Measurement]

    @property
    def scores(self) -> tuple[float, ...]:
        """The scores of this call."""
        return tuple(m.score for m in self.taken if m.score is not None)

    @property
    def before(self) -> Sequence[float]:
        """The scores that count for it: not those that it was chosen for, if there are others."""
        return counted_scores(self.experiment)

    @property
    def mean(self) -> float | None:
        return fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of the new scores; None for fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def difference(self) -> float | None:
        """Mean of the new scores minus mean of those before; positive is better."""
        if self.mean is None or not self.before:
            return None
        return self.metric.orient(self.mean) - self.metric.orient(fmean(self.before))

    def document(self) -> dict[str, object]:
        """What `overnight replay --json` prints. Absent is null."""
        return {
            "n": self.experiment.n,
            "verdict": self.experiment.verdict,
            "before": list(self.before),
            "scores": list(self.scores),
            "mean": self.mean,
            "spread": self.spread,
            "difference": self.difference,
            "outcomes": [m.outcome.value for m in self.taken],
        }


def replay(book: Book, measure: Measure, stopped: Callable[[], bool], n: int, times: int) -> Replay:
    """Measure experiment n's candidate `times` times with seeds that it never had; fewer times if
    the user stops it. Raises UsageError if there is no such experiment or candidate."""
    whole, judged = book.ledger.experiment(book.tag, n, whole=True), book.find(n)
    if whole is None or judged is None:
        raise UsageError(f"campaign {book.tag} has no experiment {n}: see `overnight log`")
    if whole.candidate is None:
        raise UsageError(f"experiment {n} has no candidate to measure again: {whole.reason}")
    seed = FIRST_SEED + sum(m.purpose is Purpose.REPLAY for m in whole.measurements)
    taken: list[Measurement] = []
    while len(taken) < times and not stopped():
        taken.append(measure(Purpose.REPLAY, judged, seed + len(taken)))
    return Replay(judged, book.arena.metric, taken)
