"""Simulates campaigns with the judge's rules: how often luck is kept, what is found, its price, and
what is claimed.

The rules are those of a campaign, asked with the same questions in the same order; the true gain of
each candidate is known. The noise of one measurement has a standard deviation of 1, called σ.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from multiprocessing import Pool
from statistics import fmean
from typing import TypeVar

import numpy as np

from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Verdict
from overnight.core.under_way import Round
from overnight.judge import trials as trial_costs
from overnight.judge.base import Decision, Evidence, Judge, MeasurePair, More, Side, Standing
from overnight.judge.noise import Reading, Series
from overnight.judge.rules import RULES
from overnight.judge.trials import most_for_a_trial, patience, trials

TABLES = {
    "greedy": JudgeTable(rule="greedy"),
    "threshold": JudgeTable(rule="threshold", gain=3.0),
    "confirm": JudgeTable(rule="confirm"),
}
AT_THE_END = trial_costs.AT_THE_END * TABLES["confirm"].max_repeats
"""Measurements that trials may cost once no experiment follows."""
MOST_REPEATS = 100
"""The newest candidates whose repeats count for the noise."""


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


@dataclass(eq=False)
class Program:
    """A candidate: what it is worth, and what was measured of it."""

    n: int
    """Number of its experiment; 0 is the baseline."""
    true: float
    own_seed: float | None = None
    """The draw that every run repeats, for a candidate that fixes its own seed."""
    rest: float = 0.0
    """The share of the noise's variance that such a seed does not fix: the machine's."""
    simpler: bool = False
    """Whether it was kept for being simpler."""
    readings: list[Reading] = field(default_factory=list)


@dataclass(frozen=True)
class Score:
    """What one simulated campaign came to."""

    true: float
    """The incumbent's true gain over the baseline."""
    claimed: float
    false: bool
    """Whether any keep was no better than what it replaced."""
    experiments: int
    measurements: int
    """Without those of the baseline."""
    covered: tuple[bool, ...]


@dataclass
class Campaign:
    """A campaign without git and processes."""

    rule: Judge
    machine: Machine
    most: float = math.inf
    """Measurements in all."""
    kept: list[Program] = field(default_factory=list)
    """The baseline and every confirmed keep."""
    provisional: list[Program] = field(default_factory=list)
    finished: list[Program] = field(default_factory=list)
    """All of them, oldest first."""
    rounds: list[Round] = field(default_factory=list)
    confirmed: set[int] = field(default_factory=set)
    """Numbers of the tips that were confirmed, each with the whole stack below it."""
    claimed: float = 0.0
    false: int = 0
    """Keeps that are no better than what they replaced."""
    covered: list[bool] = field(default_factory=list)
    """Of each interval that was claimed: whether it contains the true gain."""
    _began: int = 0
    """Measurements of the baseline."""
    _ended: int = 0
    """Measurements when the newest experiment ended."""

    @property
    def stack(self) -> list[Program]:
        return [self.kept[-1], *self.provisional]

    @property
    def tip(self) -> Program:
        return self.stack[-1]

    @property
    def experiments(self) -> int:
        return len(self.finished) - 1

    def begin(self) -> None:
        """Measure the baseline."""
        first = Program(0, 0.0)
        self._measure(first)
        while isinstance(self.rule.decide(Evidence(_series(first), Standing())), More):
            self._measure(first)
        self.kept = [first]
        self._began = self.machine.count
        self._end(first)

    def attempt(
        self,
        gain: float,
        own_seed: float | None = None,
        rest: float = 0.0,
        simpler: bool = False,
    ) -> None:
        """One experiment, with a change of this true gain."""
        candidate = Program(len(self.finished), self.tip.true + gain, own_seed, rest)
        self._measure(candidate)
        while isinstance(answer := self._decided(candidate, simpler), More):
            if self.machine.count >= self.most:
                return
            self._measure(candidate if answer.of is Side.CANDIDATE else self.tip)
        candidate.simpler = answer.simpler
        if answer.keep:
            self.provisional.append(candidate)
        if answer.verdict is Verdict.KEEP:
            self._keep(answer)
        self._end(candidate)

    def settle(self, final: bool = False) -> None:
        """Do what the judge asks for between two experiments, or at the end."""
        last = self.machine.count + AT_THE_END * final
        while (left := self.most - self.machine.count) >= 1:
            standing = self._standing()
            trial = most_for_a_trial(standing.patience, left, last - self.machine.count)
            match self.rule.review(replace(standing, patience=trial)):
                case None:
                    return
                case More(of):
                    self._measure(self.kept[-1] if of is Side.INCUMBENT else self.tip)
                case MeasurePair(first):
                    self._measure_pair(first)
                case Decision(Verdict.KEEP) as answer:
                    self._keep(answer)
                case Decision():
                    self.provisional.pop()

    def score(self) -> Score:
        """What it came to, after the trials at the end."""
        self.settle(final=True)
        return Score(
            self.kept[-1].true,
            self.claimed,
            self.false > 0,
            self.experiments,
            self.machine.count - self._began,
            tuple(self.covered),
        )

    def _decided(self, candidate: Program, simpler: bool) -> Decision | More:
        return self.rule.decide(Evidence(_series(candidate), self._standing(), simpler))

    def _end(self, program: Program) -> None:
        self.finished.append(program)
        self._ended = self.machine.count
        self.settle()

    def _keep(self, answer: Decision) -> None:
        """The whole stack is kept: its tip is the incumbent now."""
        tip, incumbent = self.tip, self.kept[-1]
        self.claimed += answer.gain
        self.false += tip.true <= incumbent.true or tip.own_seed is not None
        if answer.interval:
            low, high = answer.interval
            self.covered.append(low <= tip.true - incumbent.true <= high)
        self.confirmed.add(tip.n)
        self.kept += self.provisional
        self.provisional = []

    def _measure_pair(self, first: Side) -> None:
        sides, pair = [self.tip, self.kept[-1]], self.machine.count
        number = len(self.rounds) + 1
        now = Round(number, sides[0].n, sides[1].n, pair, self.experiments)
        if not self.rounds or replace(self.rounds[-1], number=number, measured=pair) != now:
            self.rounds.append(now)
        for side in sides if first is Side.TIP else reversed(sides):
            self._measure(side, pair)

    def _measure(self, program: Program, pair: int | None = None) -> None:
        at = self.machine.count if pair is None else pair
        if program.own_seed is None:
            score = self.machine.measure(program.true)
        else:
            fixed = math.sqrt(1 - program.rest) * program.own_seed
            score = fixed + math.sqrt(program.rest) * self.machine.measure(0.0) + program.true
        program.readings.append(Reading(score, at, at, pair))

    def _standing(self) -> Standing:
        count, rounds, stack = self.machine.count, self.rounds, self.stack
        better = max(place for place, keep in enumerate(self.kept) if not keep.simpler)
        repeated = [p for p in self.finished if len(p.readings) > 1 and p not in stack]
        return Standing(
            stack=tuple(map(_series, stack)),
            simpler=tuple(program.simpler for program in stack),
            before=tuple(map(_series, self.kept[better:-1])),
            repeats=tuple(map(_series, repeated[-MOST_REPEATS:])),
            experiments=max(self.experiments, 1),
            trials=trials(rounds),
            won=len({r.tip for r in rounds} & self.confirmed),
            on_trial=bool(rounds)
            and (rounds[-1].tip, rounds[-1].incumbent) == (stack[-1].n, stack[0].n),
            looks=sum(reading.at >= self._ended for reading in stack[-1].readings),
            patience=patience(rounds, count, self.experiments),
            now=count,
        )


def _series(program: Program) -> Series:
    return tuple(program.readings)


# -- what is simulated


EXPERIMENTS, MEASUREMENTS = 100, 200
NOISES = ["Gaussian", "heavy tails", "wild outliers", "skewed", "drifting", "slowing down"]
MIXES: dict[str, tuple[list[float], list[float]]] = {
    "gains as often as harms": ([1.0, -1.0, 0.0], [0.1, 0.1, 0.8]),
    "harms are common": ([1.0, -0.5, 0.0], [0.05, 0.6, 0.35]),
}


def begun(rule: str, noise: str, seed: int) -> Campaign:
    """A campaign with its baseline measured."""
    campaign = Campaign(RULES[rule](TABLES[rule], 0.0), Machine(noise, seed))
    campaign.begin()
    return campaign


def nulls(rule: str, noise: str, seed: int) -> Score:
    """100 experiments with candidates that are no better and no worse."""
    campaign = begun(rule, noise, seed)
    for _ in range(EXPERIMENTS):
        campaign.attempt(0.0)
    return campaign.score()


def seeds(rule: str, noise: str, seed: int, rest: float = 0.0) -> Score:
    """The same, with candidates that fix their own seed: each repeats one draw for ever; `rest` of
    the variance is the machine's and differs every time."""
    campaign = begun(rule, noise, seed)
    for _ in range(EXPERIMENTS):
        own_seed = float(campaign.machine.random.normal())
        campaign.attempt(-campaign.tip.true, own_seed, rest)
    return campaign.score()


def lone_gain(rule: str, noise: str, seed: int, gain: float) -> Score:
    """20 experiments of which the eleventh is a true gain."""
    campaign = begun(rule, noise, seed)
    for n in range(20):
        campaign.attempt(gain if n == 10 else 0.0)
    return campaign.score()


def simplifications(rule: str, noise: str, seed: int, loss: float) -> Score:
    """60 experiments with simpler code that is each a little worse."""
    campaign = begun(rule, noise, seed)
    for _ in range(60):
        campaign.attempt(-loss, simpler=True)
    return campaign.score()


def equal_code(rule: str, noise: str, seed: int, others: int, margin: float | None) -> str:
    """The fate of simpler code that is exactly as good, after `others` experiments that change
    nothing."""
    campaign = begun(rule, noise, seed)
    campaign.rule = RULES[rule](JudgeTable(margin=margin), 0.0)
    for _ in range(others):
        campaign.attempt(0.0)
    campaign.attempt(0.0, simpler=True)
    campaign.settle(final=True)
    tried = campaign.finished[-1]
    if tried in campaign.provisional:
        return "provisional"
    return "kept" if tried in campaign.kept else "discarded"


def progress(rule: str, noise: str, seed: int, mix: str) -> Score:
    """200 measurements in all, spent on candidates of a mixture of gains and harms."""
    campaign = begun(rule, noise, seed)
    campaign.most = MEASUREMENTS
    gains, shares = MIXES[mix]
    while campaign.machine.count < MEASUREMENTS:
        campaign.attempt(float(campaign.machine.random.choice(gains, p=shares)))
    return campaign.score()


# -- what is printed

Found = TypeVar("Found")


def many(
    trial: Callable[..., Found], times: int, rule: str, noise: str, *more: object
) -> list[Found]:
    """The same with the seeds 0, 1, …, on all processors."""
    calls = [(rule, noise, seed, *more) for seed in range(times)]
    with Pool() as pool:
        return pool.starmap(trial, calls, chunksize=max(times // 16, 1))


def share(values: Iterator[bool]) -> str:
    """How many of them are true, with a 95 % interval."""
    found = list(values)
    rate = fmean(found)
    error = 1.96 * math.sqrt(max(rate * (1 - rate), 1 / len(found)) / len(found))
    return f"{rate:6.1%} ±{error:4.1%}"


def luck(times: int) -> None:
    print(f"\nCampaigns of {EXPERIMENTS} candidates that change nothing")
    print(f"{'rule':<10} {'noise':<16} {'keep something':>15} {'claimed':>8} {'measured each':>14}")
    for rule in TABLES:
        named = {noise: many(nulls, times, rule, noise) for noise in [*NOISES, "deterministic"]}
        for rest in (0.0, 0.35):
            named[f"own seeds, {1 - rest:.0%}"] = many(seeds, times, rule, "Gaussian", rest)
        for name, found in named.items():
            price = sum(s.measurements for s in found) / sum(s.experiments for s in found)
            kept, claimed = share(s.false for s in found), fmean(s.claimed for s in found)
            print(f"{rule:<10} {name:<16} {kept:>15} {claimed:>6.2f} σ {price:>14.2f}", flush=True)
    print(
        "own seeds: each candidate fixes its seed, and with it this share of the noise's variance"
    )


def power(times: int) -> None:
    print("\nCampaigns of 20 candidates of which one is better: how often that one is kept")
    print(f"{'rule':<10} {'gain':>6} {'kept':>15} {'claimed':>8} {'in its 95 % interval':>21}")
    for rule, gain in product(TABLES, (1.0, 2.0, 3.0, 5.0)):
        found = many(lone_gain, times, rule, "Gaussian", gain)
        won = [s for s in found if s.true >= gain]
        claimed = f"{fmean(s.claimed for s in won):.2f} σ" if won else ""
        within = [c for s in won for c in s.covered]
        covered = f"{fmean(within):.0%}" if within else ""
        kept = share(s.true >= gain for s in found)
        print(f"{rule:<10} {gain:>4.0f} σ {kept:>15} {claimed:>8} {covered:>21}", flush=True)


def gains(times: int) -> None:
    print(f"\nGain after {MEASUREMENTS} measurements, in σ")
    print(f"{'rule':<10} {'candidates':<24} {'true':>11} {'claimed':>8} {'experiments':>12}")
    for rule, mix in product(TABLES, MIXES):
        found = many(progress, times, rule, "Gaussian", mix)
        true, error = fmean(s.true for s in found), np.std([s.true for s in found])
        words = f"{true:.2f} ±{1.96 * error / math.sqrt(times):.2f}"
        claimed, tried = fmean(s.claimed for s in found), fmean(s.experiments for s in found)
        print(f"{rule:<10} {mix:<24} {words:>11} {claimed:>8.2f} {tried:>12.0f}", flush=True)


def losses(times: int) -> None:
    print("\nRule confirm, 60 candidates with simpler code, each a little worse: loss at the end")
    print(f"{'each is worse by':>16} {'mean':>7} {'95 % of campaigns lose at most':>32}")
    for loss in (0.0, 0.1, 0.3, 1.0):
        lost = sorted(
            0.0 - s.true for s in many(simplifications, times, "confirm", "Gaussian", loss)
        )
        most = lost[math.ceil(0.95 * times) - 1]
        print(f"{loss:>14.1f} σ {fmean(lost):>5.2f} σ {most:>30.2f} σ", flush=True)
    print("\nRule confirm, one candidate with simpler code that is exactly as good")
    print(f"{'margin':>7} {'experiments before':>19} {'kept':>15} {'still provisional':>18}")
    for margin, others in product((1.0, 2.0), (0, 20)):
        ends = many(equal_code, times, "confirm", "Gaussian", others, margin)
        kept, left = (share(end == fate for end in ends) for fate in ("kept", "provisional"))
        print(f"{margin:>5.0f} σ {others:>19} {kept:>15} {left:>18}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="campaigns for each row, 2 or more")
    times = parser.parse_args().times
    if times < 2:
        parser.error(f"--times {times}: a share needs at least 2 campaigns")
    luck(times)
    power(times)
    gains(times)
    losses(times)


if __name__ == "__main__":
    main()
