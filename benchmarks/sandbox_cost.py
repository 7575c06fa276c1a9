"""What confinement costs: milliseconds a stage for each back end, and throughput inside.

The reference is the same stage without a sandbox, in the same run, interleaved; beside it a bare
process start. Throughput, inside against outside, the best of three: matrix products and file reads
a second, and the steps that nanogpt trains for in 15 seconds of processor time, start-up included.

    python benchmarks/sandbox_cost.py [--rounds 40]
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.experiment import Purpose
from overnight.measure.job import Job
from overnight.measure.measurement import measure
from overnight.measure.reach import PRIVATE
from overnight.measure.setup import run_setup
from overnight.repo.workspace import Workspace
from overnight.sandbox.base import Confinement, Policy, Sandbox
from overnight.sandbox.named import NONE, all_sandboxes
from overnight.sandbox.runtime import runtime_paths
from overnight.stage.stage import StageSpec, run_stage
from overnight.templates.make import make_demo

ENV = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WORK = """
import os, sys, time
import numpy
a = numpy.random.default_rng(0).random((256, 256))
def rate(act, seconds=1.5):
    begun, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < seconds:
        act(); count += 1
    return count / spent
def read():
    with open(sys.executable, "rb") as file: file.read(65536)
print("products:", rate(lambda: a @ a)); print("reads:", rate(read))
"""


def spec(place: Path, command: str, sandbox: Sandbox | None) -> StageSpec:
    """The stage in this sandbox, or in none."""
    policy = Policy(
        cwd=place / "tree",
        own=[place / "tree"],
        temporary=place / "tmp",
        home=place / "home",
        readable=runtime_paths(ENV, network=False, gpus=False),
        writable=[place / "out"],
    )
    box = Confinement(sandbox, policy) if sandbox else None
    log = place / "log"
    return StageSpec(command, place / "tree", ENV, log, log, 60.0, confinement=box)


def milliseconds(stage: StageSpec) -> float:
    """Wall time of the whole stage, its end included."""
    time.sleep(0.05)  # the next supervisor is started beside a stage, and is ready after a real one
    begun = time.perf_counter()
    result = run_stage(stage, threading.Event())
    assert result.exit_code == 0, stage.stdout.read_text()
    return (time.perf_counter() - begun) * 1e3


def rates(stage: StageSpec) -> dict[str, float]:
    """What WORK printed."""
    milliseconds(stage)
    lines = [line.split(": ") for line in stage.stdout.read_text().splitlines()]
    return {name: float(value) for name, value in lines}


def steps(folder: Path, sandbox: str, seed: int) -> float:
    """How long the nanogpt arena in `folder` trains within its budget."""
    arena = Arena.load(folder)
    workspace = Workspace.open(folder, arena.state)
    base, never = workspace.head(), threading.Event()
    job = Job(seed, "bench", 0, base, base, seed, Purpose.JUDGE, sandbox, gpus=0)
    run_setup(arena, workspace, job, never)
    measurement = measure(arena, workspace, job, never)
    assert measurement is not None and measurement.score is not None, measurement
    return measurement.reported["steps"]


def training(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Steps in each sandbox, as a part of those without one."""
    make_demo(folder)
    found: dict[str, list[float]] = {}
    for seed in range(3):
        for name in (NONE, *names):
            found.setdefault(name, []).append(steps(folder, name, seed))
    return {name: max(found[name]) / max(found[NONE]) for name in names}


def bare() -> float:
    """A process start without overnight."""
    begun = time.perf_counter()
    subprocess.run(["/bin/true"], check=True)
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    boxes: list[Sandbox | None] = [None, *(b for b in all_sandboxes() if b.problem() is None)]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        place = Path(folder)
        for name in ("tree", *PRIVATE):
            (place / name).mkdir()
        starts: dict[str, list[float]] = {}
        for _ in range(rounds):
            starts.setdefault("bare process", []).append(bare())
            for box in boxes:
                stage = spec(place, "true", box)
                starts.setdefault(box.name if box else "no sandbox", []).append(milliseconds(stage))
        medians = {name: statistics.median(times) for name, times in starts.items()}
        work = f"{shlex.quote(sys.executable)} -c {shlex.quote(WORK)}"
        outside: dict[str, list[float]] = {}
        inside: dict[str, dict[str, list[float]]] = {}
        for _ in range(3):
            for box in boxes:
                for kind, rate in rates(spec(place, work, box)).items():
                    kinds = inside.setdefault(box.name, {}) if box else outside
                    kinds.setdefault(kind, []).append(rate)
        trained = training(place / "nanogpt", list(inside))
        print(f"{'':14}{'ms a stage':>12}{'added':>8}{'products':>10}{'reads':>8}{'training':>10}")
        print(f"{'bare process':14}{medians['bare process']:12.1f}")
        whole = f"{'100 %':>10}{'100 %':>8}{'100 %':>10}"
        print(f"{'no sandbox':14}{medians['no sandbox']:12.1f}{'':8}{whole}")
        for name, kinds in inside.items():
            shares = [max(kinds[kind]) / max(outside[kind]) for kind in ("products", "reads")]
            added = medians[name] - medians["no sandbox"]
            row = f"{name:14}{medians[name]:12.1f}{added:8.1f}{shares[0]:10.1%}{shares[1]:8.1%}"
            print(f"{row}{trained[name]:10.1%}")


if __name__ == "__main__":
    main()
