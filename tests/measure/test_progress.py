"""The lines by which a run tells its progress: read while it runs, strictly and in bounds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from overnight.measure.progress import LONGEST_LINE, Progress
from overnight.stage.stage import StageEnd
from stages import Stages, alive

HONEST = "overnight: progress=0.25 loss=1.5\n"


def curve(folder: Path, text: str | bytes, used: float = 1.0) -> Progress:
    log = folder / "run.log"
    log.write_bytes(text if isinstance(text, bytes) else text.encode())
    progress = Progress(log, "loss")
    while progress.read(used):
        pass
    return progress


@pytest.mark.parametrize(
    "line",
    [
        "overnight: progress=0.25 loss=1.5",
        "  overnight: progress=.25 loss=+1.5e0\r",
        "40%|####\rovernight: progress=0.25 loss=15e-1\rmore",
        "overnight: progress=2.5e-1  loss=1.5",
    ],
)
def test_a_line_of_progress_is_read(tmp_path: Path, line: str) -> None:
    assert curve(tmp_path, f"begins\n{line}\nends").curve == [(0.25, 1.5)]


@pytest.mark.parametrize(
    "line",
    [
        "overnight: progress=0.25",
        "overnight: progress=0.25 gain=1.5",
        "overnight: progress=0.25 loss=1.5 more=1",
        "so overnight: progress=0.25 loss=1.5",
        "overnight: progress=-0.25 loss=1.5",
        "overnight: progress=1.01 loss=1.5",
        "overnight: progress=nan loss=1.5",
        "overnight: progress=0.2.5 loss=1.5",
        "overnight: progress=0.25 loss=1.5.5",
        "overnight: progress=0.25 loss=1_5",
        "overnight: progress=0.25 loss=low",
        "overnight: progress=٠.٢٥ loss=1.5",
        "overnight: progress=0.25 loss=" + "1" * 100,
        "x" * 2 * LONGEST_LINE + "overnight: progress=0.25 loss=1.5",
    ],
)
def test_what_is_no_line_of_progress_is_passed_over(tmp_path: Path, line: str) -> None:
    progress = curve(tmp_path, f"{line}\novernight: progress=0.5 loss=1\n")
    assert progress.curve == [(0.5, 1.0)] and not progress.not_finite


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-Infinity", "1e999"])
def test_a_value_that_is_not_finite_is_noted(tmp_path: Path, value: str) -> None:
    progress = curve(tmp_path, f"{HONEST}overnight: progress=0.5 loss={value}\n{HONEST}")
    assert progress.curve == [(0.25, 1.5)] and progress.not_finite == value


def test_a_claim_beyond_the_clock_counts_for_where_the_clock_is(tmp_path: Path) -> None:
    progress = curve(tmp_path, "overnight: progress=0.9 loss=1\n", used=0.3)
    assert progress.curve == [(0.32, 1.0)]


def test_a_line_that_is_not_finished_waits_for_its_end(tmp_path: Path) -> None:
    progress = curve(tmp_path, HONEST[:-6])
    assert progress.curve == []
    with (tmp_path / "run.log").open("a") as log:
        log.write(HONEST[-6:])
    progress.read(1.0)
    assert progress.curve == [(0.25, 1.5)]


def test_a_million_lines_give_a_hundred_points(tmp_path: Path) -> None:
    lines = "".join(f"overnight: progress={n / 1e6:.6f} loss={n}\n" for n in range(1_000_000))
    progress = curve(tmp_path, lines)
    assert len(progress.curve) <= 101 and progress.curve == sorted(progress.curve)


@pytest.mark.parametrize("content", [b"", b"\xff\x00" * 500_000, b"\n" * 3_000_000])
def test_any_bytes_are_read(tmp_path: Path, content: bytes) -> None:
    assert curve(tmp_path, content + b"\n" + HONEST.encode()).curve == [(0.25, 1.5)]


def test_a_log_that_is_cut_or_gone_says_nothing_more(tmp_path: Path) -> None:
    progress = curve(tmp_path, HONEST)
    (tmp_path / "run.log").write_text("")
    assert not progress.read(1.0)
    (tmp_path / "run.log").unlink()
    assert not progress.read(1.0) and progress.curve == [(0.25, 1.5)]


# -- the stage ----------------------------------------------------------------


def test_a_watch_ends_a_stage_with_all_that_it_started(stages: Stages) -> None:
    code = "import os, sys, time\nfor _ in range(3): os.fork() or os.setsid()\ntime.sleep(60)"
    began = time.monotonic()
    result = stages.run(stages.script(code), watch=lambda used: time.monotonic() > began + 0.5)
    assert result.end is StageEnd.CUT and result.wall_seconds < 10
    assert alive(stages.marker) == []


def test_a_stop_of_the_campaign_is_no_cut(stages: Stages) -> None:
    def watch(used: float) -> bool:
        stages.stopping.set()
        return False

    assert stages.run("sleep 60", watch=watch).end is StageEnd.STOPPED


def test_a_stage_that_ended_before_it_was_cut_has_ended_by_itself(stages: Stages) -> None:
    assert stages.run("true", watch=lambda used: False).end is StageEnd.EXITED


def test_a_watch_sees_the_share_of_the_budget_in_the_stages_own_clock(stages: Stages) -> None:
    seen: list[float] = []
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    watch = lambda used: bool(seen.append(used))  # noqa: E731
    result = stages.run(stages.script(spin), 1.0, clock="cpu", watch=watch)
    assert result.end is StageEnd.EXITED
    assert seen == sorted(seen) and 0.3 < seen[-1] < 0.65
    seen.clear()
    stages.run("sleep 0.5", 1.0, clock="cpu", watch=watch)
    assert max(seen) < 0.2, "sleeping uses no processor time"
    seen.clear()
    stages.run("sleep 0.5", 1.0, watch=watch)
    assert seen == sorted(seen) and 0.3 < seen[-1] < 0.65
