"""The meters of a stage: its clock, and the memory of its whole tree."""

from __future__ import annotations

from overnight.stage.stage import StageEnd
from stages import MB, Stages, linux

BUSY = "import time\nwhile time.process_time() < {}: pass"


@linux
def test_the_cpu_clock_counts_all_processes_together(stages: Stages) -> None:
    code = "import os\nfor n in range(2): os.fork()\nwhile True: pass"
    result = stages.run(stages.script(code), 0.5, clock="cpu", grace_seconds=0.0)
    assert result.end is StageEnd.DEADLINE
    assert 0.5 <= result.cpu_seconds < 2.0


def test_sleeping_costs_no_budget_of_the_cpu_clock(stages: Stages) -> None:
    result = stages.run("sleep 0.5", 0.2, clock="cpu")
    assert result.end is StageEnd.EXITED
    assert result.wall_seconds >= 0.5
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
    result = stages.run(stages.script(code), memory_bytes=100 * MB)
    assert result.end is StageEnd.MEMORY and result.peak_memory_bytes > 100 * MB
