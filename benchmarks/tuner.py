"""How often, how far and how wastefully the tuner wins, beside plain TPE and random search.

A surrogate stands for training: a smooth score of 16 constants, of which a few matter, with
interactions, noise of known sigma, settings that diverge (crash) and settings that take too long
(timeout). Landscapes come in three kinds, as many of each: `usual`, where the constants' names
point the way that experience expects; `misleading`, where they point the other way; and `nameless`.
The references draw from the same ranges, begin with the same start, and face the same judge: a gain
of 1.25 sigmas on two measurements a side. All gains are in sigmas, without noise.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import optuna

from overnight.agents.base import Workbench
from overnight.agents.tuner.agent import Tuner
from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment, Measurement, Outcome, Value, Verdict
from overnight.judge.base import Decision, Evidence, Side, Standing
from overnight.judge.noise import Reading
from overnight.judge.rules import judge_for

ARENA = """
name = "surrogate"
editable = ["train.py"]
[metric]
name = "loss"
direction = "minimize"
[run]
command = "python train.py"
budget = "10s"
[judge]
rule = "threshold"
gain = 1.25
repeats = 2
"""
KINDS = ("usual", "misleading", "nameless")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REACH = 0.25
"""The part of a constant's range that counts as a distance of one."""


class Knob(NamedTuple):
    """A constant of the surrogate: what the source says, and where experience would move it."""

    name: str
    literal: str
    hint: str
    low: float
    high: float
    log: bool
    toward: int
    weight: float = 1.0
    choices: tuple[Value, ...] = ()


KNOBS = (
    Knob("DEPTH", "4", "1..12", 1, 12, True, -1, 2),
    Knob("BATCH", "16", "2..64 log", 2, 64, True, -1, 2),
    Knob("WIDTH", "128", "one of: 64, 96, 128, 192, 256", 64, 256, True, -1, 1.5),
    Knob("MLP_RATIO", "4.0", "0.5..8 log", 0.5, 8, True, -1, 1.5),
    Knob("LEARNING_RATE", "0.02", "0.002..0.2 log", 0.002, 0.2, True, 1, 1.5),
    Knob("EMBEDDING_LR", "1.0", "", 0.1, 10, True, 1),
    Knob("MOMENTUM", "0.95", "0.8..0.99", 0.8, 0.99, False, -1),
    Knob("WEIGHT_DECAY", "0.0", "0..0.3", 0, 0.3, False, 1, 0.3),
    Knob("WARMUP", "0.0", "0..0.3 of the time", 0, 0.3, False, 1, 0.5),
    Knob("DECAY", "0.5", "0.05..1 of the time", 0.05, 1, False, 1, 1.5),
    Knob("CONV_LAYERS", "0", "0..4", 0, 4, False, 1, 1.5),
    Knob("CLIP", "1.0", "0.1..10 log", 0.1, 10, True, -1, 0.3),
    Knob("DROPOUT", "0.1", "0..0.5", 0, 0.5, False, -1, 0.5),
    Knob("ACTIVATION", '"relu2"', "one of: relu2, gelu, silu", 0, 0, False, 0, 1, ("gelu", "silu")),
    Knob("SOFTCAP", "15.0", "one of: 0.0, 10.0, 15.0, 30.0", 0, 30, False, -1, 0.7),
    Knob("TOKEN_SHIFT", "False", "", 0, 0, False, 0, 1, (True,)),
)
Values = Mapping[str, Value]


class Landscape:
    """A random surrogate; `score` is the loss without noise, larger is worse."""

    def __init__(self, seed: int, kind: str) -> None:
        draw = random.Random(f"{seed} {kind}")
        self.knobs: tuple[Knob, ...] = KNOBS
        if kind == "nameless":
            shuffled = draw.sample(KNOBS, len(KNOBS))
            self.knobs = tuple(k._replace(name=f"KNOB_{n}") for n, k in enumerate(shuffled))
        expected = {"usual": 0.75, "misleading": 0.25, "nameless": 0.5}[kind]
        self.start = values_of(self.source())
        self._origin = {k.name: place(k, self.start[k.name]) for k in self.knobs if not k.choices}
        self._best: dict[str, float] = {}
        self._weight: dict[str, float] = {}
        self._bonus: dict[tuple[str, Value], float] = {}
        for knob in self.knobs:
            relevance = {"usual": knob.weight, "misleading": 1 / knob.weight}.get(kind, 1.0)
            self._weight[knob.name] = 1.2 * relevance * math.exp(draw.gauss(0, 0.8))
            for choice in knob.choices:
                self._bonus[knob.name, choice] = draw.gauss(-0.5, 1.5) * self._weight[knob.name]
            side = knob.toward if draw.random() < expected else -knob.toward
            if not knob.choices:
                origin = self._origin[knob.name]
                best = origin + side * abs(draw.gauss(0, 0.3))
                self._best[knob.name] = min(1.0, max(0.0, best))
        self._pairs = list(self._interactions(draw))
        self._limits = list(self._failures(draw))

    def source(self) -> str:
        """The editable file."""
        lines = [f"{k.name} = {k.literal}" + ("  # " + k.hint if k.hint else "") for k in KNOBS]
        if self.knobs is not KNOBS:
            lines = [f"{k.name} = {k.literal}  # {k.hint}" for k in self.knobs]
        return '"""A surrogate."""\n\n' + "\n".join(line.removesuffix("  # ") for line in lines)

    def _interactions(self, draw: random.Random) -> Iterator[tuple[str, str, float]]:
        names = draw.sample(list(self._origin), len(self._origin))
        for a, b in zip(names[::2], names[1::2], strict=False):
            size = math.sqrt(self._weight[a] * self._weight[b])
            yield a, b, size * max(-0.9, min(0.9, draw.gauss(0, 0.4)))

    def _failures(self, draw: random.Random) -> Iterator[tuple[Outcome, dict[str, int], float]]:
        """Half-spaces away from the start: one or two constants too far diverge, three together
        take too long."""
        for outcome, count, edge in (
            (Outcome.CRASHED, 1, 0.18),
            (Outcome.CRASHED, 2, 0.4),
            (Outcome.TIMEOUT, 3, 0.5),
        ):
            names = draw.sample(list(self._origin), count)
            yield outcome, {name: draw.choice((-1, 1)) for name in names}, edge

    def outcome(self, values: Values) -> Outcome:
        """How a run with these values ends."""
        at = self._places(values)
        for outcome, signs, edge in self._limits:
            if sum(sign * (at[n] - self._origin[n]) for n, sign in signs.items()) > edge:
                return outcome
        return Outcome.FINISHED

    def score(self, values: Values) -> float:
        """The loss without noise, in sigmas; the start's is near 100."""
        off = {n: (at - self._best[n]) / REACH for n, at in self._places(values).items()}
        loss = 100.0
        for name, distance in off.items():
            loss += self._weight[name] * 2 * math.log1p(distance**2 / 2)
        for a, b, size in self._pairs:
            loss += 2 * size * math.tanh(off[a] / 2) * math.tanh(off[b] / 2)
        return loss - sum(self._bonus.get((n, values[n]), 0.0) for n in values)

    def gain(self, values: Values) -> float:
        """The true gain over the start."""
        return self.score(self.start) - self.score(values)

    def _places(self, values: Values) -> dict[str, float]:
        return {k.name: place(k, values[k.name]) for k in self.knobs if not k.choices}


def place(knob: Knob, value: Value) -> float:
    """Where in its range a number lies, 0 to 1."""
    assert not isinstance(value, str)
    if knob.log:
        return math.log(value / knob.low) / math.log(knob.high / knob.low)
    return (value - knob.low) / (knob.high - knob.low)


def values_of(source: str) -> dict[str, Value]:
    """What Python makes of the file."""
    space: dict[str, Value] = {}
    exec(source, {}, space)
    return {name: value for name, value in space.items() if name.isupper()}


class TheTuner:
    """The real tuner: edits a real file in a folder."""

    def __init__(self, landscape: Landscape, folder: Path, seed: int) -> None:
        self._folder = folder
        self._arena = Arena.load(folder)
        self._kept = landscape.source()
        self._parameters: Mapping[str, Value] = {}

    def ask(self, n: int, history: Sequence[Experiment]) -> dict[str, Value] | None:
        file = self._folder / "train.py"
        file.write_text(self._kept)
        bench = Workbench(
            arena=self._arena,
            folder=self._folder,
            private=self._folder,
            brief="",
            n=n,
            start=[e for e in history if e.kept][-1],
            history=history,
            prior=(),
            transcript=self._folder / "transcript",
        )
        idea = Tuner().propose(bench)
        if idea is None:
            return None
        self._parameters = idea.parameters
        self._now = file.read_text()
        return values_of(self._now)

    def tell(self, experiment: Experiment) -> None:
        if experiment.kept:
            self._kept = self._now

    @property
    def parameters(self) -> Mapping[str, Value]:
        return self._parameters


class Reference:
    """Optuna as it comes: TPE or random search over the same ranges, the start first."""

    def __init__(self, landscape: Landscape, folder: Path, seed: int, sampler: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        made = getattr(optuna.samplers, sampler)(seed=seed)
        self._space = {k.name: distribution(k) for k in landscape.knobs}
        self._study = optuna.create_study(sampler=made)
        self._study.enqueue_trial(landscape.start)
        self._trial = self._study.ask(self._space)
        self._study.tell(self._trial, landscape.score(landscape.start))

    def ask(self, n: int, history: Sequence[Experiment]) -> dict[str, Value] | None:
        self._trial = self._study.ask(self._space)
        return dict(self._trial.params)

    def tell(self, experiment: Experiment) -> None:
        if experiment.score is None:
            self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(self._trial, experiment.score)

    @property
    def parameters(self) -> Mapping[str, Value]:
        return dict(self._trial.params)


def distribution(knob: Knob) -> optuna.distributions.BaseDistribution:
    """The range that the file's own comment gives."""
    start = values_of(f"X = {knob.literal}")["X"]
    if knob.choices:
        return optuna.distributions.CategoricalDistribution([start, *knob.choices])
    if knob.hint.startswith("one of: "):
        words = knob.hint.removeprefix("one of: ").split(", ")
        return optuna.distributions.CategoricalDistribution([type(start)(word) for word in words])
    if isinstance(start, int):
        return optuna.distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return optuna.distributions.FloatDistribution(knob.low, knob.high, log=knob.log)


Maker = Callable[[Landscape, Path, int], TheTuner | Reference]
PROPOSERS: dict[str, Maker] = {
    "tuner": TheTuner,
    "Optuna TPE": partial(Reference, sampler="TPESampler"),
    "random": partial(Reference, sampler="RandomSampler"),
}


@dataclass
class Trace:
    """What one campaign did."""

    gains: list[float] = field(default_factory=lambda: [0.0])
    """True gain of the incumbent after experiment 0, 1, 2, …"""
    repeats: list[bool] = field(default_factory=list)
    """Whether experiment 1, 2, … tried what had been tried."""
    failed: list[bool] = field(default_factory=list)


class Desk:
    """One campaign on one landscape: measures with noise, asks the real judge."""

    def __init__(self, landscape: Landscape, arena: Arena, seed: int) -> None:
        self._landscape = landscape
        self._judge = judge_for(arena)
        self._noise = random.Random(f"noise {seed}")
        first = self._measured(Experiment(0, "baseline", NOW), landscape.start)
        self.history = [replace(first, verdict=Verdict.KEEP, score=first.scores[0])]
        self._kept: list[dict[str, Value]] = [landscape.start]
        self._tried = [landscape.start]
        self.trace = Trace()

    def judge(self, n: int, values: dict[str, Value], parameters: Values) -> Experiment:
        """Measure and judge one candidate, and note it."""
        experiment = Experiment(n, "tuner", NOW, parameters=parameters)
        outcome = self._landscape.outcome(values)
        if verdict := outcome.verdict:
            experiment = replace(experiment, verdict=verdict)
        else:
            experiment = self._decided(self._measured(experiment, values), values)
        self._note(experiment, values)
        return experiment

    def _decided(self, experiment: Experiment, values: Values) -> Experiment:
        while True:
            place = max(n for n, e in enumerate(self.history) if e.kept)
            mine, parents = (
                tuple(Reading(-score, k, k) for k, score in enumerate(e.scores))
                for e in (experiment, self.history[place])
            )
            word = self._judge.decide(Evidence(mine, Standing((parents,), (False,))))
            if isinstance(word, Decision):
                verdict = Verdict.KEEP if word.keep else Verdict.DISCARD
                score = statistics.median(experiment.scores)
                return replace(experiment, verdict=verdict, score=score, gain=word.gain)
            if word.of is Side.CANDIDATE:
                experiment = self._measured(experiment, values)
            else:
                again = self._measured(self.history[place], self._kept[-1])
                self.history[place] = replace(again, score=statistics.median(again.scores))

    def _measured(self, experiment: Experiment, values: Values) -> Experiment:
        score = self._landscape.score(values) + self._noise.gauss(0, 1)
        one = Measurement("", 0, NOW, Outcome.FINISHED, score)
        return replace(experiment, measurements=(*experiment.measurements, one))

    def _note(self, experiment: Experiment, values: dict[str, Value]) -> None:
        self.trace.repeats.append(values in self._tried)
        self.trace.failed.append(experiment.score is None)
        self._tried.append(values)
        self.history.append(experiment)
        if experiment.kept:
            self._kept.append(values)
        self.trace.gains.append(self._landscape.gain(self._kept[-1]))


def campaign(maker: Maker, landscape: Landscape, experiments: int, seed: int) -> Trace:
    """One campaign; a proposer with nothing left keeps what it has."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "arena.toml").write_text(ARENA)
        (Path(folder) / "program.md").write_text("Lower the loss.\n")
        (Path(folder) / "train.py").write_text(landscape.source())
        desk = Desk(landscape, Arena.load(Path(folder)), seed)
        proposer = maker(landscape, Path(folder), seed)
        for n in range(1, experiments + 1):
            values = proposer.ask(n, desk.history)
            if values is None:
                break
            proposer.tell(desk.judge(n, values, proposer.parameters))
    return desk.trace


def row(name: str, traces: Sequence[Trace], experiments: int) -> str:
    """A line of the table."""
    gains = [trace.gains[: experiments + 1][-1] for trace in traces]
    won, surely = (sum(gain > least for gain in gains) / len(gains) for least in (0, 1))
    spent = [
        statistics.mean(sum(what[:experiments]) for what in kind)
        for kind in zip(*((t.repeats, t.failed) for t in traces), strict=True)
    ]
    wasted = "".join(f"{n:9.1f}" for n in spent)
    return f"{name:24}{won:8.0%}{surely:10.0%}{statistics.median(gains):12.1f}{wasted}"


def compare(length: int, landscapes: int) -> dict[str, float]:
    """Print how campaigns of this length went; the median gain of each proposer, in sigmas."""
    print(f"after {length} experiments")
    medians = {}
    for name, maker in PROPOSERS.items():
        everything = []
        for kind in KINDS:
            traces = [
                campaign(maker, Landscape(seed, kind), length, seed) for seed in range(landscapes)
            ]
            everything += traces
            if name == "tuner":
                print(row(f"  {name}, {kind}", traces, length))
        print(row(f"  {name}", everything, length))
        medians[name] = statistics.median(trace.gains[-1] for trace in everything)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=int, default=20, help="campaigns of 12 on each kind")
    parser.add_argument("--long", type=int, default=2, help="campaigns of 100 on each kind")
    arguments = parser.parse_args()
    columns = ("a win", "> 1 sigma", "median gain", "repeats", "failed")
    print(f"{'':24}{columns[0]:>8}{columns[1]:>10}{columns[2]:>12}{columns[3]:>9}{columns[4]:>9}")
    compare(12, arguments.short)
    medians = compare(100, arguments.long)
    print(f"ratio of the median gains: {medians['tuner'] / medians['Optuna TPE']:.2f}")


if __name__ == "__main__":
    main()
