"""Two programs before a judge, outside of any campaign: is the one really better than the other?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from overnight.core.experiment import Verdict
from overnight.judge.base import Decision, Evidence, Judge, More, Pair, Side, Standing
from overnight.judge.noise import Reading

Take = Callable[[Side, int], float]
"""Measures the candidate or the incumbent with this seed: its oriented score."""


def duel(judge: Judge, take: Take, established: int = 0, first_seed: int = 0) -> Decision:
    """The judge's decision about a candidate, measured as often as it takes; a provisional keep
    is confirmed or dropped. An `established` candidate is not screened but measured beside the
    incumbent so often first. Seeds count up from `first_seed`; a pair shares one. An exception of
    `take` ends it."""
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
        while isinstance(word := self._judge.decide(self._evidence(candidate, before)), More):
            self._measure(Side.INCUMBENT if word.of is Side.TIP else word.of)
        if word.verdict is Verdict.KEEP or (word.verdict is Verdict.DISCARD and not established):
            return word
        return self._confirmed(before, candidate) or replace(
            word, verdict=Verdict.DISCARD, interval=None, reason=f"not confirmed: {word.reason}"
        )

    def _evidence(self, candidate: list[Reading], before: list[Reading]) -> Evidence:
        return Evidence(tuple(candidate), Standing(stack=(tuple(before),), simpler=(False,)))

    def _confirmed(self, before: list[Reading], candidate: list[Reading]) -> Decision | None:
        while True:
            stack = (tuple(before), tuple(candidate))
            standing = Standing(stack, (False, False), patience=math.inf, now=self._count)
            match self._judge.review(standing):
                case Pair(first):
                    sides = [Side.CANDIDATE, Side.INCUMBENT]
                    self._pair(sides if first is Side.TIP else sides[::-1])
                case More():
                    self._measure(Side.CANDIDATE)
                case word:
                    return word

    def _pair(self, sides: list[Side]) -> None:
        pair = self._count
        for side in sides:
            self._measure(side, pair)

    def _measure(self, side: Side, pair: int | None = None) -> None:
        at = self._count if pair is None else pair
        seed = self._first_seed + at
        self._taken[side].append(Reading(self._take(side, seed), at, seed, pair))
