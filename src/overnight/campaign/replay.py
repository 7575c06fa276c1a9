"""A past candidate, measured again because the user asks. No verdict changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from overnight.arena.settings import Metric
from overnight.campaign.slots import Measure
from overnight.core.errors import UsageError
from overnight.core.experiment import Experiment, Measurement, Purpose
from overnight.record.book import Book

FIRST_SEED = 2_000_000
"""The seed of an experiment's first replay; later ones count on. No other kind of measurement has
such seeds."""


@dataclass(frozen=True)
class Replay:
    """What one call of `overnight replay` found."""

    experiment: Experiment
    metric: Metric
    taken: Sequence[Measurement]

    @property
    def scores(self) -> tuple[float, ...]:
        """Those of this call."""
        return tuple(m.score for m in self.taken if m.score is not None)

    @property
    def mean(self) -> float | None:
        return fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of the new scores; None for fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def difference(self) -> float | None:
        """What the new scores are better by than those that judged it, mean against mean."""
        if self.mean is None or not self.experiment.scores:
            return None
        return self.metric.orient(self.mean) - self.metric.orient(fmean(self.experiment.scores))

    def document(self) -> dict[str, object]:
        """What `overnight replay --json` prints. Absent is null."""
        return {
            "n": self.experiment.n,
            "verdict": self.experiment.verdict,
            "before": list(self.experiment.scores),
            "scores": list(self.scores),
            "mean": self.mean,
            "spread": self.spread,
            "difference": self.difference,
            "outcomes": [m.outcome.value for m in self.taken],
        }


def replay(book: Book, measure: Measure, stopped: Callable[[], bool], n: int, times: int) -> Replay:
    """Measure experiment n's candidate so many times, each with a seed that it never had; fewer
    when the user stops it. Raises UsageError when there is nothing to measure."""
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
