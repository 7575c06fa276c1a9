"""What every executor owes."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.arena.settings import Setup
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.executors.base import Executor
from overnight.judge.prune import Known, Pruning
from overnight.measure.job import Job, places
from overnight.measure.setup import needs_setup
from overnight.repo.workspace import Workspace
from stages import alive, eventually
from toy import ARENA, make_toy

ENDLESS = 100
"""From this seed on a run ends only when it is ended, and so do the processes it starts."""
MARK = f"3600.{random.randrange(10**9)}"
RUN = f"""echo "began: $OVERNIGHT_STARTED"
if [ "$OVERNIGHT_SEED" -ge {ENDLESS} ]; then (setsid sleep {MARK} &); sleep {MARK}; fi
sleep 0.3
cp value.py "$OVERNIGHT_OUT/value"
"""
CHECKED = ARENA + '\n[checks]\nten = "grep -q X=10 value.py"\n'


class ExecutorContract:
    """Subclass it and say how an executor is made."""

    arena: Arena
    workspace: Workspace
    executor: Executor

    def make(self, arena: Arena, workspace: Workspace, slots: int) -> Executor:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _executor(self, hostile_folder: Path) -> Iterator[None]:
        """Two slots; after each test nothing is left but logs."""
        self.arena = Arena.load(make_toy(hostile_folder / "arena", CHECKED, run=RUN))
        self.workspace = Workspace.open(self.arena.root, self.arena.state)
        self.executor = self.make(self.arena, self.workspace, 2)
        yield
        self.executor.close()
        assert alive(MARK) == [] and list(places(self.arena, "t").iterdir()) == []

    def changed(self, **fields: object) -> Executor:
        """Another executor, for an arena that differs in these fields."""
        self.executor.close()
        self.arena = self.arena.model_copy(update=fields)
        self.executor = self.make(self.arena, self.workspace, 2)
        return self.executor

    def job(self, seed: int = 0, purpose: Purpose = Purpose.JUDGE, gpus: int = 0) -> Job:
        """A job as it arrives from another process."""
        base, pruning = self.workspace.head(), Pruning(self.arena.metric, [Known([(0.5, 1)], 1)])
        job = Job(seed + 1, "t", 3, base, base, seed, purpose, None, gpus, pruning)
        sent: Job = pickle.loads(pickle.dumps(job))
        assert sent == job
        return sent

    def done(self, job: Job) -> Measurement | None:
        return self.executor.submit(job).result(60)

    def test_a_measurement_has_the_referees_score_and_the_meters(self) -> None:
        measurement = self.done(self.job(seed=5))
        assert measurement is not None and measurement.outcome is Outcome.FINISHED
        assert (measurement.score, measurement.seed) == (7.0, 5)
        assert "began" in measurement.reported and measurement.numbers["x"] == 10.0
        assert {"wall_seconds", "cpu_seconds", "peak_memory_mb"} < set(measurement.numbers)
        assert {"prepare", "run", "score"} == set(measurement.stage_seconds)
        assert measurement.log == "logs/t/3/run-3-5"
        assert {"run.log", "score.out"} < {f.name for f in self.job(5).logs(self.arena).iterdir()}

    def test_as_many_jobs_as_slots_run_side_by_side(self) -> None:
        assert self.executor.slots == 2
        futures = [self.executor.submit(self.job(n)) for n in range(4)]
        found = [future.result(60) for future in futures]
        assert [m.seed for m in found if m and m.score == 7.0] == [0, 1, 2, 3]
        begun = [(m.reported["began"], m.stage_seconds["run"]) for m in found if m]
        beside = [sum(a <= at < a + seconds for a, seconds in begun) for at, _ in begun]
        assert max(beside) == 2

    def test_cancel_ends_one_job_whole_and_no_other(self) -> None:
        endless, other = self.job(ENDLESS), self.job(1)
        future = self.executor.submit(endless)
        assert eventually(lambda: len(alive(MARK)) > 1, 30)
        finished = self.executor.submit(other)
        began = time.monotonic()
        self.executor.cancel(endless.id)
        assert future.result(60) is None and time.monotonic() - began < 30
        assert alive(MARK) == [] and not endless.place(self.arena).exists()
        measurement = finished.result(60)
        assert measurement is not None and measurement.score == 7.0
        self.executor.cancel(endless.id)  # and once more, which does nothing

    def test_close_ends_what_runs_and_what_waits(self) -> None:
        futures = [self.executor.submit(self.job(ENDLESS + n)) for n in range(3)]
        assert eventually(lambda: len(alive(MARK)) > 2, 30)
        self.executor.close()
        assert all(future.done() and future.result() is None for future in futures)

    def test_checks_say_what_is_wrong_or_nothing(self) -> None:
        passed = self.done(self.job(purpose=Purpose.CHECK))
        assert passed is not None and passed.outcome is Outcome.FINISHED
        assert (passed.score, passed.log) == (None, "logs/t/3/checks-3-0")
        self.changed(checks={"ten": "true", "never": "echo no; exit 3"})
        failed = self.done(self.job(purpose=Purpose.CHECK))
        assert failed is not None and failed.outcome is Outcome.REFUSED and failed.score is None
        assert failed.detail == "check never failed: exit code 3\nno"

    def test_the_setup_runs_once_and_can_be_cancelled(self) -> None:
        executor, job = self.changed(setup=Setup(command=f"sleep {MARK}")), self.job()
        future = executor.prepare(job)
        assert eventually(lambda: alive(MARK), 30)
        executor.cancel(job.id)
        assert future.result(60) is None
        assert needs_setup(self.arena, self.workspace, job.base), "what was cancelled is not done"
        with pytest.raises(MeasurementImpossible, match="no network"):
            self.changed(setup=Setup(command="echo no network; exit 7")).prepare(job).result(60)
        self.changed(setup=Setup(command="true")).prepare(job).result(60)
        assert not needs_setup(self.arena, self.workspace, job.base)

    def test_more_cards_than_the_machine_has_are_the_machines_fault(self) -> None:
        with pytest.raises(MeasurementImpossible, match=r"64, but this machine has"):
            self.done(self.job(gpus=64))
