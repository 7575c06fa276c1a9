"""The rule `confirm`: screen cheaply, search on from what looks good, keep only what is confirmed.

A candidate that looks better than the tip becomes a provisional keep: the next candidates build on
it, no branch moves. The tip is measured until its level is known and dropped when it falls below
its parent. Once the stack of provisional keeps promises a gain that pairs of fresh measurements
can show at a fair price, tip and incumbent are measured side by side, in turns, until the
evidence suffices (keep them all) or the tip falls (drop it, go on with what is below it). Several
small gains are cheaper to confirm together than each alone: the price falls with the square of the
gain. docs/judging.md says why this rule, and what it costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import ClassVar

from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Verdict
from overnight.judge.base import BASELINE, Decision, Evidence, More, Pair, Side, Standing, compared
from overnight.judge.evidence import Beside, honest_gain, log_evidence, needed, pairs_to_go
from overnight.judge.kalman import Gap, Levels
from overnight.judge.noise import Noise, Series
from overnight.judge.quantiles import chi_squared_below, student_t

_LIKELY = 1.0
"""The gain that the screening looks for, in sigmas: a log likelihood ratio against no gain."""
_PROMISING, _HOPELESS = 0.4, -0.6
"""Log likelihood ratios at which the screening ends."""
_MOST_SCREENING = 6
_KNOWN = 0.21
"""The tip counts as known when its level's variance is at most this share of one measurement's:
five readings are enough, however a fifth is rounded."""
_MOST_LOOKS = 2
_MOST_EQUAL = 12
"""Measurements of a simplification after which it must be known to be as good."""
_FALLEN = 0.1
"""A tip this many sigmas below its parent is dropped."""
_SURE = 1.645
"""Standard deviations of one-sided confidence, 95 %."""
_SAME = 3
"""Equal repeats that make a metric deterministic; repeats from which a variance is told."""
_DOUBTFUL = 0.02


@dataclass(frozen=True)
class Confirm:
    """The rule `confirm` with an arena's settings."""

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
            return Decision(Verdict.PROVISIONAL, gain, f"{compared(gain, 0)}, to be confirmed")
        if self.table.simplify and evidence.simpler:
            return self._simpler(evidence, self._left(standing, noise), gain, doubt)
        if ratio < _HOPELESS or len(candidate) >= _MOST_SCREENING:
            return Decision(Verdict.DISCARD, gain, _unseen(gain, noise))
        return More(Side.CANDIDATE)

    def least(self, standing: Standing, simpler: bool) -> float:
        noise = standing.noise()
        tip, _ = Levels(standing.stack, noise).tip(standing.now)
        if simpler:
            return tip - self._left(standing, noise)
        if not noise.sigma:
            return standing.tip[-1].score
        return tip + _LIKELY * noise.sigma / 2  # where one reading speaks neither way

    def _baseline(self, readings: Series) -> Decision | More:
        same = len({reading.score for reading in readings}) == 1
        enough = _SAME if same else self.table.baseline
        return BASELINE if len(readings) >= enough else More(Side.CANDIDATE)

    def _exact(self, evidence: Evidence) -> Decision | More:
        """Where repeats are equal: one measurement suffices; a keep is looked at three times, since
        a candidate may bring chance into what had none, and three equal scores of the baseline may
        be chance where the metric has few values."""
        gain = evidence.candidate[0].score - evidence.standing.tip[-1].score
        if gain > 0 and gain >= self.min_gain:
            if len(evidence.candidate) < _SAME:
                return More(Side.CANDIDATE)
            words = f"{compared(gain, 0)}; repeats are equal to the last digit"
            return Decision(Verdict.KEEP, gain, words, (gain, gain), (gain,))
        margin, stack = self.table.margin or 0.0, evidence.standing.stack
        anchor = (evidence.standing.before or stack)[0][-1].score
        lost = evidence.candidate[0].score - anchor
        if self.table.simplify and evidence.simpler and lost >= -margin:
            words = _as_simple(gain, margin)
            return Decision(Verdict.KEEP, gain, words, (gain, gain), (gain,), simpler=True)
        return Decision(Verdict.DISCARD, gain, compared(gain, self.min_gain))

    def _simpler(
        self, evidence: Evidence, left: float, gain: float, deviation: float
    ) -> Decision | More:
        if gain + left >= _SURE * deviation:
            return Decision(Verdict.PROVISIONAL, gain, _as_simple(gain, left), simpler=True)
        if gain + left < 0 or len(evidence.candidate) >= _MOST_SCREENING:
            return Decision(Verdict.DISCARD, gain, _not_as_simple(gain, left))
        return More(Side.CANDIDATE)

    def _margin(self, noise: Noise) -> float:
        return noise.sigma if self.table.margin is None else self.table.margin

    def _left(self, standing: Standing, noise: Noise) -> float:
        """What is left of the margin, after what earlier simplifications have lost."""
        lost = min(_since_better(standing, noise).mean, 0.0)
        return max(self._margin(noise) + lost, 0.0)

    # -- the tip

    def review(self, standing: Standing) -> Decision | More | Pair | None:
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
            word = self._as_good(standing, levels, noise)
            if all(standing.simpler[1:]) or not isinstance(word, Decision) or not word.keep:
                return word
        return self._trial(standing, levels, noise)

    def _fallen(self, standing: Standing, levels: Levels, noise: Noise) -> Decision | None:
        """The tip is dropped when it is worse than its parent, as far as is known."""
        gain, worst, allowed = levels.gap(-1, -2).mean, math.inf, 0.0
        if standing.simpler[-1]:
            worst, allowed = _since_better(standing, noise).mean, self._margin(noise)
        if min(gain, worst) >= -allowed - _FALLEN * noise.sigma:
            return None
        return Decision(
            Verdict.DISCARD, gain, f"not confirmed: measured again, {compared(gain, 0)}"
        )

    def _as_good(self, standing: Standing, levels: Levels, noise: Noise) -> Decision | More:
        """Simplifications are as good when all of them since the last keep that was better have
        lost no more than the margin: it cannot be spent twice. What is on top of a gain that is
        not confirmed yet goes on from there."""
        gain, margin = levels.gap(-1, 0).mean, self._margin(noise)
        if _since_better(standing, noise).beyond(-margin) >= _SURE:
            words = _as_simple(gain, margin)
            return Decision(Verdict.KEEP, gain, words, None, _shares(levels, gain))
        if len(standing.tip) >= _MOST_EQUAL:
            return Decision(Verdict.DISCARD, gain, _not_as_simple(gain, margin))
        if all(standing.simpler[1:]) and len(standing.stack[0]) < len(standing.tip):
            return More(Side.INCUMBENT)
        return More(Side.TIP)

    def _trial(self, standing: Standing, levels: Levels, noise: Noise) -> Decision | Pair | None:
        trial = standing.trials + (not standing.on_trial)
        needs = needed(self.table.false_keep, trial, standing.won)
        pairs = self._pairs(standing, levels)
        evidence = log_evidence(pairs, noise)
        if evidence >= needs:
            return self._confirmed(standing, levels, noise, pairs)
        if len(pairs) >= self.table.max_repeats:
            gain = honest_gain(pairs, noise)[0] + self.min_gain
            words = f"not confirmed by {len(pairs)} pairs of measurements ({gain:+.4g})"
            return Decision(Verdict.DISCARD, gain, words)
        expected = levels.gap(-1, 0).mean - self.min_gain
        if 2 * pairs_to_go(expected, needs - evidence, noise) > standing.patience:
            return None
        return _next(pairs)

    def _pairs(self, standing: Standing, levels: Levels) -> list[Beside]:
        """What tip and incumbent scored side by side, over the least gain that counts."""
        lower = {r.pair: r.score for r in standing.stack[0] if r.pair is not None}
        return [
            Beside(
                reading.score - lower[reading.pair] - self.min_gain,
                levels.bets[reading.pair] - self.min_gain,
            )
            for reading in standing.tip
            if reading.pair in lower
        ]

    def _confirmed(
        self,
        standing: Standing,
        levels: Levels,
        noise: Noise,
        pairs: list[Beside],
    ) -> Decision | Pair:
        gain, ends = honest_gain(pairs, noise)
        gain, interval = gain + self.min_gain, (ends[0] + self.min_gain, ends[1] + self.min_gain)
        keeps = len(standing.stack) - 1
        words = f"gain {gain:.4g}" + f" of {keeps} keeps together" * (keeps > 1)
        words += f", confirmed by {len(pairs)} pairs of measurements"
        if luck := _luck(standing.tip, noise):
            words += "; its repeats vary less than the incumbent's: it is steadier, or it seems to "
            words += "fix its own seed"
            if gain < self._one_draw(standing) * luck:
                if len(pairs) < self.table.max_repeats:
                    return _next(pairs)
                words += ", so that they count as one draw, which may be luck"
                return Decision(Verdict.DISCARD, gain, words, interval)
        return Decision(Verdict.KEEP, gain, words, interval, _shares(levels, gain))

    def _one_draw(self, standing: Standing) -> float:
        """Standard deviations that a single draw must reach to be more than the luckiest of the
        campaign's candidates, as well as the incumbent's readings know the deviation (t)."""
        n, freedom = standing.experiments, len(standing.stack[0]) - 1
        return -student_t(max(freedom, 1), self.table.false_keep / (n * (n + 1)))


def _next(pairs: list[Beside]) -> Pair:
    return Pair(Side.TIP if len(pairs) % 2 == 0 else Side.INCUMBENT)


def _as_simple(gain: float, margin: float) -> str:
    return f"simpler, and equal within {margin:.4g} ({gain:+.4g})"


def _not_as_simple(gain: float, margin: float) -> str:
    return f"simpler, but not shown to be equal within {margin:.4g} ({gain:+.4g})"


def _unseen(gain: float, noise: Noise) -> str:
    words = compared(gain, 0)
    return f"{words} within the noise of {noise.sigma:.3g}" if gain > -noise.sigma else words


def _shares(levels: Levels, gain: float) -> tuple[float, ...]:
    """The gain, dealt out among the keeps of the stack by what each is believed to have added."""
    steps = [max(levels.gap(place, place - 1).mean, 0.0) for place in range(1, levels.size)]
    total = sum(steps) if gain > 0 else 0.0
    return tuple(gain * (step / total) if total else gain / len(steps) for step in steps)


def _since_better(standing: Standing, noise: Noise) -> Gap:
    """The tip beside the last keep, provisional or not, that was not there for being simpler."""
    above = [place for place, simpler in enumerate(standing.simpler) if not simpler and place]
    since = standing.stack[above[-1] :] if above else [*standing.before, *standing.stack]
    return Levels(since, noise).gap(-1, 0)


def _luck(tip: Series, noise: Noise) -> float:
    """Standard deviation of the part of the noise that the tip's repeats do not show; 0 when they
    may well vary as all repeats do (chi-squared test of their variance).

    A candidate with a seed of its own repeats one lucky draw.
    """
    freedom = len(tip) - 1
    own = stdev(reading.score for reading in tip) / noise.sigma
    if freedom < _SAME - 1 or chi_squared_below(freedom, freedom * own * own) > _DOUBTFUL:
        return 0.0
    return noise.sigma * math.sqrt(max(1 - own * own, 0.0))
