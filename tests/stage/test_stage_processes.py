"""The processes of a stage: whatever they do, nothing survives."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overnight.stage import stage
from overnight.stage.stage import StageEnd, end_strays
from stages import Stages, alive, eventually, linux, unkillable

SOURCES = Path(__file__).parents[2] / "src"
DAEMON = """
import os, signal, sys, time
for n in (signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 100)
        os.execve(sys.executable, [sys.executable, "-ISc", "import time; time.sleep(600)",
                  sys.argv[1]], {})
    os._exit(0)
os.wait()
"""


@linux
def test_a_daemon_with_its_own_session_and_an_empty_environment_does_not_survive(
    stages: Stages,
) -> None:
    command = stages.script(DAEMON)
    assert stages.run(command).end is StageEnd.EXITED
    assert alive(stages.marker) == []
    assert stages.run(command + "; sleep 60", 0.5, grace_seconds=0.1).end is StageEnd.DEADLINE


def test_children_left_behind_are_ended_without_waiting_for_them(stages: Stages) -> None:
    result = stages.run(f"sh -c 'sleep 600; : {stages.marker}' & echo $!")
    assert result.end is StageEnd.EXITED
    assert result.wall_seconds < 10


def test_stopped_processes_do_not_survive(stages: Stages) -> None:
    code = "import os, signal\nos.fork()\nos.kill(os.getpid(), signal.SIGSTOP)"
    result = stages.run(stages.script(code), 0.4, grace_seconds=0.1)
    assert result.end is StageEnd.DEADLINE


@linux
def test_a_bomb_of_processes_each_with_its_own_session_does_not_survive(stages: Stages) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for n in range(300):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""
    result = stages.run(stages.script(code), 2.0, grace_seconds=0.1)
    assert result.end is StageEnd.DEADLINE
    assert result.survivors == 0


@linux
def test_processes_that_keep_forking_do_not_outrun_the_kill(stages: Stages) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for n in range(3): os.fork()
for generation in range(300):
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.01)
"""
    # Never more than some 16 at once, and over by itself after 3 seconds, whatever happens.
    result = stages.run(stages.script(code) + "; sleep 60", 1.0, grace_seconds=0.1)
    assert result.end is StageEnd.DEADLINE
    assert result.survivors == 0


@linux
def test_kill_9_of_the_driver_ends_the_tree(stages: Stages) -> None:
    driver = stages.folder / "driver.py"
    command = stages.script(DAEMON) + f"; sh -c 'sleep 600; : {stages.marker}'"
    driver.write_text(
        "import sys, threading\n"
        f"sys.path.insert(0, {str(SOURCES)!r})\n"
        "from pathlib import Path\n"
        "from overnight.stage.stage import StageSpec, run_stage\n"
        f"log = Path({str(stages.log)!r})\n"
        f"run_stage(StageSpec({command!r}, log.parent, {{'PATH': '/usr/bin:/bin'}}, log, log, 600),"
        " threading.Event())\n"
    )
    process = subprocess.Popen([sys.executable, str(driver)])
    assert eventually(lambda: len(alive(stages.marker)) >= 3)
    process.kill()
    process.wait()
    assert eventually(lambda: not alive(stages.marker))


@linux
def test_a_command_that_kills_its_supervisor_is_lost_and_leaves_nothing(stages: Stages) -> None:
    code = """
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
if os.fork() == 0: os.setsid()
os.fork()
time.sleep(600)
"""
    result = stages.run("exec " + stages.script(code))
    assert (result.end, result.exit_code, result.survivors) == (StageEnd.LOST, None, 0)


@linux
def test_a_command_that_stops_its_supervisor_gains_no_time(stages: Stages) -> None:
    result = stages.run("kill -STOP $PPID; sleep 60", 0.5, grace_seconds=0.1)
    assert result.end is StageEnd.DEADLINE
    assert result.wall_seconds < 10


@linux
def test_a_supervisor_that_the_kernel_cannot_end_is_lost_and_counted(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "KILL_SECONDS", 1.0)
    monkeypatch.setattr(stage, "_REPORT_SECONDS", 1.0)
    pid = stages.folder / "pid"
    command = "echo $PPID > pid; sleep 1; kill -KILL $PPID; sleep 60"
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(stages.run, command, 2.0, grace_seconds=0.0)
        with unkillable(pid):
            lost = result.result(30)
    assert (lost.end, lost.exit_code, lost.survivors) == (StageEnd.LOST, None, 1)


@linux
def test_a_stage_runs_where_proc_is_read_only(stages: Stages) -> None:
    code = (
        "import sys, threading\n"
        f"sys.path.insert(0, {str(SOURCES)!r})\n"
        "from pathlib import Path\n"
        "from overnight.stage.stage import StageSpec, run_stage\n"
        f"log = Path({str(stages.log)!r})\n"
        "print(run_stage(StageSpec('exit 3', log.parent, {}, log, log, 30), threading.Event()))\n"
    )
    mounted = 'mount -o remount,bind,ro /proc && exec "$@"'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounted, "sh"]
    argv += [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "exit_code=3" in done.stdout, done.stderr


def test_a_supervisor_told_to_end_takes_its_tree_along(stages: Stages) -> None:
    assert stages.run("kill -TERM $PPID; sleep 60").end is StageEnd.STOPPED


@linux
def test_strays_of_a_family_are_ended_and_no_other_process(stages: Stages) -> None:
    def spawn(mark: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-ISc", "import time; time.sleep(600)", stages.marker]
        return subprocess.Popen(argv, env={"OVERNIGHT_STAGE": mark}, start_new_session=True)

    family = f"/a/{stages.marker}:t1"
    strays = [spawn(f"{family}:{n}") for n in range(3)]
    others = [spawn(f"{family}0:1"), spawn(f"x{family}:1"), spawn(family), spawn("")]
    try:
        assert eventually(lambda: len(alive(stages.marker)) == 7)
        assert end_strays(family) == 3
        assert [stray.wait(10) for stray in strays] == [-signal.SIGKILL] * 3
        assert [other.poll() for other in others] == [None] * 4
        assert end_strays(family) == 0
    finally:
        for process in [*strays, *others]:
            process.kill()
            process.wait()


def test_an_empty_family_is_refused(stages: Stages) -> None:
    with pytest.raises(ValueError, match="every campaign"):
        end_strays("")
