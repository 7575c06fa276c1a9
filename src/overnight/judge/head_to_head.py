"""Decides outside a campaign whether one program is really better than another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from overnight.core.experiment import Verdict
from overnight.judge.base import Decision, Evidence, Judge, MeasurePair, More, Side, Standing
from overnight.judge.noise import Reading

Take = Callable[[Side, int], float]
"""Measures the candidate or the incumbent with this seed; returns the oriented score."""


def duel(judge: Judge, take: Take, established: int = 0, first_seed: int = 0) -> Decision:
    """Measure candidate and incumbent until the judge decides: a keep is confirmed, never
    provisional.

    With `established` > 0 there is no screening: that many pairs are measured first, and the judge
    confirms or discards. Seeds count up from `first_seed`; both sides of a pair have the same. An
    exception raised by `take` is passed on.
    """
    return _Duel(judge, take, first_seed).decision(established)


class _Duel:
    def __init__(self, judge: Judge, take: Take, first_seed: int) -> None:
        self._judge = judge
        self._take = take
        self._taken: dict[Side, list[Reading]] = {Side.INCUMBENT: [], Side.CANDIDATE: []}
        self._first_seed = first_seed

    @property
    def _count(self) -> int:
        return sum(map(len, self._taken.values()))

    def decision(self, established: int) -> Decision:
        for _ in range(established):
            self._pair([Side.CANDIDATE, Side.INCUMBENT])
        self._measure(Side.CANDIDATE)
        self._measure(Side.INCUMBENT)
        before, candidate = self._taken[Side.INCUMBENT], self._taken[Side.CANDIDATE]
        while isinstance(self._judge.decide(Evidence(tuple(before), Standing())), More):
            self._measure(Side.INCUMBENT)
        while isinstance(answer := self._judge.decide(self._evidence(candidate, before)), More):
            self._measure(Side.INCUMBENT if answer.of is Side.TIP else answer.of)
        if answer.verdict is Verdict.KEEP or (
            answer.verdict is Verdict.DISCARD and not established
        ):
            return answer
        return self._confirmed(before, candidate) or replace(
            answer, verdict=Verdict.DISCARD, interval=None, reason=f"not confirmed: {answer.reason}"
        )

    def _evidence(self, candidate: list[Reading], before: list[Reading]) -> Evidence:
        return Evidence(tuple(candidate), Standing(stack=(tuple(before),), simpler=(False,)))

    def _confirmed(self, before: list[Reading], candidate: list[Reading]) -> Decision | None:
        while True:
            stack = (tuple(before), tuple(candidate))
            standing = Standing(stack, (False, False), patience=math.inf, now=self._count)
            match self._judge.review(standing):
                case MeasurePair(first):
                    sides = [Side.CANDIDATE, Side.INCUMBENT]
                    self._pair(sides if first is Side.TIP else sides[::-1])
                case More():
                    self._measure(Side.CANDIDATE)
                case answer:
                    return answer

    def _pair(self, sides: list[Side]) -> None:
        pair = self._count
        for side in sides:
            self._measure(side, pair)

    def _measure(self, side: Side, pair: int | None = None) -> None:
        at = self._count if pair is None else pair
        seed = self._first_seed + at
        self._taken[side].append(Reading(self._take(side, seed), at, seed, pair))
