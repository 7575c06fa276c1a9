"""The keep-or-discard rules by name, and the simple ones: `greedy` and `threshold`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from overnight.arena.arena import Arena
from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Verdict
from overnight.judge.base import (
    BASELINE,
    Decision,
    Evidence,
    Judge,
    MeasurePair,
    More,
    Side,
    Standing,
    compared,
)
from overnight.judge.confirm import Confirm
from overnight.judge.noise import Series


@dataclass(frozen=True)
class Threshold:
    """Keep a candidate if its median score is better by at least `gain`; medians are over `repeats`
    measurements of candidate and tip.

    Only candidates that reach the threshold so far are measured again. With one measurement each it
    is `greedy`, the rule of karpathy/autoresearch.
    """

    gain: float
    repeats: int
    fresh_seeds: ClassVar[bool] = False

    def review(self, standing: Standing) -> Decision | More | MeasurePair | None:
        return None  # there are no provisional keeps

    def least(self, standing: Standing, simpler: bool) -> float:
        return _level(standing.tip) + self.gain

    def decide(self, evidence: Evidence) -> Decision | More:
        if not evidence.standing.stack:
            return BASELINE
        gain = _level(evidence.candidate) - _level(evidence.standing.tip)
        keep = gain > 0 and gain >= self.gain
        if keep:
            for side, series in (
                (Side.CANDIDATE, evidence.candidate),
                (Side.TIP, evidence.standing.tip),
            ):
                if len(series) < self.repeats:
                    return More(side)
        return Decision(Verdict.KEEP if keep else Verdict.DISCARD, gain, compared(gain, self.gain))


def _level(readings: Series) -> float:
    return median(reading.score for reading in readings)


def _greedy(table: JudgeTable, min_gain: float) -> Judge:
    return Threshold(min_gain, repeats=1)


def _threshold(table: JudgeTable, min_gain: float) -> Judge:
    return Threshold(max(table.gain, min_gain), table.repeats)


def _confirm(table: JudgeTable, min_gain: float) -> Judge:
    return Confirm(table, min_gain)


RULES: dict[str, Callable[[JudgeTable, float], Judge]] = {
    "confirm": _confirm,
    "greedy": _greedy,
    "threshold": _threshold,
}


def judge_for(arena: Arena) -> Judge:
    """The judge that arena.toml names. The arena has checked that the rule exists."""
    return RULES[arena.judge.rule](arena.judge, arena.metric.min_gain)
