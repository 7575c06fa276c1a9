"""The judge, simulated: how often luck is kept, what is found, at what price, and what is claimed.

Every number comes from the rules that a campaign uses, on candidates whose true gain is known;
the noise of one measurement has a standard deviation of 1.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import Pool
from statistics import fmean
from typing import TypeVar

import numpy as np

from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Trial, Verdict
from overnight.judge.base import Decision, Evidence, Judge, More, Pair, Side, Standing
from overnight.judge.noise import Reading
from overnight.judge.rules import RULES
from overnight.judge.trials import MOST_TRIALS, RESERVE, patience, trials

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
    rest: float = 0.0
    """With a seed of its own: the share of the noise's variance that remains, as the machine's."""
    simpler: bool = False
    """Whether it has less code than its parent."""
    readings: list[Reading] = field(default_factory=list)


@dataclass
class Campaign:
    """A campaign without git and processes: the same questions to the same judge."""

    rule: Judge
    machine: Machine
    stack: list[Program] = field(default_factory=list)
    before: list[Program] = field(default_factory=list)
    """What simplifications are counted from, up to below the incumbent."""
    repeats: list[Program] = field(default_factory=list)
    won: int = 0
    claimed: float = 0.0
    false: int = 0
    covered: list[bool] = field(default_factory=list)
    experiments: int = 0
    most: float = math.inf
    """Measurements that there are in all."""
    rounds: list[Trial] = field(default_factory=list)
    _ended: int = 0
    """Measurements when the newest experiment ended."""

    def begin(self) -> None:
        first = Program(0.0)
        self._measure(first)
        while isinstance(self.rule.decide(Evidence(tuple(first.readings), Standing())), More):
            self._measure(first)
        self.stack = [first]

    def attempt(
        self,
        gain: float,
        own_seed: float | None = None,
        rest: float = 0.0,
        simpler: bool = False,
    ) -> None:
        """One experiment with a change of this true gain."""
        self.experiments += 1
        candidate = Program(self.stack[-1].true + gain, own_seed, rest)
        self._measure(candidate)
        while isinstance(word := self._asked(candidate, simpler), More):
            if self.machine.count >= self.most:
                return
            side = candidate if word.of is Side.CANDIDATE else self.stack[-1]
            self._measure(side)
        self._ended = self.machine.count
        candidate.simpler = word.simpler
        if word.verdict is Verdict.PROVISIONAL:
            self.stack.append(candidate)
        elif word.verdict is Verdict.KEEP:
            self.stack.append(candidate)
            self._kept(word.gain)
        elif len(candidate.readings) > 1:
            self.repeats = [*self.repeats[-100:], candidate]
        self.settle()

    def _asked(self, candidate: Program, simpler: bool) -> Decision | More:
        readings = tuple(candidate.readings)
        return self.rule.decide(Evidence(readings, self._standing(), simpler))

    def settle(self, allowance: float = 0.0) -> None:
        """What the judge wants to see and to say between two experiments; `allowance` is the least
        that a trial may cost, in measurements."""
        last = self.machine.count + allowance
        while self.machine.count + 2 <= self.most:
            word = self.rule.review(self._standing(last - self.machine.count))
            if word is None:
                return
            if isinstance(word, More):
                self._measure(self.stack[0 if word.of is Side.INCUMBENT else -1])
            elif isinstance(word, Pair):
                self._pair(word)
            elif word.verdict is Verdict.KEEP:
                self._confirm(word)
            else:
                self.repeats = [*self.repeats[-100:], self.stack.pop()]

    def _confirm(self, word: Decision) -> None:
        self.won += 1
        if word.interval:
            low, high = word.interval
            self.covered.append(low <= self.stack[-1].true - self.stack[0].true <= high)
        self.repeats = [*self.repeats[-100:], *self.stack[:-1]]
        self._kept(word.gain)

    def _kept(self, gain: float) -> None:
        """The whole stack is: its tip is the incumbent now."""
        tip, incumbent = self.stack[-1], self.stack[0]
        self.claimed += gain
        self.false += tip.true <= incumbent.true or tip.own_seed is not None
        below = [*self.before, *self.stack]
        start = max(place for place, program in enumerate(below) if not program.simpler)
        self.before, self.stack = below[start:-1], [tip]

    def _pair(self, word: Pair) -> None:
        tip, incumbent = self.stack[-1], self.stack[0]
        now = Trial(
            len(self.rounds) + 1, id(tip), id(incumbent), self.machine.count, self.experiments
        )
        if not self.rounds or (self.rounds[-1].tip, self.rounds[-1].latest) != (
            now.tip,
            now.latest,
        ):
            self.rounds.append(now)
        pair = self.machine.count
        for side in [tip, incumbent] if word.first is Side.TIP else [incumbent, tip]:
            self._measure(side, pair)

    def _measure(self, program: Program, pair: int | None = None) -> None:
        at = self.machine.count if pair is None else pair
        if program.own_seed is None:
            score = self.machine.measure(program.true)
        else:
            fixed = math.sqrt(1 - program.rest) * program.own_seed
            score = fixed + math.sqrt(program.rest) * self.machine.measure(0.0) + program.true
        program.readings.append(Reading(score, at, at, pair))

    def _standing(self, allowance: float = 0.0) -> Standing:
        count, rounds, tip = self.machine.count, self.rounds, self.stack[-1]
        pairing = (id(tip), id(self.stack[0]))
        return Standing(
            stack=tuple(tuple(program.readings) for program in self.stack),
            simpler=tuple(program.simpler for program in self.stack),
            before=tuple(tuple(program.readings) for program in self.before),
            repeats=tuple(tuple(program.readings) for program in self.repeats),
            experiments=max(self.experiments, 1),
            trials=trials(rounds),
            won=self.won,
            on_trial=bool(rounds) and (rounds[-1].tip, rounds[-1].incumbent) == pairing,
            looks=sum(reading.at >= self._ended for reading in tip.readings),
            patience=max(allowance, patience(rounds, count, self.experiments)),
            now=count,
        )


# -- what is measured


@dataclass(frozen=True)
class Score:
    """What one simulated campaign came to."""

    true: float
    claimed: float
    false: bool
    experiments: int
    measurements: int
    """Without those of the baseline."""
    covered: tuple[bool, ...]


def campaign(rule: str, noise: str, seed: int) -> tuple[Campaign, int]:
    """A campaign with its baseline measured, and how many measurements that took."""
    begun = Campaign(RULES[rule](TABLES[rule], 0.0), Machine(noise, seed))
    begun.begin()
    return begun, begun.machine.count


def score(done: Campaign, before: int) -> Score:
    done.settle(ALLOWANCE)
    return Score(
        done.stack[0].true,
        done.claimed,
        done.false > 0,
        done.experiments,
        done.machine.count - before,
        tuple(done.covered),
    )


def nulls(rule: str, noise: str, seed: int) -> Score:
    """100 experiments with candidates that are no better and no worse."""
    done, before = campaign(rule, noise, seed)
    for _ in range(EXPERIMENTS):
        done.attempt(0.0)
    return score(done, before)


def seeds(rule: str, noise: str, seed: int, rest: float = 0.0) -> Score:
    """The same, with candidates that fix a seed of their own: each repeats one draw for ever, but
    for the part of the noise that is the machine's."""
    done, before = campaign(rule, noise, seed)
    for _ in range(EXPERIMENTS):
        own_seed = float(done.machine.random.normal())
        done.attempt(-done.stack[-1].true, own_seed, rest)
    return score(done, before)


def lone_gain(rule: str, noise: str, seed: int, gain: float) -> Score:
    """20 experiments of which the eleventh is a true gain."""
    done, before = campaign(rule, noise, seed)
    for n in range(20):
        done.attempt(gain if n == 10 else 0.0)
    return score(done, before)


def simplifications(rule: str, noise: str, seed: int, loss: float) -> Score:
    """60 experiments with simpler code that is each worse by so much."""
    done, before = campaign(rule, noise, seed)
    for _ in range(60):
        done.attempt(-loss, simpler=True)
    return score(done, before)


def equal_code(rule: str, noise: str, seed: int, others: int, margin: float | None) -> str:
    """One experiment with simpler code that is exactly as good, after so many that change nothing:
    what became of it."""
    done, _ = campaign(rule, noise, seed)
    done.rule = RULES["confirm"](JudgeTable(margin=margin), 0.0)
    for _ in range(others):
        done.attempt(0.0)
    done.attempt(0.0, simpler=True)
    tip = done.stack[-1]
    done.settle(ALLOWANCE)
    if not tip.simpler or tip not in [*done.before, *done.stack]:
        return "discarded"
    return "provisional" if tip in done.stack[1:] else "kept"


def progress(rule: str, noise: str, seed: int, mix: str) -> Score:
    """200 measurements in all, spent on candidates of a mixture of gains and harms."""
    done, before = campaign(rule, noise, seed)
    done.most = MEASUREMENTS
    gains, shares = MIXES[mix]
    while done.machine.count < MEASUREMENTS:
        done.attempt(float(done.machine.random.choice(gains, p=shares)))
        if (left := MEASUREMENTS - done.machine.count) <= RESERVE:
            done.settle(left)
    return score(done, before)


EXPERIMENTS, MEASUREMENTS = 100, 200
ALLOWANCE = 2 * MOST_TRIALS * TABLES["confirm"].max_repeats
NOISES = ["Gaussian", "heavy tails", "wild outliers", "skewed", "drifting", "slowing down"]
MIXES: dict[str, tuple[list[float], list[float]]] = {
    "gains as often as harms": ([1.0, -1.0, 0.0], [0.1, 0.1, 0.8]),
    "harms are common": ([1.0, -0.5, 0.0], [0.05, 0.6, 0.35]),
}
Found = TypeVar("Found")


def many(
    trial: Callable[..., Found], times: int, rule: str, noise: str, *more: object
) -> list[Found]:
    calls = [(rule, noise, seed, *more) for seed in range(times)]
    with Pool() as pool:
        return pool.starmap(trial, calls, chunksize=max(times // 16, 1))


def share(values: Iterator[bool]) -> str:
    found = list(values)
    rate = fmean(found)
    error = 1.96 * math.sqrt(max(rate * (1 - rate), 1 / len(found)) / len(found))
    return f"{rate:6.1%} ±{error:4.1%}"


def luck(times: int) -> None:
    print(f"\nCampaigns of {EXPERIMENTS} identical candidates that keep something, and price")
    print(f"{'rule':<10} {'noise':<16} {'keep something':>15} {'claimed':>8} {'price of one':>13}")
    for rule in TABLES:
        named = {noise: many(nulls, times, rule, noise) for noise in [*NOISES, "deterministic"]}
        for rest in (0.0, 0.35):
            named[f"own seeds, {1 - rest:.0%}"] = many(seeds, times, rule, "Gaussian", rest)
        for name, found in named.items():
            price = sum(s.measurements for s in found) / sum(s.experiments for s in found)
            kept, claimed = share(s.false for s in found), fmean(s.claimed for s in found)
            print(f"{rule:<10} {name:<16} {kept:>15} {claimed:>8.2f} {price:>13.2f}", flush=True)


def power(times: int) -> None:
    print("\nA single true gain among 20 experiments: how often it is kept, and what is claimed")
    print(f"{'rule':<10} {'gain':>6} {'kept':>15} {'claimed':>8} {'in its 95 % interval':>21}")
    for rule, gain in product(TABLES, (1.0, 2.0, 3.0, 5.0)):
        found = many(lone_gain, times, rule, "Gaussian", gain)
        won = [s for s in found if s.true >= gain]
        claimed = f"{fmean(s.claimed for s in won):.2f}" if won else ""
        within = [c for s in won for c in s.covered]
        covered = f"{fmean(within):.0%}" if within else ""
        kept = share(s.true >= gain for s in found)
        print(f"{rule:<10} {gain:>4.0f} σ {kept:>15} {claimed:>8} {covered:>21}", flush=True)


def gains(times: int) -> None:
    print(f"\nTrue and claimed gain after {MEASUREMENTS} measurements, in sigmas")
    print(f"{'rule':<10} {'candidates':<24} {'true':>11} {'claimed':>8} {'experiments':>12}")
    for rule, mix in product(TABLES, MIXES):
        found = many(progress, times, rule, "Gaussian", mix)
        true, error = fmean(s.true for s in found), np.std([s.true for s in found])
        words = f"{true:.2f} ±{1.96 * error / math.sqrt(times):.2f}"
        claimed, tried = fmean(s.claimed for s in found), fmean(s.experiments for s in found)
        print(f"{rule:<10} {mix:<24} {words:>11} {claimed:>8.2f} {tried:>12.0f}", flush=True)


def losses(times: int) -> None:
    print("\n60 candidates with simpler code that are each a little worse: what is lost in the end")
    print(f"{'rule':<10} {'each is worse by':>17} {'lost':>6} {'in 95 % at most':>16}")
    for loss in (0.0, 0.1, 0.3, 1.0):
        lost = sorted(-s.true for s in many(simplifications, times, "confirm", "Gaussian", loss))
        most = lost[math.ceil(0.95 * times) - 1]
        print(f"{'confirm':<10} {loss:>15.1f} σ {fmean(lost):>6.2f} {most:>16.2f}", flush=True)
    print("\nOne candidate with simpler code that is exactly as good")
    print(f"{'rule':<10} {'margin':>7} {'after':>9} {'kept':>15} {'provisional':>15}")
    for margin, others in product((1.0, 2.0), (0, 20)):
        ends = many(equal_code, times, "confirm", "Gaussian", others, margin)
        kept, left = (share(end == word for end in ends) for word in ("kept", "provisional"))
        print(f"{'confirm':<10} {margin:>5.0f} σ {others:>9} {kept:>15} {left:>15}", flush=True)


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
