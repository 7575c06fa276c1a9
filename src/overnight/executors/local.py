"""Measurements on this machine, one thread a slot."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from overnight.arena.arena import Arena
from overnight.core.experiment import Measurement
from overnight.measure.measurement import failed_check, measure
from overnight.measure.setup import run_setup
from overnight.measure.stages import Task
from overnight.repo.workspace import Workspace


class LocalExecutor:
    """Runs up to `slots` measurements side by side as processes of this machine."""

    def __init__(self, arena: Arena, workspace: Workspace, slots: int = 1) -> None:
        self.slots = slots
        self._arena = arena
        self._workspace = workspace
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="measure")

    def prepare(self, task: Task) -> Future[None]:
        return self._threads.submit(run_setup, self._arena, self._workspace, task)

    def measure(self, task: Task) -> Future[Measurement | None]:
        return self._threads.submit(measure, self._arena, self._workspace, task)

    def check(self, task: Task) -> Future[str | None]:
        return self._threads.submit(failed_check, self._arena, self._workspace, task)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
