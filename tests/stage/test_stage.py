"""Stages: how they end, and what the command finds."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from overnight.core.errors import MeasurementImpossible
from overnight.stage.stage import StageEnd, StageResult, run_stage
from stages import Stages, linux

# How a stage ends.


def test_a_command_that_ends_by_itself_has_exited_and_its_output_is_logged(stages: Stages) -> None:
    result = stages.run("echo out; echo err >&2; pwd")
    assert (result.end, result.exit_code, result.log_error) == (StageEnd.EXITED, 0, "")
    assert stages.text() == f"out\nerr\n{stages.folder}\n"
    assert 0 < result.wall_seconds < 5


def test_the_exit_code_says_how_the_command_ended(stages: Stages) -> None:
    assert stages.run("exit 3").exit_code == 3
    crashed = stages.run("kill -SEGV $$")
    assert (crashed.end, crashed.exit_code) == (StageEnd.EXITED, -signal.SIGSEGV)
    killed = stages.run("kill -9 $$")
    assert (killed.exit_code, killed.oom_killed) == (-signal.SIGKILL, False)


def test_two_paths_make_two_logs(stages: Stages) -> None:
    stages.run("echo out; echo err >&2", stderr=stages.folder / "err.log")
    assert stages.text() == "out\n"
    assert (stages.folder / "err.log").read_text() == "err\n"


@pytest.mark.parametrize(
    ("command", "folder", "found", "step"),
    [
        ("true", "gone", "No such file or directory.*gone", "Restore this folder"),
        ("true " + "x" * 200_000, "", "Argument list too long", "put what is longer into a file"),
        ("true\0", "", "embedded null byte", "Remove the null byte"),
    ],
    ids=["folder", "length", "null byte"],
)
def test_a_command_that_cannot_be_started_is_an_error_that_says_why_and_what_to_do(
    stages: Stages, command: str, folder: str, found: str, step: str
) -> None:
    words = rf"'true.*could not be started in {stages.folder / folder}: .*{found}.*\. .*{step}"
    with pytest.raises(MeasurementImpossible, match=words) as raised:
        stages.run(command, cwd=stages.folder / folder)
    assert len(str(raised.value)) < 1000


def test_deadline_ends_an_infinite_loop(stages: Stages) -> None:
    result = stages.run(stages.script("while True: pass"), 0.4, grace_seconds=0.2)
    assert result.end is StageEnd.DEADLINE
    assert result.exit_code == -signal.SIGTERM
    assert 0.4 <= result.wall_seconds < 5


def test_at_the_deadline_the_polite_signal_comes_first_and_a_clean_exit_is_still_a_deadline(
    stages: Stages,
) -> None:
    code = """
import signal, sys, time
def bye(*_):
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
time.sleep(60)
"""
    # The shell dies of the polite signal at once; the program below it has its grace all the same.
    result = stages.run(stages.script(code) + "; true", 0.5, grace_seconds=10)
    assert result.end is StageEnd.DEADLINE
    assert stages.text() == "saved\n"
    assert result.wall_seconds < 9


def test_ignoring_the_polite_signal_does_not_help(stages: Stages) -> None:
    code = """
import signal, time
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)
"""
    result = stages.run("exec " + stages.script(code), 0.3, grace_seconds=0.2)
    assert (result.end, result.exit_code) == (StageEnd.DEADLINE, -signal.SIGKILL)


def test_the_campaign_can_stop_a_stage(stages: Stages) -> None:
    result = run_stage(stages.spec("sleep 60"), stages.stopping, lambda _: stages.stopping.set())
    assert result.end is StageEnd.STOPPED
    assert result.wall_seconds < 10


def test_started_is_told_the_time_that_the_command_is_told(stages: Stages) -> None:
    times: list[float] = []
    spec = stages.spec('printf %s "$OVERNIGHT_STARTED"')
    before = time.monotonic()
    run_stage(spec, stages.stopping, times.append)
    assert [float(stages.text())] == times
    assert before <= times[0] <= time.monotonic()


# What the command finds.


@linux
def test_the_environment_is_what_was_given_and_two_more(stages: Stages) -> None:
    stages.run("cat /proc/$$/environ", env={"A": "ä b", "PATH": "/usr/bin:/bin"})
    variables = dict(entry.split("=", 1) for entry in stages.text().rstrip("\0").split("\0"))
    assert variables.pop("OVERNIGHT_STAGE").startswith(stages.marker + ":")
    assert abs(float(variables.pop("OVERNIGHT_STARTED")) - time.monotonic()) < 60
    assert variables == {"A": "ä b", "PATH": "/usr/bin:/bin"}


@linux
def test_the_command_inherits_no_descriptor_no_ignored_signal_and_an_own_session(
    stages: Stages,
) -> None:
    code = """
import os, signal
print(sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)))
print(os.readlink("/proc/self/fd/0"), oct(os.umask(0)), os.getsid(0) == os.getppid())
status = dict(line.split(":", 1) for line in open("/proc/%d/status" % os.getppid()))
print(int(status["SigIgn"], 16) & 0x7FFFFFFF, int(status["SigBlk"], 16) & ~(1 << 16))
print(int(open("/proc/self/oom_score_adj").read()) > int(open("/proc/1/oom_score_adj").read()))
"""
    stages.run(stages.script(code) + "; true")
    assert stages.text().splitlines() == ["[0, 1, 2]", "/dev/null 0o22 True", "0 0", "True"]


def test_eight_stages_at_once_do_not_mix(stages: Stages) -> None:
    def one(n: int) -> tuple[StageResult, str]:
        log = stages.folder / f"{n}.log"
        return stages.run(f"sleep 0.2; echo {n}; exit {n}", stdout=log, stderr=log), log.read_text()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(8)))
    assert [result.exit_code for result, _ in results] == list(range(8))
    assert [text for _, text in results] == [f"{n}\n" for n in range(8)]


def test_a_stage_adds_little_to_its_command(stages: Stages) -> None:
    def seconds(act: Callable[[], object]) -> float:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began

    stages.run("true")
    bare = statistics.median(seconds(lambda: subprocess.run(["true"])) for _ in range(5))
    whole = statistics.median(seconds(lambda: stages.run("true")) for _ in range(5))
    # About 12 ms on a quiet machine; the bound leaves room for a busy one.
    assert whole - bare < 0.1
