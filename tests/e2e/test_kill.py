"""`kill -9` at any instant, then the same command: as if nothing had happened."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.record.ledger import Ledger
from toy import ARENA, git, make_toy

PATCHES = {"threshold": 24, "confirm": 60}
RUN = """newest=$(ls n/* 2>/dev/null | tail -n 1)
newest=${newest:-value.py}
case "$(cat "$newest")" in *[27]) echo boom; exit 3;; esac
(setsid sleep 300 &)
cp "$newest" "$OVERNIGHT_OUT/value"
"""
JUDGES = {
    "threshold": '\n[judge]\nrule = "threshold"\ngain = 0.5\nrepeats = 2\n',
    "confirm": "",
}
NOISY = """import json, os, pathlib, random
text = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text()
noise = random.Random(f"{os.environ['OVERNIGHT_SEED']} {text}").gauss(0, 2)
print(json.dumps({"loss": abs(float(text.split("=")[1]) - 3) + noise}))
"""


def arena_with_patches(folder: Path, rule: str) -> Path:
    """Every patch adds a file, so that it applies to any incumbent; the newest file counts."""
    arena = ARENA.replace('["value.py"]', '["value.py", "n/*"]') + JUDGES[rule]
    toy = make_toy(folder / "arena", arena, run=RUN)
    if rule == "confirm":
        (toy / "score.py").write_text(NOISY)
        git(toy, "commit", "--quiet", "--all", "--message", "noise")
    (folder / "patches").mkdir()
    for n in range(PATCHES[rule]):
        value = 200 - 3 * n if n % 3 else 500 - n
        text = f"diff --git a/n/{n:02d} b/n/{n:02d}\nnew file mode 100644\n--- /dev/null\n"
        text += f"+++ b/n/{n:02d}\n@@ -0,0 +1 @@\n+X={value}\n"
        (folder / "patches" / f"{n:02d}.patch").write_text(f"Subject: X={value}\n\n{text}")
    return toy


def command(toy: Path) -> list[str]:
    agent = f"patches:{toy.parent / 'patches'}"
    return [
        sys.executable,
        "-m",
        "overnight",
        "run",
        "-C",
        str(toy),
        "--tag",
        "k",
        "--agent",
        agent,
    ]


def state(toy: Path) -> dict[str, object]:
    """All that must be equal, whatever happened on the way: no times, no commit ids."""
    arena = Arena.load(toy)
    ledger = Ledger.at(arena.state / "ledger.db", arena.name)
    experiments = ledger.experiments("k")
    ledger.close()
    with (toy / ".overnight" / "results.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    same = ("loss", "status", "description", "n", "gain", "agent", "measurements", "hypothesis")
    refs = git(toy, "for-each-ref", "--format=%(refname) %(tree)", "refs/overnight").splitlines()
    return {
        "experiments": [
            (
                e.n,
                e.verdict,
                e.score,
                e.gain,
                e.description,
                [(m.seed, m.score) for m in e.measurements],
            )
            for e in experiments
        ],
        "refs": refs,
        "branch": git(toy, "log", "--format=%s %T", "overnight/k").splitlines(),
        "parents": [git(toy, "rev-parse", f"{e.parent}^{{tree}}") for e in experiments if e.parent],
        "results": [{key: row[key] for key in same} for row in rows],
        "worktrees": sorted(p.name for p in (toy / ".overnight" / "worktrees" / "k").glob("*")),
    }


def strays(toy: Path) -> list[str]:
    """Processes of this arena's stages that are alive."""
    mark = f"OVERNIGHT_STAGE={toy}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue  # it ended while we looked
    return found


@pytest.mark.parametrize(("rule", "most"), [("threshold", 6), ("confirm", 20)])
def test_kill_9_at_random_instants_changes_nothing(tmp_path: Path, rule: str, most: int) -> None:
    calm = arena_with_patches(tmp_path / "calm", rule)
    begun = time.monotonic()
    subprocess.run(command(calm), check=True, capture_output=True, timeout=300)
    longest = (time.monotonic() - begun) / most  # so that half of the campaign is left at the end
    harassed = arena_with_patches(tmp_path / "harassed", rule)
    seed = int(os.environ.get("OVERNIGHT_TEST_SEED", "7"))
    instants, kills, finished = random.Random(seed), 0, False
    while kills < most:
        driver = subprocess.Popen(
            command(harassed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_for_start(driver, harassed)
        time.sleep(instants.uniform(0.0, longest))
        if driver.poll() is None:
            driver.kill()
            kills += 1
        else:
            assert driver.returncode == 0, driver.stderr and driver.stderr.read()
            finished = True
        driver.wait()
    assert not finished, "the campaign was over before the last kill; make it longer"
    subprocess.run(command(harassed), check=True, capture_output=True, timeout=300)
    assert state(harassed) == state(calm)
    assert not strays(harassed) and not strays(calm)
    assert git(harassed, "fsck", "--strict", "--no-dangling") == ""


def wait_for_start(driver: subprocess.Popen[str], toy: Path) -> None:
    """Until the driver holds its lock: before that there is nothing to disturb."""
    lock = toy / ".overnight" / "locks" / "k"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and driver.poll() is None:
        if lock.exists() and lock.read_text() == str(driver.pid):
            return
        time.sleep(0.005)
