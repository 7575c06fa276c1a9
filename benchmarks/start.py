"""How long commands take to start, beside an import of SQLAlchemy and `git log` in the same run.

Targets: `log`, `status` and `show` print within twice the reference; the first measurement of `run`
begins within three times that; `--help` takes at most 0.3 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loop_overhead import make_arena

OVERNIGHT = [sys.executable, "-m", "overnight"]
RUN = [*OVERNIGHT, "run", "--agent", "command:date > value.txt", "--experiments", "1"]


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a command."""
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def first_measurement(top: Path, number: int) -> float:
    """Seconds from the start of `overnight run` to that of its first measurement."""
    folder = top / f"arena-{number}"
    make_arena(folder, "date +%s.%N")  # it prints the time at which it began
    begun = time.time()
    subprocess.run(RUN, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (log,) = folder.glob(".overnight/logs/*/0/run-0-0/run.log")
    return float(log.read_text().split()[0]) - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="the median of so many")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        begins = [first_measurement(top, number) for number in range(times)]
        folder = top / "arena-0"
        reference = [
            seconds([sys.executable, "-c", "import sqlalchemy"], folder)
            + seconds(["git", "log", "-1"], folder)
            for _ in range(times)
        ]
        base = statistics.median(reference)
        rows = {"import sqlalchemy + git log": base}
        for words in ("log", "status", "show 1", "--help"):
            command = [*OVERNIGHT, *words.split()]
            rows[f"overnight {words}"] = statistics.median(
                seconds(command, folder) for _ in range(times)
            )
        rows["overnight run, until its first measurement"] = statistics.median(begins)
    print(f"{'':44} {'seconds':>8} {'ratio':>6}")
    for what, took in rows.items():
        print(f"{what:44} {took:8.2f} {took / base:6.2f}")


if __name__ == "__main__":
    main()
