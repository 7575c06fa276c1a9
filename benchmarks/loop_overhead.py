"""What the loop adds to one experiment, beside a bare `git commit` + `python -c pass`.

The arena's run and score do nothing. What the loop adds is the whole experiment less the two
commands themselves (from fork to exit): checkouts, candidate commit, supervision, ledger, verdict,
results.tsv. Target: at most 50 ms median, 100 ms with 100,000 experiments in the ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from overnight import Campaign, Idea
from overnight.agents.base import Workbench

ARENA = """
name = "empty"
editable = ["value.txt"]
[metric]
name = "loss"
direction = "minimize"
[run]
command = "COMMAND"
budget = "10s"
[score]
command = "echo '{\\"loss\\": 1}'"
"""
BLOCK = 20
GIT = ["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "commit.gpgsign=false"]


@dataclass
class Counter:
    """An agent that writes a number and costs nothing."""

    name: str = "counter"

    def propose(self, bench: Workbench) -> Idea:
        (bench.folder / "value.txt").write_text(f"{bench.n}\n")
        return Idea(f"value {bench.n}")


def make_arena(folder: Path, command: str = "true") -> Path:
    """A committed arena whose run is this command and whose score does nothing."""
    folder.mkdir()
    (folder / "arena.toml").write_text(ARENA.replace("COMMAND", command))
    (folder / "program.md").write_text("Count.\n")
    (folder / "value.txt").write_text("0\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "empty"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    return folder


def timed(act: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    begun = perf_counter()
    act()
    return (perf_counter() - begun) * 1000


def reference(folder: Path, n: int) -> float:
    """A bare `git commit` and a bare Python process, in the same repository's shape."""

    def act() -> None:
        (folder / "value.txt").write_text(f"reference {n}\n")
        subprocess.run([*GIT, "commit", "-q", "-a", "-m", "x"], cwd=folder, check=True)
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    return timed(act)


def fill(ledger: Path, experiments: int) -> None:
    """The ledger as a long campaign would have left it: experiment 1 and its measurement again
    and again, under other numbers."""
    count = f"k(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM k WHERE n < {experiments})"
    with sqlite3.connect(ledger) as connection:
        for table in ("experiments", "proposals", "measurements"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            kept = ", ".join(name for name in columns if name not in ("n", "id"))
            connection.execute(
                f"INSERT INTO {table} (n, {kept}) WITH RECURSIVE {count} "
                f"SELECT k.n, {kept} FROM k, {table} AS one WHERE one.n = 1 ORDER BY k.n"
            )


def added(campaign: Campaign, agent: Counter) -> float:
    """Milliseconds of one experiment less those of its two commands."""
    begun = perf_counter()
    experiment = campaign.try_(agent)
    whole = perf_counter() - begun
    assert experiment is not None
    seconds = experiment.measurements[0].stage_seconds
    return 1000 * (whole - seconds["run"] - seconds["score"])


def measure_loop(
    folder: Path, rounds: int, before: int, sandbox: str | None
) -> tuple[list[float], list[float]]:
    """Milliseconds of each experiment and of each reference, in blocks that take turns: side by
    side each would wait for what the other has left the disk to do."""
    agent = Counter()
    with Campaign.open(folder, "bench", sandbox) as campaign:
        campaign.try_(agent)
    if before:
        fill(folder / ".overnight" / "ledger.db", before)
    other = make_arena(folder.with_name(folder.name + "-reference"))
    loop, bare = [], []
    with Campaign.open(folder, "bench", sandbox) as campaign:
        campaign.try_(agent)
        for block in range(0, rounds, BLOCK):
            bare += [reference(other, n) for n in range(block, block + BLOCK)]
            loop += [added(campaign, agent) for _ in range(BLOCK)]
    return loop, bare


def row(name: str, values: list[float]) -> str:
    """A line of the table: median and 95th percentile in milliseconds."""
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    return f"{name:44} {statistics.median(values):9.1f} {p95:9.1f}"


def beside(revision: str, rounds: int, sandbox: str | None) -> dict[str, list[float]]:
    """The same for the sources of another revision, in blocks that take turns with these."""
    found: dict[str, list[float]] = {"these sources": [], revision: []}
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", str(root), folder], check=True)
        subprocess.run(["git", "checkout", "-q", revision], cwd=folder, check=True)
        for _ in range(rounds // BLOCK):
            for name, sources in (("these sources", root), (revision, Path(folder))):
                command = [sys.executable, __file__, "--rounds", str(BLOCK), "--raw"]
                command += ["--sandbox", sandbox] if sandbox else []
                env = {**os.environ, "PYTHONPATH": str(sources / "src")}
                done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                found[name] += json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--ledger", type=int, default=0, help="experiments already in the ledger")
    parser.add_argument("--sandbox", help="landlock or bubblewrap (default: the strongest here)")
    parser.add_argument("--beside", metavar="REV", help="measure another revision in the same run")
    parser.add_argument("--raw", action="store_true", help="milliseconds as JSON, nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loop, bare = measure_loop(
            make_arena(Path(folder) / "arena"),
            arguments.rounds,
            arguments.ledger,
            arguments.sandbox,
        )
    if arguments.raw:
        print(json.dumps(loop))
        return
    title = f"{arguments.ledger:,} experiments in the ledger"
    print(f"{title:44} {'median ms':>9} {'p95 ms':>9}")
    print(row("what overnight adds to an experiment", loop))
    print(row("git commit + python -c pass", bare))
    print(f"ratio of the medians: {statistics.median(loop) / statistics.median(bare):.2f}")
    if arguments.beside:
        for name, values in beside(arguments.beside, arguments.rounds, arguments.sandbox).items():
            print(row(f"in turns: {name}", values))


if __name__ == "__main__":
    main()
