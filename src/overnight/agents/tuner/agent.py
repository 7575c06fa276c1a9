"""The built-in tuner: searches the constants of the editable Python files, without a model.

A Gaussian process predicts the gain of every change near the incumbent. It learns from all
experiments: failed ones count as losses, runs that were ended early with their predicted gain. Of
many small changes to a few constants, the tuner proposes the one with the largest expected
improvement. After some experiments Optuna's TPE adds changes from the whole range.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from overnight.agents.base import Workbench
from overnight.agents.tuner.constants import (
    Constant,
    NewValues,
    edit,
    find_constants,
    title_of,
)
from overnight.agents.tuner.gaussian_process import GaussianProcess, expected_improvement
from overnight.core.errors import AgentError
from overnight.core.experiment import Experiment, Idea, Value

BEFORE = "before"
"""Key in Idea.parameters: JSON of the values that the changed constants had in the parent."""
_HISTORY = 300
"""Experiments of this campaign, and as many of earlier ones, that the model learns from."""
_EVIDENCE = 8
"""Experiments before TPE is used."""
_DRAWS = 150
_FEWEST, _MOST, _BOLDER = 2, 4, 4
"""Constants changed at once: two at first, one more every four experiments, at most four."""
_SIZES = (0.5, 1.0)
_FINER_AND_WIDER = (2.0, 1.0, 0.5, 0.25, 0.125)
"""Step sizes for when the usual ones give nothing new."""


class Tuner:
    """Proposes new values for module-level constants; the same history gives the same proposal."""

    name = "tuner"
    free = True

    def propose(self, bench: Workbench) -> Idea | None:
        sources = _sources(bench)
        constants = [c for path, text in sources.items() for c in find_constants(path, text)]
        if not constants:
            raise AgentError(
                "no tunable constant in the editable Python files; write one at module level, "
                "such as `LEARNING_RATE = 0.01  # 0.0001..1 log`"
            )
        search = _Search(bench, constants)
        while found := search.next():
            values, hypothesis = found
            for path, text in sources.items():
                with (bench.folder / path).open("w", encoding="utf-8", newline="") as file:
                    file.write(edit(path, text, values))
            if bench.refusal() is None:
                break
            search.skip(values)  # another agent has tried it
        else:
            return None
        incumbent = {c.key: c.value for c in constants}
        before = json.dumps({key: incumbent[key] for key in values})
        parameters = {**incumbent, **values, BEFORE: before}
        return Idea(title_of(constants, values), hypothesis, parameters)


def _sources(bench: Workbench) -> dict[str, str]:
    found = {}
    for path in sorted(bench.arena.editable_files(bench.folder)):
        file = bench.folder / path
        if path.endswith(".py") and file.is_file() and not file.is_symlink():
            found[path] = _read(file)
    return found


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return text.read()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{file.name} cannot be read: {error}") from error


class _Search:
    """The search for one proposal: the constants, and what was tried."""

    def __init__(self, bench: Workbench, constants: Sequence[Constant]) -> None:
        mine = [e for e in bench.history if e.agent == Tuner.name and BEFORE in e.parameters]
        prior = [e for e in bench.prior if e.agent == Tuner.name and BEFORE in e.parameters]
        self.constants = constants
        self.incumbent = {c.key: c.value for c in constants}
        self.tried = len(mine)
        self.most = min(_MOST, _FEWEST + self.tried // _BOLDER)
        self.experiments = prior[-_HISTORY:] + mine[-_HISTORY:]
        self.orient = bench.arena.metric.orient
        self.seen = {self._vector(self.incumbent)}
        for e in mine:
            self.seen |= {self._vector(self._before(e)), self._vector(e.parameters)}
        self.seed = bench.n
        self.random = random.Random(bench.n)
        self.normal = np.random.default_rng(bench.n).standard_normal
        self.model = GaussianProcess(constants, self.experiments, self._before)

    def next(self) -> tuple[NewValues, str] | None:
        """A new change and its hypothesis, or None when nothing new is left."""
        changes = self._near(_SIZES)
        if self.tried >= _EVIDENCE:
            changes += self._new(self._wide())
        changes = changes or self._near(_FINER_AND_WIDER) or self._new(self._wide())
        if not changes:
            return None
        mean, deviation = self.model.predict(self.incumbent, changes)
        best = int(expected_improvement(mean, deviation).argmax())
        if not self.experiments:
            return changes[best], "a small step; no experiments to learn from yet"
        gain, error = mean[best] * self.model.unit, deviation[best] * self.model.unit
        known = f"from {len(self.experiments)} experiments"
        return changes[best], f"expected gain {gain:.2g} ± {error:.2g} ({known})"

    def skip(self, values: NewValues) -> None:
        """Do not propose this again."""
        self.seen.add(self._vector({**self.incumbent, **values}))

    def _near(self, sizes: Sequence[float]) -> list[NewValues]:
        """New changes by steps of these sizes, of one constant or of a few."""
        steps = [
            {c.key: value}
            for size in sizes
            for c in self.constants
            for value in c.steps(size).values()
        ]
        return self._new([*steps, *self._joined(steps)] if steps else [])

    def _joined(self, steps: Sequence[NewValues]) -> Iterator[NewValues]:
        """Steps of a few constants at once, more often those with a better predicted gain."""
        mean, deviation = self.model.predict(self.incumbent, steps)
        for _ in range(_DRAWS):
            order = (mean + deviation * self.normal(len(steps))).argsort()
            most = self.random.randint(1, self.most)
            values: NewValues = {}
            for index in reversed(order):
                if len(values) < most:
                    values = {**steps[index], **values}
            yield values

    def _wide(self) -> Iterator[NewValues]:
        """Suggestions of Optuna, each for a few of the constants."""
        from overnight.agents.tuner.tpe import suggestions  # Optuna takes a second to import

        for suggested in suggestions(self.constants, self._trials(), self.seed):
            keys = [key for key, value in suggested.items() if value != self.incumbent[key]]
            most = min(len(keys), self.random.randint(1, self.most))
            yield {key: suggested[key] for key in self.random.sample(keys, most)}

    def _trials(self) -> list[tuple[Mapping[str, Value], float | None]]:
        """The values that were tried, and their scores. A run that was ended early did not fail: it
        counts as the worst score of the others."""
        scores = [None if e.score is None else self.orient(e.score) for e in self.experiments]
        worst = min((score for score in scores if score is not None), default=None)
        return [
            (e.parameters, score if e.foreseen is None else worst)
            for e, score in zip(self.experiments, scores, strict=True)
        ]

    def _new(self, changes: Iterable[NewValues]) -> list[NewValues]:
        return [c for c in changes if self._vector({**self.incumbent, **c}) not in self.seen]

    def _before(self, e: Experiment) -> dict[str, Value]:
        return {**e.parameters, **json.loads(str(e.parameters[BEFORE]))}

    def _vector(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(values.get(c.key, c.value) for c in self.constants)
