"""The referee: how long the candidate needs for logs that it has never seen, next to the start.

Both versions read the same logs, in turn and several times, each time in a new process and a new
sandbox: nothing is remembered from one reading to the next, and while one is timed nothing of the
other is alive. The clock is this process's: from the first byte of the log to the last byte of the
answer. Every answer is compared with reference.py. What a reading costs is the least that it took,
for a busy machine only ever adds; the score is the candidate's sum over the logs / the start's.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import numpy as np
from logs import make_log
from reference import as_text, difference, table

from overnight.referee import Candidate, Invalid, report

EDGES = [b"", b"\n", b"\n\nno log at all"]
LOGS = 4
LINES = 6_000
READINGS = 4  # of each log by each version
WARM_LINES = 300
SLOWEST_SECONDS = 30.0
LARGEST_ANSWER = 10_000_000  # bytes


class Log:
    """A log and what is right for it."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.right = as_text(table(text))

    @classmethod
    def fresh(cls, lines: int) -> Log:
        """One that nobody has seen."""
        return cls(make_log(secrets.randbits(64), lines))

    def check(self, answer: bytes) -> None:
        """Raises Invalid unless the answer is right to the last digit."""
        if wrong := difference(answer, self.right):
            raise Invalid(f"the answer for a log of {len(self.text)} bytes is wrong: {wrong}")


def timed(candidate: Candidate, log: Log) -> float:
    """Seconds for a log, its answer looked at afterwards."""
    text = np.frombuffer(log.text, np.uint8)
    start = time.perf_counter()
    answer = candidate.ask(log=text).arrays.get("table")
    seconds = time.perf_counter() - start
    if answer is None or answer.dtype != np.uint8 or answer.nbytes > LARGEST_ANSWER:
        raise Invalid("the candidate's process sent something that is no table")
    log.check(answer.tobytes())
    return seconds


def reading(source: str, log: Log) -> tuple[float, float]:
    """Seconds, and megabytes at the most, of one version for one log."""
    with Candidate("python serve.py", timeout=SLOWEST_SECONDS) as candidate:
        candidate.ask({"source": source})
        timed(candidate, Log.fresh(WARM_LINES))
        seconds = timed(candidate, log)
        return seconds, candidate.close().peak_memory_bytes / 2**20


def score() -> dict[str, float]:
    """What this referee reports."""
    start = Path("aggregate.py").read_text()  # beside this file lies the version of the start
    total = {start: 0.0, "": 0.0}
    memory = 0.0
    for text in EDGES:
        reading("", Log(text))
    for log in [Log.fresh(LINES) for _ in range(LOGS)]:
        least = dict.fromkeys(total, SLOWEST_SECONDS)
        for _ in range(READINGS):
            for source in sorted(total, key=lambda _: secrets.randbits(16)):
                seconds, used = reading(source, log)
                least[source] = min(least[source], seconds)
                memory = memory if source else max(memory, used)
        total = {source: total[source] + least[source] for source in total}
    return {
        "relative_time": round(total[""] / total[start], 4),
        "seconds": round(total[""], 4),
        "start_seconds": round(total[start], 4),
        "candidate_peak_memory_mb": round(memory, 1),
    }


if __name__ == "__main__":
    report(score)
