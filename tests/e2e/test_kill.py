"""`kill -9` at any instant, then the same command: as if nothing had happened."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from resumed import arena_with_patches, command, state, strays
from toy import git


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "patches", "most"), [("threshold", 24, 6), ("confirm", 60, 20)])
def test_kill_9_at_random_instants_changes_nothing(
    tmp_path: Path, rule: str, patches: int, most: int
) -> None:
    calm = arena_with_patches(tmp_path / "calm", rule, patches)
    begun = time.monotonic()
    subprocess.run(command(calm), check=True, capture_output=True, timeout=300)
    longest = (time.monotonic() - begun) / most  # so that half of the campaign is left at the end
    harassed = arena_with_patches(tmp_path / "harassed", rule, patches)
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
