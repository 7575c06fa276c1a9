"""Jobs on this machine, one thread a slot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from overnight.arena.arena import Arena
from overnight.core.experiment import Measurement
from overnight.measure.job import Job
from overnight.measure.measurement import measure
from overnight.measure.setup import run_setup
from overnight.repo.workspace import Workspace

T = TypeVar("T")


class LocalExecutor:
    """Runs up to `slots` jobs side by side as processes of this machine."""

    def __init__(self, arena: Arena, workspace: Workspace, slots: int = 1) -> None:
        self.slots = slots
        self._arena = arena
        self._workspace = workspace
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="measure")
        self._stopping: dict[int, threading.Event] = {}
        """Of each job that has not ended, by its id."""

    def prepare(self, job: Job) -> Future[None]:
        return self._submit(job, run_setup)

    def submit(self, job: Job) -> Future[Measurement | None]:
        return self._submit(job, measure)

    def cancel(self, id: int) -> None:
        if stopping := self._stopping.get(id):
            stopping.set()

    def close(self) -> None:
        for id in list(self._stopping):
            self.cancel(id)
        self._threads.shutdown(wait=True)

    def _submit(
        self, job: Job, act: Callable[[Arena, Workspace, Job, threading.Event], T]
    ) -> Future[T]:
        stopping = self._stopping[job.id] = threading.Event()
        future = self._threads.submit(act, self._arena, self._workspace, job, stopping)
        future.add_done_callback(lambda _: self._stopping.pop(job.id))
        return future
