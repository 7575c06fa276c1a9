"""The whole interface of an executor: like concurrent.futures, for jobs."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from overnight.core.experiment import Measurement
from overnight.measure.job import Job


class Executor(Protocol):
    """Runs jobs, each in a slot of its own."""

    slots: int
    """Most jobs that run at once; more of them wait for a slot."""

    def prepare(self, job: Job) -> Future[None]:
        """Start the arena's setup of the job's base commit on every machine that has not run it.

        The future raises MeasurementImpossible when it fails.
        """
        ...

    def submit(self, job: Job) -> Future[Measurement | None]:
        """Start a job. The future's result is None when the job was cancelled; it raises
        MeasurementImpossible when the machine, not the candidate, is at fault."""
        ...

    def cancel(self, id: int) -> None:
        """End the job with this id, or its setup, and every process it started. Its future is done
        soon after. Does nothing when there is no such job."""
        ...

    def close(self) -> None:
        """Cancel every job and wait until all of them have ended."""
        ...
