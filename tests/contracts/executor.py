"""What every executor owes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.core.experiment import Outcome
from overnight.executors.base import Executor
from overnight.measure.stages import Task
from overnight.repo.workspace import Workspace
from toy import ARENA, make_toy

RUN = 'echo "seed: $OVERNIGHT_SEED"; sleep ${NAP:-0}; cp value.py "$OVERNIGHT_OUT/value"\n'
CHECKED = ARENA + '\n[checks]\nten = "grep -q X=10 value.py"\n'


class ExecutorContract:
    """Subclass it and say how an executor of `slots` slots is made."""

    run = RUN

    def make(self, arena: Arena, workspace: Workspace, slots: int) -> Executor:
        raise NotImplementedError

    @pytest.fixture
    def folder(self, hostile_folder: Path) -> Path:
        return make_toy(hostile_folder / "arena", CHECKED, run=self.run)

    def task(self, workspace: Workspace, place: Path, seed: int = 0) -> Task:
        logs = place.with_name(place.name + "-logs")
        logs.mkdir(parents=True)
        base = workspace.head()
        return Task(base, base, seed, place, logs, family=str(place))

    @pytest.fixture
    def parts(self, folder: Path) -> tuple[Arena, Workspace, Path]:
        arena = Arena.load(folder)
        return arena, Workspace.open(folder, arena.state), arena.state / "worktrees"

    def test_a_measurement_has_the_referees_score_and_the_meters(
        self, parts: tuple[Arena, Workspace, Path]
    ) -> None:
        arena, workspace, places = parts
        executor = self.make(arena, workspace, 1)
        task = self.task(workspace, places / "a", seed=5)
        measurement = executor.measure(task).result(60)
        executor.close()
        assert measurement is not None and measurement.outcome is Outcome.FINISHED
        assert (measurement.score, measurement.seed) == (7.0, 5)
        assert measurement.reported == {"seed": 5.0} and measurement.numbers["x"] == 10.0
        assert {"wall_seconds", "cpu_seconds", "peak_memory_mb"} < set(measurement.numbers)
        assert {"prepare", "run", "score"} == set(measurement.stage_seconds)
        assert not task.place.exists(), "the scratch folder is gone afterwards"

    def test_as_many_measurements_as_slots_run_side_by_side(
        self, parts: tuple[Arena, Workspace, Path]
    ) -> None:
        arena, workspace, places = parts
        executor = self.make(arena, workspace, 4)
        assert executor.slots == 4
        futures = [executor.measure(self.task(workspace, places / str(n), n)) for n in range(12)]
        found = [future.result(120) for future in futures]
        executor.close()
        assert [m.seed for m in found if m is not None and m.score == 7.0] == list(range(12))

    def test_stopping_ends_a_measurement_without_a_result(
        self, parts: tuple[Arena, Workspace, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arena, workspace, places = parts
        slow = arena.model_copy(update={"run": arena.run.model_copy(update={"env": ("NAP",)})})
        monkeypatch.setenv("NAP", "60")
        executor = self.make(slow, workspace, 1)
        task = self.task(workspace, places / "a")
        future = executor.measure(task)
        threading.Timer(0.5, task.stopping.set).start()
        began = time.monotonic()
        assert future.result(60) is None and time.monotonic() - began < 30
        executor.close()
        assert not task.place.exists()

    def test_checks_say_what_is_wrong_or_nothing(
        self, parts: tuple[Arena, Workspace, Path]
    ) -> None:
        arena, workspace, places = parts
        executor = self.make(arena, workspace, 1)
        assert executor.check(self.task(workspace, places / "a")).result(60) is None
        never = arena.model_copy(update={"checks": {"never": "echo no; exit 3"}})
        wrong = self.make(never, workspace, 1).check(self.task(workspace, places / "b")).result(60)
        assert wrong is not None and "check never failed: exit code 3" in wrong
        executor.close()
