"""What confinement costs: milliseconds a stage for each back end, and throughput inside.

The reference is the same stage without a sandbox, in the same run, interleaved; beside it a bare
process start. Throughput: matrix products and file reads a second, inside against outside.

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
from pathlib import Path

from overnight.policies import PRIVATE
from overnight.sandbox import Confinement, Policy, Sandbox
from overnight.sandboxes.named import all_sandboxes
from overnight.sandboxes.runtime import runtime_paths
from overnight.stage import StageSpec, run_stage

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
        print(f"{'':14}{'ms a stage':>12}{'added':>8}{'products':>10}{'reads':>8}")
        print(f"{'bare process':14}{medians['bare process']:12.1f}")
        work = f"{shlex.quote(sys.executable)} -c {shlex.quote(WORK)}"
        outside: dict[str, list[float]] = {}
        inside: dict[str, dict[str, list[float]]] = {}
        for _ in range(3):
            for box in boxes:
                for kind, rate in rates(spec(place, work, box)).items():
                    kinds = inside.setdefault(box.name, {}) if box else outside
                    kinds.setdefault(kind, []).append(rate)
        print(f"{'no sandbox':14}{medians['no sandbox']:12.1f}{'':8}{'100 %':>10}{'100 %':>8}")
        for name, kinds in inside.items():
            shares = [max(kinds[kind]) / max(outside[kind]) for kind in ("products", "reads")]
            added = medians[name] - medians["no sandbox"]
            print(f"{name:14}{medians[name]:12.1f}{added:8.1f}{shares[0]:10.1%}{shares[1]:8.1%}")


if __name__ == "__main__":
    main()
