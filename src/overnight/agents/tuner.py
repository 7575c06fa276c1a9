"""The built-in tuner: searches the constants of the editable Python files, without a model.

It begins near the incumbent with one constant at a time in steps of a factor of two, those that
usually matter first; follows a win in its direction; joins near misses; and hands over to Optuna's
TPE around the incumbent, with more constants at once the longer nothing was won.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.agents.base import Workbench
from overnight.agents.constants import Constant, changes_in_words, edit, find_constants
from overnight.errors import AgentError
from overnight.experiment import Experiment, Idea, Value, Verdict

if TYPE_CHECKING:
    import optuna

MOVED = "moved"
"""Key in Idea.parameters: which steps this candidate took, as `file:NAME:direction` words."""
_HISTORY = 300
_PATIENCE = 24
"""Experiments with one or two constants before TPE takes every second turn."""

# What usually decides under a fixed time, most first; sizes are tried smaller first, since what is
# cheaper gets more steps done in the same time.
_PRIORS = (
    (re.compile(r"DEPTH|LAYERS?\b|BLOCKS", re.I), 6.0, "down"),
    (re.compile(r"BATCH", re.I), 5.5, "down"),
    (re.compile(r"LR|LEARNING_RATE|STEP_SIZE", re.I), 5.0, "up"),
    (re.compile(r"RATIO|HIDDEN|EXPANSION", re.I), 5.0, "down"),
    (re.compile(r"DECAY$|WARMDOWN|COOLDOWN|SCHEDULE", re.I), 4.0, "up"),
    (re.compile(r"WIDTH|DIM|CHANNELS|SIZE", re.I), 3.5, "down"),
    (re.compile(r"CAP|CONV|SHIFT|ACTIVATION", re.I), 3.5, "up"),
    (re.compile(r"MOMENTUM|BETA|CONTEXT", re.I), 2.5, "down"),
    (re.compile(r"EPS|CLIP|WEIGHT_DECAY|INIT", re.I), 1.0, "down"),
)
_OTHER = 2.0


@dataclass(frozen=True)
class _Move:
    """One constant, one step."""

    key: str
    direction: str
    value: Value
    rank: float

    @property
    def word(self) -> str:
        return f"{self.key}:{self.direction}"


class Tuner:
    """Proposes new values for module-level constants. The same history gets the same proposal."""

    name = "tuner"

    def propose(self, bench: Workbench) -> Idea | None:
        sources = _sources(bench)
        constants = [c for path, text in sources.items() for c in find_constants(path, text)]
        if not constants:
            raise AgentError(
                "no tunable constant in the editable Python files; write one at module level, "
                "such as `LEARNING_RATE = 0.01  # 0.0001..1 log`"
            )
        proposal = _Search(bench, constants).next()
        if proposal is None:
            return None
        values, hypothesis = proposal
        for path, text in sources.items():
            with (bench.folder / path).open("w", encoding="utf-8", newline="") as file:
                file.write(edit(path, text, values))
        incumbent = {c.key: c.value for c in constants}
        return Idea(
            changes_in_words(constants, values),
            hypothesis,
            {**incumbent, **values, MOVED: " ".join(_words(constants, values))},
        )


def _sources(bench: Workbench) -> dict[str, str]:
    found = {}
    for file in sorted(bench.folder.rglob("*.py")):
        path = file.relative_to(bench.folder).as_posix()
        if bench.arena.is_editable(path) and file.is_file() and not file.is_symlink():
            found[path] = _read(file)
    return found


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return text.read()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{file.name} cannot be read: {error}") from error


def _words(constants: Sequence[Constant], values: Mapping[str, Value]) -> list[str]:
    """The steps from the incumbent to these values, for the record."""
    words = []
    for c in constants:
        new = values.get(c.key, c.value)
        if new == c.value:
            continue
        if isinstance(new, bool | str) or isinstance(c.value, str):
            words.append(f"{c.key}:{new}".replace(" ", "_"))
        else:
            words.append(f"{c.key}:{'up' if new > c.value else 'down'}")
    return words


class _Search:
    """One proposal's look at the constants and at what has been tried."""

    def __init__(self, bench: Workbench, constants: Sequence[Constant]) -> None:
        self.n = bench.n
        self.constants = constants
        self.incumbent = {c.key: c.value for c in constants}
        self.orient = bench.arena.metric.orient
        mine = [e for e in bench.history if MOVED in e.parameters]
        self.tried = mine[-_HISTORY:]
        self.seen = {self._vector(e.parameters) for e in mine} | {self._vector(self.incumbent)}
        self.random = random.Random(bench.n)
        prior = [e for e in bench.prior if MOVED in e.parameters]
        self.luck = _luck(prior, 0.5)
        for word, weight in _luck(self.tried, 1.0).items():
            self.luck[word] = self.luck.get(word, 0.0) + weight
        self.since_win = bench.n - bench.incumbent.n

    def next(self) -> tuple[dict[str, Value], str] | None:
        """New values and why, or None when nothing new is left."""
        attempts = [self._one, self._two]
        if len(self.tried) >= 7 and self.n % 4 == 0:
            attempts = [self._two, self._one]
        if len(self.tried) >= _PATIENCE and self.n % 2:
            attempts = [self._tpe, *attempts]
        for attempt in [*attempts, self._finer, self._tpe]:
            found = attempt()
            if found is not None:
                return found
        return None

    def _one(self) -> tuple[dict[str, Value], str] | None:
        for move in self._moves(1.0):
            if move.rank < -1.0:
                return None  # all that is left has lost several times
            if self._is_new({move.key: move.value}):
                return {move.key: move.value}, self._reason(move)
        return None

    def _two(self) -> tuple[dict[str, Value], str] | None:
        """The two best steps of different constants, together."""
        moves = self._moves(1.0)[:8]
        pairs = [(a, b) for i, a in enumerate(moves) for b in moves[i + 1 :] if a.key != b.key]
        for a, b in sorted(pairs, key=lambda pair: -(pair[0].rank + pair[1].rank)):
            values = {a.key: a.value, b.key: b.value}
            if self._is_new(values):
                return values, "the two most promising steps, together"
        return None

    def _finer(self) -> tuple[dict[str, Value], str] | None:
        for size in (0.5, 0.25):
            for move in self._moves(size):
                if self._is_new({move.key: move.value}):
                    return {move.key: move.value}, "a finer step than those tried so far"
        return None

    def _tpe(self) -> tuple[dict[str, Value], str] | None:
        """Optuna's suggestion for a few of the constants, more of them the longer nothing won."""
        most = min(len(self.constants), 2 + self.since_win // 10)
        for attempt in range(20):
            suggested = _suggest(self.constants, self.tried, self.orient, self.n * 100 + attempt)
            keys = self.random.sample(list(suggested), self.random.randint(1, most))
            values = {key: suggested[key] for key in keys}
            if self._is_new(values):
                return values, f"what {len(self.tried)} experiments suggest to the TPE sampler"
        return None

    def _moves(self, size: float) -> list[_Move]:
        """Every step of this size from the incumbent, the most promising first."""
        found = []
        for c in self.constants:
            weight, first = _prior(c.name)
            for direction, value in c.steps(size).items():
                bonus = 0.25 if direction == first else 0.0
                luck = self.luck.get(f"{c.key}:{direction}".replace(" ", "_"), 0.0)
                rank = weight + bonus + luck + 0.2 * self.random.random()
                found.append(_Move(c.key, direction, value, rank))
        return sorted(found, key=lambda move: -move.rank)

    def _reason(self, move: _Move) -> str:
        for e in reversed(self.tried):
            if move.word in str(e.parameters[MOVED]).split() and e.verdict is Verdict.KEEP:
                return f"a step the same way won in experiment {e.n}"
        return "not tried from here yet"

    def _is_new(self, values: Mapping[str, Value]) -> bool:
        return self._vector({**self.incumbent, **values}) not in self.seen

    def _vector(self, values: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(values.get(c.key) for c in self.constants)


def _prior(name: str) -> tuple[float, str]:
    for pattern, weight, first in _PRIORS:
        if pattern.search(name):
            return weight, first
    return _OTHER, "down"


def _luck(experiments: Sequence[Experiment], trust: float) -> dict[str, float]:
    """Step → what experience says for it: a win calls for more, a loss speaks against."""
    luck: dict[str, float] = {}
    gains = sorted(abs(e.gain) for e in experiments if e.gain)
    typical = gains[len(gains) // 2] if gains else 1.0
    for e in experiments:
        words = str(e.parameters[MOVED]).split()
        for word in words:
            before = luck.get(word, 0.0)
            if e.verdict is Verdict.KEEP:
                luck[word] = max(before, 0.0) + trust * 3.0 / len(words)
            elif e.gain is None:
                luck[word] = before - trust * 4.0 / len(words)
            else:
                closeness = max(-1.0, e.gain / (typical or 1.0))
                luck[word] = before - trust * (1.5 - min(closeness, 0.5)) / len(words)
    return luck


def _suggest(
    constants: Sequence[Constant],
    experiments: Sequence[Experiment],
    orient: object,
    seed: int,
) -> dict[str, Value]:
    """Optuna's TPE over the whole space, given everything that was tried."""
    import optuna

    assert callable(orient)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {c.key: distribution for c in constants if (distribution := _distribution(c))}
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    scores = [orient(e.score) for e in experiments if e.score is not None]
    worst = min(scores, default=0.0)
    for e in experiments:
        values = {key: e.parameters.get(key) for key in space}
        if all(space[key]._contains(_internal(space[key], v)) for key, v in values.items()):
            # What crashed or ran out of time counts as worse than anything that did not.
            result = orient(e.score) if e.score is not None else worst - abs(worst) - 1.0
            trial = optuna.trial.create_trial(params=values, distributions=space, value=result)
            study.add_trial(trial)
    return dict(study.ask(space).params)


def _internal(distribution: optuna.distributions.BaseDistribution, value: Value | None) -> float:
    try:
        return float(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return float("nan")  # no value of this distribution


def _distribution(c: Constant) -> optuna.distributions.BaseDistribution | None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if c.choices:
        return CategoricalDistribution(list(c.choices))
    if c.low >= c.high:
        return None
    if isinstance(c.value, int):
        return IntDistribution(int(c.low), int(c.high), log=c.log)
    return FloatDistribution(c.low, c.high, log=c.log)
