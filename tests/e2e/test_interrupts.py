"""Ctrl-C, SIGTERM, a closed terminal at any instant: a sentence and exit code 130, no traceback."""

from __future__ import annotations

import glob
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stages import eventually
from toy import ARENA, make_toy

TERM = 1 << (signal.SIGTERM - 1)


def started(folder: Path, *words: str, ignored: bool = False) -> subprocess.Popen[str]:
    """The command, as soon as it listens: until then it is Python that starts."""
    shell = "trap '' INT; " * ignored + f"exec overnight {' '.join(words)}"
    process = subprocess.Popen(
        ["sh", "-c", shell],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The tests themselves may have been started by nohup.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    status = Path(f"/proc/{process.pid}/status")
    while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) & TERM:
        time.sleep(0.002)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.5, 2.0])
def test_whenever_it_comes_a_command_says_that_it_was_interrupted(
    toy: Path, number: int, after: float
) -> None:
    """While modules load, while options are read, while attacks run."""
    process = started(toy, "doctor")
    time.sleep(after)
    process.send_signal(number)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and not said
    assert errors.splitlines()[-1] == "overnight: interrupted; run the same command again"
    assert "Traceback" not in errors


@pytest.mark.parametrize("apart", [0.0, 0.01, 0.7])
def test_two_signals_are_one_interrupt(tmp_path: Path, apart: float) -> None:
    """As `timeout` and supervisors send them, or an impatient user."""
    toy = make_toy(tmp_path / "arena", run="sleep 20\n")
    process = started(toy, "run", "--agent", "tuner")
    assert eventually(lambda: bool(glob.glob(f"{toy}/.overnight/worktrees/*/run-*")), 60)
    process.send_signal(signal.SIGINT)
    time.sleep(apart)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors, errors


def test_when_all_is_said_an_interrupt_changes_nothing_or_is_told(tmp_path: Path) -> None:
    codes = set()
    for _ in range(4):
        process = started(tmp_path, "--version")
        assert process.stdout and process.stdout.readline().startswith("overnight")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert ("interrupted" in errors) is (process.returncode == 130), errors
        assert "Traceback" not in errors
        codes.add(process.returncode)
    assert codes <= {0, 130}


def test_what_was_started_to_ignore_ctrl_c_goes_on(tmp_path: Path) -> None:
    """As a script's commands behind `&` are, when their neighbour is interrupted."""
    toy = make_toy(tmp_path / "arena", ARENA)
    process = started(toy, "run", "--experiments", "1", "--agent", "'command:true'", ignored=True)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "#1" in said
