"""The rule `confirm`: screen cheaply, build on what looks better, keep only what is confirmed.

A candidate that looks better than the tip becomes a provisional keep: the next candidates build on
it, and the branch does not move. The tip is measured until its score is known well enough, and
dropped if it falls below its parent. Once pairs of fresh measurements can confirm the gain of all
provisional keeps at a fair price, tip and incumbent are measured side by side, until the evidence
suffices (all are kept) or the tip falls (it is dropped). Several small gains are cheaper to confirm
together than one by one: the price falls with the square of the gain. docs/judging.md explains the
choice and its cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import ClassVar

from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Verdict
from overnight.judge.base import (
    BASELINE,
    Decision,
    Evidence,
    MeasurePair,
    More,
    Side,
    Standing,
    compared,
)
from overnight.judge.evidence import PairResult, honest_gain, log_evidence, needed, pairs_to_go
from overnight.judge.kalman import Gap, Levels
from overnight.judge.noise import Noise, Series
from overnight.judge.quantiles import chi_squared_below, student_t

_LIKELY = 1.0
"""The gain that the screening compares with no gain, in sigmas."""
_PROMISING, _HOPELESS = 0.4, -0.6
"""Log likelihood ratios at which the screening ends."""
_MOST_SCREENING = 6
"""Most measurements of a candidate in the screening."""
_KNOWN = 0.21
"""The tip is known well enough when the variance of its estimate is at most this share of the
noise's variance: five readings, with room for rounding."""
_MOST_LOOKS = 2
"""Most measurements of the tip between two experiments, outside of trials."""
_MOST_EQUAL = 12
"""A simplification that is not shown to be as good after this many measurements is dropped."""
_FALLEN = 0.1
"""A tip this many sigmas below its parent is dropped."""
_SURE = 1.645
"""Standard deviations of one-sided confidence, 95 %."""
_SAME = 3
"""Equal measurements that make a metric deterministic; fewest for an estimate of a variance."""
_DOUBTFUL = 0.02
"""Repeats whose variance is so small with at most this probability suggest a fixed seed."""


@dataclass(frozen=True)
class Confirm:
    """The rule `confirm`, with the settings of an arena."""

    table: JudgeTable
    min_gain: float
    fresh_seeds: ClassVar[bool] = True

    # -- a candidate

    def decide(self, evidence: Evidence) -> Decision | More:
        standing, candidate = evidence.standing, evidence.candidate
        if not standing.stack:
            return self._baseline(candidate)
        noise = standing.noise(candidate)
        if noise.deterministic:
            return self._exact(evidence)
        tip, doubt = Levels(standing.stack, noise).tip(candidate[-1].at)
        gain = fmean(reading.score for reading in candidate) - tip
        doubt = math.hypot(doubt, noise.sigma / math.sqrt(len(candidate)))
        step = _LIKELY * noise.sigma
        ratio = step / doubt * ((gain - step / 2) / doubt) if doubt else math.copysign(1, gain)
        if ratio > _PROMISING:
            return Decision(Verdict.PROVISIONAL, gain, f"{compared(gain, 0)}, not yet confirmed")
        if self.table.simplify and evidence.simpler:
            return self._simpler(evidence, self._left(standing, noise), gain, doubt)
        if ratio < _HOPELESS or len(candidate) >= _MOST_SCREENING:
            return Decision(Verdict.DISCARD, gain, _not_better(gain, noise))
        return More(Side.CANDIDATE)

    def least(self, standing: Standing, simpler: bool) -> float:
        noise = standing.noise()
        tip, _ = Levels(standing.stack, noise).tip(standing.now)
        if simpler:
            return tip - self._left(standing, noise)
        if not noise.sigma:
            return standing.tip[-1].score
        return tip + _LIKELY * noise.sigma / 2  # one reading here speaks neither for nor against

    def _baseline(self, readings: Series) -> Decision | More:
        same = len({reading.score for reading in readings}) == 1
        enough = _SAME if same else self.table.baseline
        return BASELINE if len(readings) >= enough else More(Side.CANDIDATE)

    def _exact(self, evidence: Evidence) -> Decision | More:
        """Repeats have always been equal: one measurement suffices to discard. A keep takes three,
        because a candidate may introduce randomness, and because the baseline's equal scores may be
        chance if the metric has few values."""
        gain = evidence.candidate[0].score - evidence.standing.tip[-1].score
        if gain > 0 and gain >= self.min_gain:
            if len(evidence.candidate) < _SAME:
                return More(Side.CANDIDATE)
            reason = f"{compared(gain, 0)}; repeats are equal to the last digit"
            return Decision(Verdict.KEEP, gain, reason, (gain, gain), (gain,))
        margin, stack = self.table.margin or 0.0, evidence.standing.stack
        anchor = (evidence.standing.before or stack)[0][-1].score
        lost = evidence.candidate[0].score - anchor
        if self.table.simplify and evidence.simpler and lost >= -margin:
            reason = _as_good(gain, margin)
            return Decision(Verdict.KEEP, gain, reason, (gain, gain), (gain,), simpler=True)
        return Decision(Verdict.DISCARD, gain, compared(gain, self.min_gain))

    def _simpler(
        self, evidence: Evidence, left: float, gain: float, deviation: float
    ) -> Decision | More:
        if gain + left >= _SURE * deviation:
            return Decision(Verdict.PROVISIONAL, gain, _as_good(gain, left), simpler=True)
        if gain + left < 0 or len(evidence.candidate) >= _MOST_SCREENING:
            return Decision(Verdict.DISCARD, gain, _not_as_good(gain, left))
        return More(Side.CANDIDATE)

    def _margin(self, noise: Noise) -> float:
        return noise.sigma if self.table.margin is None else self.table.margin

    def _left(self, standing: Standing, noise: Noise) -> float:
        """The part of the margin that earlier simplifications have not used up."""
        lost = min(_since_better(standing, noise).mean, 0.0)
        return max(self._margin(noise) + lost, 0.0)

    # -- the tip

    def review(self, standing: Standing) -> Decision | More | MeasurePair | None:
        noise = standing.noise()
        if noise.deterministic or not noise.sigma:
            return None
        levels = Levels(standing.stack, noise)
        if len(standing.stack) > 1 and (fallen := self._fallen(standing, levels, noise)):
            return fallen
        _, doubt = levels.tip(standing.now)
        if (doubt / noise.sigma) ** 2 > _KNOWN and standing.looks < _MOST_LOOKS:
            return More(Side.TIP)
        if len(standing.stack) == 1:
            return None
        if standing.simpler[-1] and not standing.on_trial:
            answer = self._simplification(standing, levels, noise)
            if all(standing.simpler[1:]) or not isinstance(answer, Decision) or not answer.keep:
                return answer
        return self._trial(standing, levels, noise)

    def _fallen(self, standing: Standing, levels: Levels, noise: Noise) -> Decision | None:
        """Drop the tip if it is estimated to be worse than its parent."""
        gain, worst, allowed = levels.gap(-1, -2).mean, math.inf, 0.0
        if standing.simpler[-1]:
            worst, allowed = _since_better(standing, noise).mean, self._margin(noise)
        if min(gain, worst) >= -allowed - _FALLEN * noise.sigma:
            return None
        found = _not_as_good(gain, allowed) if standing.simpler[-1] else compared(gain, 0)
        return Decision(Verdict.DISCARD, gain, f"not confirmed: measured again, {found}")

    def _simplification(self, standing: Standing, levels: Levels, noise: Noise) -> Decision | More:
        """The tip was kept for being simpler: is it as good? All simplifications since the last
        keep that was better may together lose the margin, once. A simplification above a
        provisional gain is confirmed with that gain."""
        gain, margin = levels.gap(-1, 0).mean, self._margin(noise)
        if _since_better(standing, noise).beyond(-margin) >= _SURE:
            return Decision(Verdict.KEEP, gain, _as_good(gain, margin), None, _shares(levels, gain))
        if len(standing.tip) >= _MOST_EQUAL:
            return Decision(Verdict.DISCARD, gain, _not_as_good(gain, margin))
        if all(standing.simpler[1:]) and len(standing.stack[0]) < len(standing.tip):
            return More(Side.INCUMBENT)
        return More(Side.TIP)

    def _trial(
        self, standing: Standing, levels: Levels, noise: Noise
    ) -> Decision | MeasurePair | None:
        trial = standing.trials + (not standing.on_trial)
        needs = needed(self.table.false_keep, trial, standing.won)
        pairs = self._pairs(standing, levels)
        evidence = log_evidence(pairs, noise)
        if evidence >= needs:
            return self._confirmed(standing, levels, noise, pairs)
        if len(pairs) >= self.table.max_repeats:
            gain = honest_gain(pairs, noise)[0] + self.min_gain
            reason = f"not confirmed by {len(pairs)} pairs of measurements ({gain:+.4g})"
            return Decision(Verdict.DISCARD, gain, reason)
        expected = levels.gap(-1, 0).mean - self.min_gain
        if 2 * pairs_to_go(expected, needs - evidence, noise) > standing.patience:
            return None
        return _next(pairs)

    def _pairs(self, standing: Standing, levels: Levels) -> list[PairResult]:
        """The pairs of tip and incumbent; gains are counted above `min_gain`."""
        lower = {r.pair: r.score for r in standing.stack[0] if r.pair is not None}
        return [
            PairResult(
                reading.score - lower[reading.pair] - self.min_gain,
                levels.expected[reading.pair] - self.min_gain,
            )
            for reading in standing.tip
            if reading.pair in lower
        ]

    def _confirmed(
        self,
        standing: Standing,
        levels: Levels,
        noise: Noise,
        pairs: list[PairResult],
    ) -> Decision | MeasurePair:
        gain, ends = honest_gain(pairs, noise)
        gain, interval = gain + self.min_gain, (ends[0] + self.min_gain, ends[1] + self.min_gain)
        keeps = len(standing.stack) - 1
        reason = f"gain {gain:.4g}" + f" of {keeps} keeps together" * (keeps > 1)
        reason += f", confirmed by {len(pairs)} pairs of measurements"
        if luck := _luck(standing.tip, noise):
            reason += "; its repeats vary less than the noise: it is steadier, or fixes its seed"
            if gain < self._one_draw(standing) * luck:
                if len(pairs) < self.table.max_repeats:
                    return _next(pairs)
                reason += "; they count as one draw, and one draw may be lucky"
                return Decision(Verdict.DISCARD, gain, reason, interval)
        return Decision(Verdict.KEEP, gain, reason, interval, _shares(levels, gain))

    def _one_draw(self, standing: Standing) -> float:
        """How many standard deviations a single draw must reach to be more than the luckiest of
        all candidates (Student's t, because the deviation is known from few readings)."""
        n, freedom = standing.experiments, len(standing.stack[0]) - 1
        return -student_t(max(freedom, 1), self.table.false_keep / (n * (n + 1)))


def _next(pairs: list[PairResult]) -> MeasurePair:
    return MeasurePair(Side.TIP if len(pairs) % 2 == 0 else Side.INCUMBENT)


def _as_good(gain: float, margin: float) -> str:
    return f"simpler, and as good to within {margin:.4g} ({gain:+.4g})"


def _not_as_good(gain: float, margin: float) -> str:
    return f"simpler, but not shown to be as good to within {margin:.4g} ({gain:+.4g})"


def _not_better(gain: float, noise: Noise) -> str:
    found = compared(gain, 0)
    return f"{found}, within the noise of {noise.sigma:.3g}" if gain > -noise.sigma else found


def _shares(levels: Levels, gain: float) -> tuple[float, ...]:
    """The gain, divided among the keeps of the stack in proportion to their estimated gains."""
    steps = [max(levels.gap(keep, keep - 1).mean, 0.0) for keep in range(1, levels.size)]
    total = sum(steps) if gain > 0 else 0.0
    return tuple(gain * (step / total) if total else gain / len(steps) for step in steps)


def _since_better(standing: Standing, noise: Noise) -> Gap:
    """The gap of the tip to the newest keep, provisional or not, that was kept for being better."""
    better = [index for index, simpler in enumerate(standing.simpler) if index and not simpler]
    since = standing.stack[better[-1] :] if better else [*standing.before, *standing.stack]
    return Levels(since, noise).gap(-1, 0)


def _luck(tip: Series, noise: Noise) -> float:
    """Standard deviation of the part of the noise that is missing from the tip's repeats; 0 if they
    vary like all repeats (chi-squared test of their variance).

    A candidate that fixes its own seed repeats one draw, which may be lucky.
    """
    freedom = len(tip) - 1
    own = stdev(reading.score for reading in tip) / noise.sigma
    if freedom < _SAME - 1 or chi_squared_below(freedom, freedom * own * own) > _DOUBTFUL:
        return 0.0
    return noise.sigma * math.sqrt(max(1 - own * own, 0.0))
