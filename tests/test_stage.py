"""Stages: how they end, what they are metered at, what they leave behind (nothing)."""

from __future__ import annotations

import os
import shlex
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overnight.errors import MeasurementImpossible
from overnight.stage import (
    StageEnd,
    StageResult,
    StageSpec,
    end_strays,
    exception_line,
    run_stage,
    tail,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")
MB = 1_000_000
SOURCES = Path(__file__).parent.parent / "src"


def alive(marker: str) -> list[str]:
    """Command lines of living processes that contain the marker."""
    table = subprocess.run(["ps", "-axwwo", "stat=,args="], capture_output=True, text=True).stdout
    return [line for line in table.splitlines() if marker in line and line[:1] != "Z"]


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Stages:
    """Runs commands as stages in one folder; `marker` is in the command line of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = uuid.uuid4().hex
        self.log = folder / "stage.log"
        self.stopping = threading.Event()

    def spec(self, command: str, budget: float = 30.0, **more: object) -> StageSpec:
        fields: dict[str, object] = {
            "cwd": self.folder,
            "env": {"PATH": os.environ["PATH"]},
            "stdout": self.log,
            "stderr": self.log,
            "family": self.marker,
            **more,
        }
        return StageSpec(command=command, budget_seconds=budget, **fields)  # type: ignore[arg-type]

    def run(self, command: str, budget: float = 30.0, **more: object) -> StageResult:
        return run_stage(self.spec(command, budget, **more), self.stopping)

    def script(self, code: str) -> str:
        """A command that runs this Python code."""
        path = self.folder / f"candidate-{uuid.uuid4().hex}.py"
        path.write_text(code)
        words = [sys.executable, "-I", "-S", str(path), self.marker]
        return " ".join(map(shlex.quote, words))

    def text(self) -> str:
        return self.log.read_text()


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Stages]:
    folder = tmp_path / "Ärena mit Leerzeichen 夜"
    folder.mkdir()
    stages = Stages(folder)
    yield stages
    assert alive(stages.marker) == []


# How a stage ends.


def test_a_command_that_ends_by_itself_has_exited_and_its_output_is_logged(stages: Stages) -> None:
    result = stages.run("echo out; echo err >&2; pwd")
    assert (result.end, result.exit_code, result.log_error) == (StageEnd.EXITED, 0, "")
    assert stages.text() == f"out\nerr\n{stages.folder}\n"
    assert 0 < result.wall_seconds < 5


def test_the_exit_code_is_reported(stages: Stages) -> None:
    assert stages.run("exit 3").exit_code == 3


def test_death_by_a_signal_is_a_negative_exit_code(stages: Stages) -> None:
    result = stages.run("kill -SEGV $$")
    assert (result.end, result.exit_code) == (StageEnd.EXITED, -signal.SIGSEGV)


def test_a_command_killed_by_itself_is_not_blamed_on_the_kernel(stages: Stages) -> None:
    result = stages.run("kill -9 $$")
    assert (result.exit_code, result.oom_killed) == (-signal.SIGKILL, False)


def test_two_paths_make_two_logs(stages: Stages) -> None:
    stages.run("echo out; echo err >&2", stderr=stages.folder / "err.log")
    assert stages.text() == "out\n"
    assert (stages.folder / "err.log").read_text() == "err\n"


def test_a_command_that_cannot_be_started_is_an_error_that_names_the_folder(
    stages: Stages,
) -> None:
    with pytest.raises(MeasurementImpossible, match="gone"):
        stages.run("true", cwd=stages.folder / "gone")


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
    threading.Timer(0.2, stages.stopping.set).start()
    result = stages.run("sleep 60")
    assert result.end is StageEnd.STOPPED
    assert result.wall_seconds < 10


def test_started_is_told_the_time_that_the_command_is_told(stages: Stages) -> None:
    times: list[float] = []
    spec = stages.spec('printf %s "$OVERNIGHT_STARTED"')
    before = time.monotonic()
    run_stage(spec, stages.stopping, times.append)
    assert [float(stages.text())] == times
    assert before <= times[0] <= time.monotonic()


# Nothing survives.


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
        "from overnight.stage import StageSpec, run_stage\n"
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


# Clock and meters.


BUSY = "import time\nwhile time.process_time() < {}: pass"


def test_the_cpu_clock_counts_a_busy_loop(stages: Stages) -> None:
    result = stages.run(stages.script("while True: pass"), 0.5, clock="cpu", grace_seconds=0.1)
    assert result.end is StageEnd.DEADLINE
    assert 0.5 <= result.cpu_seconds < 1.5


@linux
def test_the_cpu_clock_counts_all_processes_together(stages: Stages) -> None:
    code = "import os\nfor n in range(2): os.fork()\nwhile True: pass"
    result = stages.run(stages.script(code), 1.0, clock="cpu", grace_seconds=0.0)
    assert result.end is StageEnd.DEADLINE
    assert 1.0 <= result.cpu_seconds < 2.5


def test_sleeping_costs_no_budget_of_the_cpu_clock(stages: Stages) -> None:
    result = stages.run("sleep 0.7", 0.2, clock="cpu")
    assert result.end is StageEnd.EXITED
    assert result.wall_seconds >= 0.7
    assert result.cpu_seconds < 0.2


def test_cpu_seconds_are_those_of_the_whole_tree(stages: Stages) -> None:
    busy = stages.script(BUSY.format(0.3))
    result = stages.run(f"{busy} & {busy}; wait")
    assert 0.6 <= result.cpu_seconds < 1.5


@linux
def test_children_whose_parent_ignores_them_still_count(stages: Stages) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    while time.process_time() < 0.8: pass\n"
        "    os._exit(0)\n"
        "try: os.wait()\n"
        "except ChildProcessError: pass\n"
    )
    result = stages.run(stages.script(code))
    assert result.end is StageEnd.EXITED
    assert result.cpu_seconds >= 0.6


def eater(megabytes: int, then: str = "") -> str:
    return f"held = []\nfor _ in range({megabytes // 10}): held.append(b'x' * 10**7)\n{then}"


@linux
def test_a_memory_eater_is_ended_before_it_has_it_all(stages: Stages) -> None:
    code = eater(3000, "print('had it all')")
    result = stages.run(stages.script(code), memory_bytes=200 * MB)
    assert result.end is StageEnd.MEMORY
    assert stages.text() == ""
    assert 200 * MB < result.peak_memory_bytes < 2000 * MB


@linux
def test_memory_is_that_of_all_processes_together(stages: Stages) -> None:
    code = f"import os, time\nfor n in range(2): os.fork()\n{eater(80)}\ntime.sleep(60)"
    result = stages.run(stages.script(code), memory_bytes=200 * MB)
    assert result.end is StageEnd.MEMORY


@linux
def test_shared_memory_is_counted_once(stages: Stages) -> None:
    code = f"import os, time\n{eater(100)}\nfor n in range(2): os.fork()\ntime.sleep(0.5)"
    result = stages.run(stages.script(code), memory_bytes=250 * MB)
    assert result.end is StageEnd.EXITED
    assert 100 * MB < result.peak_memory_bytes < 200 * MB


def test_a_short_peak_between_two_looks_is_not_missed(stages: Stages) -> None:
    code = "b'x' * 150_000_000"
    assert stages.run(stages.script(code)).peak_memory_bytes > 150 * MB
    assert stages.run(stages.script(code), memory_bytes=100 * MB).end is StageEnd.MEMORY


# Output.


@linux
def test_a_gigabyte_of_output_is_bounded_and_keeps_its_beginning_and_its_exact_end(
    stages: Stages,
) -> None:
    result = stages.run("echo begin; head -c 1000000000 /dev/zero; echo; echo the end")
    assert (result.end, result.log_error) == (StageEnd.EXITED, "")
    data = stages.log.read_bytes()
    assert len(data) < 10 * MB
    assert data.startswith(b"begin\n\0")
    assert tail(stages.log, 1) == "the end"
    left_out = 1_000_000_000 + len("begin\n\nthe end\n") - 5 * MB - 256 * 1024
    assert f"[... {left_out:,} bytes left out ...]".encode() in data


def test_output_within_the_limit_is_complete(stages: Stages) -> None:
    stages.run("seq 1 2000", output_bytes=10_000)
    assert stages.text() == "".join(f"{n}\n" for n in range(1, 2001))


def test_output_just_over_the_limit_loses_only_what_it_must(stages: Stages) -> None:
    stages.run("seq 1 3000", output_bytes=10_000)
    everything = "".join(f"{n}\n" for n in range(1, 3001))
    head, tail_ = stages.text().split("\n[... 3,893 bytes left out ...]\n")
    assert (head, tail_) == (everything[:5000], everything[-5000:])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@linux
def test_a_full_disk_neither_ends_nor_blocks_the_stage_and_is_reported(
    stages: Stages, small_disk: Path
) -> None:
    log = small_disk / "stage.log"
    result = stages.run("head -c 5000000 /dev/zero; exit 7", stdout=log, stderr=log)
    assert (result.end, result.exit_code) == (StageEnd.EXITED, 7)
    assert "No space left" in result.log_error


def test_a_log_that_cannot_be_opened_is_reported(stages: Stages) -> None:
    result = stages.run("echo lost; exit 4", stdout=stages.folder / "no" / "such.log")
    assert result.exit_code == 4
    assert "No such file" in result.log_error


def test_the_tail_of_a_log_cannot_reach_the_terminal(stages: Stages) -> None:
    stages.log.write_bytes(
        b"one\ntwo\xff\n\x1b]0;owned\x07\x1b[31m\xc2\x9bred\tend\n1%\r50%\r100%\r\n"
    )
    text = tail(stages.log, 3)
    assert text.splitlines()[0] == "two\ufffd"
    assert text.splitlines()[2] == "100%"
    assert text.replace("\n", "").isprintable()
    assert tail(stages.log, 1) == "100%"
    assert tail(stages.folder / "absent.log", 5) == ""


def test_a_tail_of_few_bytes_starts_with_a_whole_line(stages: Stages) -> None:
    stages.log.write_text("first\nsecond\nthird\n")
    assert tail(stages.log, 10, max_bytes=10) == "third"


TRACEBACK = """loading
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    g()
    ~^^
torch.OutOfMemoryError: CUDA out of memory:
tried 2 GiB
done: 5
"""


def test_the_exception_line_is_that_of_the_last_traceback() -> None:
    assert exception_line(TRACEBACK) == "torch.OutOfMemoryError: CUDA out of memory:"
    assert exception_line('  File "a.py", line 1\n    x =\n       ^\nSyntaxError: invalid') == (
        "SyntaxError: invalid"
    )
    assert exception_line("Traceback (most recent call last):\nKeyboardInterrupt\n") == (
        "KeyboardInterrupt"
    )
    assert exception_line("ValueError: printed, not raised") is None


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
    bare = statistics.median(seconds(lambda: subprocess.run(["true"])) for _ in range(20))
    whole = statistics.median(seconds(lambda: stages.run("true")) for _ in range(20))
    # About 12 ms on a quiet machine; the bound leaves room for a busy one.
    assert whole - bare < 0.1
