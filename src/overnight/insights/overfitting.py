"""The final exam beside the referee: both curves, and whether they part.

A campaign selects what its referee likes. In so far as that was luck, or a weakness of the
referee's data, the gain is not there on the final exam, on which nothing was selected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from overnight.arena.settings import Metric
from overnight.core.experiment import Experiment, confirmed_gain
from overnight.judge.noise import Noise
from overnight.judge.quantiles import student_t
from overnight.record.book import Book

OVERFITTED = "the final exam says that this campaign over-fitted its referee"
_LUCK = 0.025
"""Honest campaigns of which luck explains no more."""


@dataclass(frozen=True)
class Sitting:
    """A keep that has two scores: the referee's and the final exam's."""

    experiment: Experiment
    exam: float
    confirmed: float | None = None
    """Its gain over the baseline where the judge confirms gains, in units of the metric."""

    @property
    def judged(self) -> float:
        """The referee's score: the judge's estimate from all measurements."""
        assert self.experiment.score is not None
        return self.experiment.score


@dataclass(frozen=True)
class Gap:
    """What the referee and the final exam say about one campaign."""

    metric: Metric
    sittings: Sequence[Sitting]
    """Oldest first."""
    failed: Sequence[int]
    """Numbers of the experiments whose exam gave no score."""
    incumbent: int | None
    """Its number."""
    read: int
    """How many exam scores there are in all campaigns of this arena: each look spends some."""
    noise: Noise
    """Of one measurement before the referee."""

    @property
    def baseline(self) -> Sitting | None:
        first = self.sittings[0] if self.sittings else None
        return first if first and first.experiment.n == 0 else None

    @property
    def newest(self) -> Sitting | None:
        """The newest win that sat the exam."""
        last = self.sittings[-1] if self.sittings else None
        return last if last and last.experiment.n > 0 else None

    @property
    def waiting(self) -> bool:
        """Whether the incumbent has not sat the exam."""
        sat = [*self.failed, *(sitting.experiment.n for sitting in self.sittings)]
        return self.incumbent is not None and self.incumbent not in sat

    @property
    def gains(self) -> tuple[float, float] | None:
        """The newest win's gain over the baseline, by the referee and by the exam, in units of the
        metric, positive is better."""
        return self.gains_of(self.newest) if self.newest else None

    def gains_of(self, sitting: Sitting) -> tuple[float, float] | None:
        """A sitting's gains over the baseline, by the referee and by the exam. None when the
        baseline has not sat it."""
        first = self.baseline
        if first is None:
            return None
        up = self.metric.orient(1.0)
        judged = up * (sitting.judged - first.judged)
        if sitting.confirmed is not None:
            judged = sitting.confirmed
        return judged, up * (sitting.exam - first.exam)

    @property
    def gap(self) -> float | None:
        """What the referee's gain is larger by than the exam's."""
        return self.gains[0] - self.gains[1] if self.gains else None

    def document(self) -> dict[str, object]:
        """What `overnight status --json` says of it. Absent is null."""
        exams = {sitting.experiment.n: sitting.exam for sitting in self.sittings}
        return {
            "baseline": exams.get(0),
            "incumbent": None if self.incumbent is None else exams.get(self.incumbent),
            "gap": self.gap if self.gap is not None and math.isfinite(self.gap) else None,
            "read": self.read,
        }

    @property
    def error(self) -> float | None:
        """The gap's standard error. None when nothing was measured twice."""
        errors = self.errors_of(self.newest) if self.newest else None
        return math.hypot(*errors) if errors else None

    def errors_of(self, sitting: Sitting) -> tuple[float, float] | None:
        """Standard errors of a sitting's two gains. A measurement is taken to be as noisy on the
        exam as before the referee, and all to be independent; they share seeds, so these err on
        the large side."""
        if not self.noise.differences or self.baseline is None:
            return None
        sides = (self.baseline, sitting)
        judged = sum(_of_median(len(side.experiment.scores)) for side in sides)
        return self.noise.sigma * math.sqrt(judged), self.noise.sigma * math.sqrt(2)

    @property
    def overfitted(self) -> bool:
        """Whether the campaign has over-fitted its referee: less than half of its gain is there on
        the exam, and the gap is more than luck gives in 2.5 % of honest campaigns (Student's t with
        a degree of freedom for every repeat, about 2 standard errors).

        Both are asked, for every search gains a little more where it selects: that alone is no
        reason to distrust it. What it cannot tell from over-fitting is an exam on which the same
        gain is honestly harder. Without a measured noise only an exam without any gain is a
        warning.
        """
        if self.gains is None or self.gap is None:
            return False
        referee, exam = self.gains
        if referee <= 0 or exam >= referee / 2:
            return False
        if self.error is None:
            return exam <= 0
        luck = student_t(len(self.noise.differences), 1 - _LUCK)
        return self.gap > luck * self.error


def read_gap(book: Book, noise: Noise) -> Gap | None:
    """By the noise of one measurement. None without `[holdout]` and without any exam."""
    arena, exams = book.arena, book.exams
    if arena.holdout is None and not exams:
        return None
    kept = [book.baseline, *book.keeps] if book.begun else []
    steps = accumulate(confirmed_gain([e]) for e in kept[1:])
    confirmed = {0: 0.0, **dict(zip((e.n for e in kept[1:]), steps, strict=True))}
    sat = [(e, exams[e.n].score) for e in kept if e.n in exams]
    confirms = arena.judge.rule == "confirm"
    return Gap(
        metric=arena.metric,
        sittings=[
            Sitting(e, score, confirmed[e.n] if confirms else None)
            for e, score in sat
            if score is not None
        ],
        failed=[e.n for e, score in sat if score is None],
        incumbent=kept[-1].n if kept else None,
        read=book.ledger.exams_read(),
        noise=noise,
    )


def _of_median(count: int) -> float:
    """Variance of the median of so many measurements, in variances of one; at most."""
    return 1 / max(count, 1) if count < 3 else math.pi / 2 / count
