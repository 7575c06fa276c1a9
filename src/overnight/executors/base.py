"""The whole interface of an executor: like concurrent.futures, for measurements."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from overnight.core.experiment import Measurement
from overnight.measure.stages import Task


class Executor(Protocol):
    """Where measurements happen."""

    slots: int
    """How many measurements may be under way at once."""

    def prepare(self, task: Task) -> Future[None]:
        """Start the arena's setup wherever measurements will happen and it was not run before.

        The future raises MeasurementImpossible when it fails.
        """
        ...

    def measure(self, task: Task) -> Future[Measurement | None]:
        """Start a measurement; its result is None when `task.stopping` ended it."""
        ...

    def check(self, task: Task) -> Future[str | None]:
        """Start the arena's checks; the result is what is wrong, or None."""
        ...

    def close(self) -> None:
        """Wait for what is under way and free everything."""
        ...
