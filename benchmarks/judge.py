"""The judge, simulated: how often luck is kept, what is found, at what price, and what is claimed.

Every number comes from the rules that a campaign uses, on candidates whose true gain is known;
the noise of one measurement has a standard deviation of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from overnight.experiment import Verdict
from overnight.judge import Decision, Evidence, Judge, More, Pair, Side, Standing
from overnight.noise import Reading
from overnight.patience import Round, patience, trials
from overnight.tables import JudgeTable

TABLES = {
    "greedy": JudgeTable(rule="greedy"),
    "threshold": JudgeTable(rule="threshold", gain=3.0),
    "confirm": JudgeTable(rule="confirm"),
}


class Machine:
    """Where true scores become measured ones."""

    def __init__(self, noise: str, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.noise = noise
        self.count = 0
        self._drift = 0.0

    def measure(self, true: float) -> float:
        self.count += 1
        return float(true + self._noise())

    def _noise(self) -> float:
        draw = self.random
        match self.noise:
            case "Gaussian":
                return draw.normal()
            case "heavy tails":  # Student's t with 3 degrees of freedom, scaled
                return draw.standard_t(3) / math.sqrt(3)
            case "wild outliers":
                return draw.normal() + 30 * float(draw.choice([-1, 1])) * (draw.random() < 0.01)
            case "skewed":
                return draw.exponential() - 1
            case "drifting":
                self._drift += 0.15 * draw.normal()
                return draw.normal() + self._drift
            case "slowing down":
                return draw.normal() - 0.02 * self.count
            case "deterministic":
                return 0.0
        raise ValueError(self.noise)


@dataclass
class Program:
    """A candidate: what it is worth, and what was measured of it."""

    true: float
    own_seed: float | None = None
    """With a seed of its own: the draw that every run repeats."""
    readings: list[Reading] = field(default_factory=list)


@dataclass
class Campaign:
    """A campaign without git and processes: the same questions to the same judge."""

    rule: Judge
    machine: Machine
    stack: list[Program] = field(default_factory=list)
    repeats: list[Program] = field(default_factory=list)
    won: int = 0
    claimed: float = 0.0
    false: int = 0
    covered: list[bool] = field(default_factory=list)
    experiments: int = 0
    most: float = math.inf
    """Measurements that there are in all."""
    rounds: list[Round] = field(default_factory=list)
    _ended: int = 0
    """Measurements when the newest experiment ended."""

    def begin(self) -> None:
        first = Program(0.0)
        self._measure(first)
        while isinstance(self.rule.decide(Evidence(tuple(first.readings), Standing())), More):
            self._measure(first)
        self.stack = [first]

    def attempt(self, gain: float, own_seed: float | None = None) -> None:
        """One experiment with a change of this true gain."""
        self.experiments += 1
        candidate = Program(self.stack[-1].true + gain, own_seed)
        self._measure(candidate)
        while isinstance(
            word := self.rule.decide(Evidence(tuple(candidate.readings), self._standing())), More
        ):
            if self.machine.count >= self.most:
                return
            side = candidate if word.of is Side.CANDIDATE else self.stack[-1]
            self._measure(side)
        self._ended = self.machine.count
        if word.verdict is Verdict.PROVISIONAL:
            self.stack.append(candidate)
        elif word.verdict is Verdict.KEEP:
            self._kept(word.gain, [candidate])
            self.stack = [candidate]
        elif len(candidate.readings) > 1:
            self.repeats = [*self.repeats[-100:], candidate]
        self.settle()

    def settle(self, allowance: float = 0.0) -> None:
        """What the judge wants to see and to say between two experiments; `allowance` is the least
        that a trial may cost, in measurements."""
        last = self.machine.count + allowance
        while self.machine.count + 2 <= self.most:
            word = self.rule.review(self._standing(last - self.machine.count))
            if word is None:
                return
            if isinstance(word, More):
                self._measure(self.stack[-1])
            elif isinstance(word, Pair):
                self._pair(word)
            elif word.verdict is Verdict.KEEP:
                self._confirm(word)
            else:
                self.repeats = [*self.repeats[-100:], self.stack.pop()]

    def _confirm(self, word: Decision) -> None:
        self.won += 1
        self._kept(word.gain, self.stack[1:])
        if word.interval:
            low, high = word.interval
            self.covered.append(low <= self.stack[-1].true - self.stack[0].true <= high)
        self.repeats = [*self.repeats[-100:], *self.stack[:-1]]
        self.stack = self.stack[-1:]

    def _kept(self, gain: float, programs: Sequence[Program]) -> None:
        self.claimed += gain
        self.false += programs[-1].true <= self.stack[0].true or programs[-1].own_seed is not None

    def _pair(self, word: Pair) -> None:
        tip, incumbent = self.stack[-1], self.stack[0]
        now = Round(id(tip), id(incumbent), self.machine.count, self.experiments)
        if not self.rounds or (self.rounds[-1].tip, self.rounds[-1].latest) != (
            now.tip,
            now.latest,
        ):
            self.rounds.append(now)
        seed = self.machine.count
        for side in [tip, incumbent] if word.first is Side.TIP else [incumbent, tip]:
            self._measure(side, seed)

    def _measure(self, program: Program, seed: int | None = None) -> None:
        seed = self.machine.count if seed is None else seed
        if program.own_seed is None:
            score = self.machine.measure(program.true)
        else:
            self.machine.count += 1
            score = program.true + program.own_seed
        program.readings.append(Reading(float(self.machine.count), score, seed))

    def _standing(self, allowance: float = 0.0) -> Standing:
        count, rounds, tip = self.machine.count, self.rounds, self.stack[-1]
        pairing = (id(tip), id(self.stack[0]))
        return Standing(
            stack=tuple(tuple(program.readings) for program in self.stack),
            simpler=tuple(False for _ in self.stack),
            repeats=tuple(tuple(program.readings) for program in self.repeats),
            trials=trials(rounds),
            won=self.won,
            on_trial=bool(rounds) and (rounds[-1].tip, rounds[-1].incumbent) == pairing,
            looks=sum(reading.at > self._ended for reading in tip.readings),
            patience=max(allowance, patience(rounds, count, self.experiments)),
            now=float(count),
        )
