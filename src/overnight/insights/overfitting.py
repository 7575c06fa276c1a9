"""Compares the gains by the referee with those on the final exam, to detect over-fitting.

A campaign selects by the referee's scores. A gain that comes from luck or from the referee's data
is absent on the final exam, by which nothing is selected.
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
"""Largest share of honest campaigns that get a warning."""


@dataclass(frozen=True)
class Sitting:
    """The baseline or a keep, with its score on the final exam."""

    experiment: Experiment
    exam: float
    confirmed: float | None = None
    """Its confirmed gain over the baseline, in units of the metric, under the rule `confirm`."""

    @property
    def judged(self) -> float:
        """The referee's score: the median of several measurements."""
        assert self.experiment.score is not None
        return self.experiment.score


@dataclass(frozen=True)
class Gap:
    """The referee's gains beside those on the final exam, for one campaign."""

    metric: Metric
    sittings: Sequence[Sitting]
    """The baseline and the keeps that have an exam score, oldest first."""
    failed: Sequence[int]
    """Numbers of the experiments whose exam gave no score."""
    incumbent: int | None
    """Number of the incumbent."""
    read: int
    """Number of exam scores in all campaigns of this arena."""
    noise: Noise
    """The noise of one measurement by the referee."""

    @property
    def baseline(self) -> Sitting | None:
        first = self.sittings[0] if self.sittings else None
        return first if first and first.experiment.n == 0 else None

    @property
    def newest(self) -> Sitting | None:
        """The newest keep that has an exam score."""
        last = self.sittings[-1] if self.sittings else None
        return last if last and last.experiment.n > 0 else None

    @property
    def waiting(self) -> bool:
        """Whether the incumbent has not taken the exam."""
        sat = [*self.failed, *(sitting.experiment.n for sitting in self.sittings)]
        return self.incumbent is not None and self.incumbent not in sat

    @property
    def gains(self) -> tuple[float, float] | None:
        """The newest keep's gain over the baseline, by the referee and by the exam, in units of the
        metric, positive is better."""
        return self.gains_of(self.newest) if self.newest else None

    def gains_of(self, sitting: Sitting) -> tuple[float, float] | None:
        """Gains over the baseline, by the referee and by the exam. None when the baseline has no
        exam score."""
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
        """The referee's gain minus the exam's, in units of the metric."""
        return self.gains[0] - self.gains[1] if self.gains else None

    def document(self) -> dict[str, object]:
        """The exam in the document of `overnight status --json`."""
        exams = {sitting.experiment.n: sitting.exam for sitting in self.sittings}
        return {
            "baseline": exams.get(0),
            "incumbent": None if self.incumbent is None else exams.get(self.incumbent),
            "gap": self.gap if self.gap is not None and math.isfinite(self.gap) else None,
            "read": self.read,
        }

    @property
    def error(self) -> float | None:
        """Standard error of the gap; None when nothing was measured twice."""
        errors = self.errors_of(self.newest) if self.newest else None
        return math.hypot(*errors) if errors else None

    def errors_of(self, sitting: Sitting) -> tuple[float, float] | None:
        """Standard errors of the two gains, or None without repeats. They assume equal noise on the
        exam and independent measurements; because seeds are shared, they are rather too large."""
        if not self.noise.differences or self.baseline is None:
            return None
        sides = (self.baseline, sitting)
        judged = sum(_of_median(len(side.experiment.scores)) for side in sides)
        return self.noise.sigma * math.sqrt(judged), self.noise.sigma * math.sqrt(2)

    @property
    def overfitted(self) -> bool:
        """Whether the campaign has over-fitted its referee: less than half of the referee's gain
        remains on the exam, and the gap is larger than in 97.5 % of honest campaigns (Student's t
        with one degree of freedom per repeat, about 2 standard errors).

        A small significant gap is normal, because every search gains a little more on the data by
        which it selects. An exam on which the same gain is harder looks like over-fitting. Without
        a known noise, over-fitted means no gain on the exam.
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
    """Compare the campaign's gains with its exams. `noise` is that of one measurement. None
    without `[holdout]`, unless there are exam scores."""
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
    """Upper bound of the variance of the median of `count` measurements, in variances of one."""
    return 1 / max(count, 1) if count < 3 else math.pi / 2 / count
