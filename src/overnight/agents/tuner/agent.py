"""The built-in tuner: searches the constants of the editable Python files, without a model.

It keeps a belief about the gain of every change near the incumbent: a Gaussian process in which
each constant adds its own smooth effect, learned from all experiments: failed ones as losses, runs
that were ended early by what they seemed to come to. Of many small changes of a few constants, it
proposes the one whose expected improvement is largest. With evidence, Optuna's TPE adds changes
from the whole range, away from what failed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from overnight.agents.base import Workbench
from overnight.agents.tuner.constants import (
    Change,
    Constant,
    changes_in_words,
    edit,
    find_constants,
)
from overnight.agents.tuner.gaussian_process import Belief, expected_improvement
from overnight.core.errors import AgentError
from overnight.core.experiment import Experiment, Idea, Value

BEFORE = "before"
"""Key in Idea.parameters: JSON of what the changed constants were in the parent."""
_HISTORY = 300
"""Experiments of this campaign, and of earlier ones, that the belief is made from."""
_EVIDENCE = 8
"""Experiments before TPE is asked."""
_DRAWS = 150
_FEWEST, _MOST, _BOLDER = 2, 4, 4
"""Constants at once: two at first, one more with every four experiments, four at most."""
_SIZES = (0.5, 1.0)
_FINER_AND_WIDER = (2.0, 1.0, 0.5, 0.25, 0.125)
"""Step sizes for when the usual ones lead nowhere new."""


class Tuner:
    """Proposes new values for module-level constants. The same history gets the same proposal."""

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
            change, hypothesis = found
            for path, text in sources.items():
                with (bench.folder / path).open("w", encoding="utf-8", newline="") as file:
                    file.write(edit(path, text, change))
            if bench.refusal() is None:
                break
            search.skip(change)  # another agent has tried it
        else:
            return None
        incumbent = {c.key: c.value for c in constants}
        before = json.dumps({key: incumbent[key] for key in change})
        parameters = {**incumbent, **change, BEFORE: before}
        return Idea(changes_in_words(constants, change), hypothesis, parameters)


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


class _Search:
    """One proposal's look at the constants and at what has been tried."""

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
        self.belief = Belief(constants, self.experiments, self._before)

    def next(self) -> tuple[Change, str] | None:
        """A new change and why, or None when nothing new is left."""
        changes = self._near(_SIZES)
        if self.tried >= _EVIDENCE:
            changes += self._new(self._wide())
        changes = changes or self._near(_FINER_AND_WIDER) or self._new(self._wide())
        if not changes:
            return None
        mean, deviation = self.belief.of_changes(self.incumbent, changes)
        best = int(expected_improvement(mean, deviation).argmax())
        if not self.experiments:
            return changes[best], "a small step; nothing is known yet"
        gain, error = mean[best] * self.belief.unit, deviation[best] * self.belief.unit
        known = f"experiments known: {len(self.experiments)}"
        return changes[best], f"expected gain {gain:.2g} ± {error:.2g} ({known})"

    def skip(self, change: Change) -> None:
        """Never find this one again."""
        self.seen.add(self._vector({**self.incumbent, **change}))

    def _near(self, sizes: Sequence[float]) -> list[Change]:
        """New changes by steps of these sizes, of one constant or of a few at once."""
        steps = [
            {c.key: value}
            for size in sizes
            for c in self.constants
            for value in c.steps(size).values()
        ]
        return self._new([*steps, *self._joined(steps)] if steps else [])

    def _joined(self, steps: Sequence[Change]) -> Iterator[Change]:
        """Steps of a few constants at once, those that look good more often."""
        mean, deviation = self.belief.of_changes(self.incumbent, steps)
        for _ in range(_DRAWS):
            order = (mean + deviation * self.normal(len(steps))).argsort()
            most = self.random.randint(1, self.most)
            change: Change = {}
            for place in reversed(order):
                if len(change) < most:
                    change = {**steps[place], **change}
            yield change

    def _wide(self) -> Iterator[Change]:
        """Optuna's suggestions for a few of the constants each."""
        from overnight.agents.tuner.tpe import (
            suggestions,  # Optuna takes most of a second to import
        )

        for suggested in suggestions(self.constants, self._trials(), self.seed):
            keys = [key for key, value in suggested.items() if value != self.incumbent[key]]
            most = min(len(keys), self.random.randint(1, self.most))
            yield {key: suggested[key] for key in self.random.sample(keys, most)}

    def _trials(self) -> list[tuple[Mapping[str, Value], float | None]]:
        """What was tried, and its score. A run that was ended early did not fail: it counts as the
        worst that went to its end."""
        scores = [None if e.score is None else self.orient(e.score) for e in self.experiments]
        worst = min((score for score in scores if score is not None), default=None)
        return [
            (e.parameters, score if e.foreseen is None else worst)
            for e, score in zip(self.experiments, scores, strict=True)
        ]

    def _new(self, changes: Iterator[Change] | Sequence[Change]) -> list[Change]:
        return [c for c in changes if self._vector({**self.incumbent, **c}) not in self.seen]

    def _before(self, e: Experiment) -> dict[str, Value]:
        return {**e.parameters, **json.loads(str(e.parameters[BEFORE]))}

    def _vector(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(values.get(c.key, c.value) for c in self.constants)
