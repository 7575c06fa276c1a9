"""The terminal view: what it says, that it fits, and that no text of an agent reaches the terminal
as anything but text."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from night import HOSTILE, Night
from overnight.campaign.limits import Limits, Stretch
from overnight.core.errors import LedgerError
from overnight.core.experiment import Verdict
from overnight.record.lock import CampaignLock, lock_path
from overnight.views.experiment_text import experiment_text, plain_line, results_table
from overnight.views.live import LiveView, last_screen, screen, sparkline, status_text
from toy import RUN, make_toy, write_patches


def printed(what: RenderableType, width: int = 100) -> str:
    """As a terminal of this width gets it, without its colours."""
    file = io.StringIO()
    console = Console(width=width, file=file, force_terminal=True, color_system=None)
    console.print(what)
    return file.getvalue()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    night = Night(tmp_path, unit="bits/byte")
    Stretch.begin(night.book(), Limits(experiments=10, hours=7.5))
    for score in (7.0, 6.0, Verdict.CRASH, 8.0):
        night.add(score, "DEPTH 4 → 2", "crashed: NameError: name 'x' is not defined")
    return night


def test_it_shows_where_the_campaign_stands_and_what_is_tried(night: Night) -> None:
    with CampaignLock(lock_path(night.arena, "t")):
        night.begin(night.propose("WIDTH 64 → 96").n)
        text = printed(screen(night.summary()))
    for words in (
        "loss went from 7 to 6 (-14.3%) with 1 win in 3 experiments",
        "loss (bits/byte), lower is better",
        "#1 DEPTH 4 → 2",
        "1 kept (33%), 1 discarded, 1 crashed",
        "7 experiments, about ",
        "at most 7 h ",
        "#4 WIDTH 64 → 96",
        " s left",
        "crashed: NameError",
        "`overnight stop` ends it",
    ):
        assert words in text


def test_it_says_when_the_incumbent_is_measured_again_beside_a_candidate(night: Night) -> None:
    with CampaignLock(lock_path(night.arena, "t")):
        night.propose("WIDTH 64 → 96")
        night.begin(1)
        assert "#4 WIDTH 64 → 96, #1 measured again" in printed(screen(night.summary()))


def test_it_says_that_the_agent_thinks_and_what_it_said_last(night: Night) -> None:
    asked = night.book().ask("tuner", 1, 1)
    log = night.arena.state / "logs" / "t" / "proposals" / str(asked.id) / "agent.log"
    log.parent.mkdir(parents=True)
    with CampaignLock(lock_path(night.arena, "t")):
        assert "#4 tuner thinks, for" in printed(screen(night.summary()))
        log.write_text('* edit: value.py\n{"type":"event","of":"a program"}\n')
        assert "#4 tuner thinks: * edit: value.py, for" in printed(screen(night.summary()))


def test_it_says_why_every_agent_rests_until_something_is_tried_again(night: Night) -> None:
    with CampaignLock(lock_path(night.arena, "t")):
        words = "claude could not work (rate limit): the provider lets it ask no more for now"
        night.ledger.add_event("t", "trouble", words=words)
        assert words.partition(":")[0] in printed(screen(night.summary()))
        night.add(5.0)
        assert "could not work" not in printed(screen(night.summary()))


def test_it_says_that_the_setup_runs(tmp_path: Path) -> None:
    night = Night(tmp_path)
    Stretch.begin(night.book(), Limits())
    night.ledger.add_event("t", "setup", words="the setup `python prepare.py`")
    with CampaignLock(lock_path(night.arena, "t")):
        assert "now     the setup `python prepare.py`, for" in printed(screen(night.summary()))
        night.add(7.0)
        assert "setup" not in printed(screen(night.summary()))


def test_how_to_end_it_is_said_only_while_it_runs(night: Night) -> None:
    with CampaignLock(lock_path(night.arena, "t")):
        assert "ends it" not in printed(status_text(night.summary())), "status drives nothing"
        night.ledger.add_event("t", "stop", words="all 3 experiments are done")
        stopped = printed(screen(night.summary()))
    assert "ends it" not in stopped and "all 3 experiments are done" in stopped
    assert "now " not in stopped and "left " not in stopped
    assert "ends it" not in printed(screen(night.summary()))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_its_lines_fit_and_a_result_has_one(tmp_path: Path, width: int) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    for words in [*HOSTILE, "學習" * 200, "word " * 100]:
        night.add(8.0, words)
        night.add(Verdict.CRASH, words, words)
    lines = printed(screen(night.summary()), width).splitlines()
    assert {cell_len(line) for line in lines} == {width}
    assert (
        len([line for line in lines if re.match(r"│ +\d+  (discard|crash)", line)]) == 8
        or width < 80
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_an_agent_wrote_reaches_the_terminal_as_text(tmp_path: Path, hostile: str) -> None:
    night = Night(tmp_path)
    for score in (7.0, 5.0, Verdict.CRASH):
        night.add(score, hostile, hostile, hypothesis=hostile)
    found = night.ledger.experiments("t")
    night.ledger.add_event("t", "stop", words=hostile)
    summary = night.summary()
    file = io.StringIO()
    console = Console(width=100, file=file, force_terminal=True, color_system=None)
    last_screen(summary, [], console)
    for what in (screen(summary), status_text(summary), results_table(found, night.arena.metric)):
        console.print(what)
    for e in found:
        console.print(experiment_text(e, night.arena))
        console.print(plain_line(e, night.arena.metric), markup=False)
    shown = file.getvalue()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", shown)
    if "[bold]" in hostile:
        assert "[bold]x[/] [/nothing]" in shown, "markup is shown, not obeyed"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_taller_is_better_and_an_outlier_does_not_flatten_the_rest(
    tmp_path: Path, direction: str
) -> None:
    night = Night(tmp_path, direction)
    for score in (2.0, 1e9, 3.0, 1.5, Verdict.CRASH, 1.0):
        worse_is_larger = night.arena.metric.orient(-1.0)
        night.add(score if isinstance(score, Verdict) else worse_is_larger * score)
    line = sparkline(night.summary())
    assert len(line) == 6 and line[4] == "×" and line[5] == "█"
    assert line[1] <= line[2] < line[0] < line[3] < line[5]


def test_equal_scores_draw_a_level_line(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for _ in range(4):
        night.add(5.0)
    assert len(set(sparkline(night.summary()))) == 1


def test_self_reported_scores_are_marked_in_every_view(tmp_path: Path) -> None:
    for referee in (True, False):
        night = Night(tmp_path / str(referee), referee=referee)
        night.add(7.0)
        file = io.StringIO()
        last_screen(night.summary(), [], Console(file=file))
        for text in (printed(screen(night.summary())), file.getvalue()):
            assert ("self-reported" in text) is not referee


def test_without_a_terminal_a_line_per_experiment_and_a_sign_of_life(night: Night) -> None:
    file = io.StringIO()
    with CampaignLock(lock_path(night.arena, "t")):
        view = LiveView(night.summary(), Console(file=file), quiet_seconds=0.2)
        night.propose("WIDTH 64 → 96")
        with view:
            view.changed(night.book())
            view.observe(night.ledger.experiments("t")[1])
            deadline = time.monotonic() + 20
            while "…" not in file.getvalue() and time.monotonic() < deadline:
                time.sleep(0.02)
    first, second, *_ = file.getvalue().splitlines()
    assert re.fullmatch(r"#1 keep loss 6 \(\+1\) [\d.]+ s  DEPTH 4 → 2", first)
    assert re.fullmatch(r"… #4 WIDTH 64 → 96, for [\d.]+ s", second)


def test_without_a_terminal_it_is_quiet_while_results_come(night: Night) -> None:
    file = io.StringIO()
    with LiveView(night.summary(), Console(file=file)) as view:
        for e in night.ledger.experiments("t"):
            view.observe(e)
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["#0", "#1", "#2", "#3"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_log_that_cannot_be_written_does_not_end_the_night(night: Night) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        console = Console(file=io.TextIOWrapper(full, write_through=True))
        with LiveView(night.summary(), console, quiet_seconds=0.01) as view:
            for e in night.ledger.experiments("t"):
                view.observe(e)


def test_a_view_survives_a_ledger_that_cannot_be_read(night: Night) -> None:
    with LiveView(night.summary(), Console(file=io.StringIO())) as view:
        for path in night.arena.state.glob("ledger.db*"):
            with path.open("r+b") as ledger:  # cut short, mapped memory of SQLite's would be gone
                ledger.write(b"not a database, not at all" * 1000)
        with pytest.raises(LedgerError):
            night.summary()
        view.changed(night.book())


def begun_in_a_terminal(folder: Path, run: str = RUN) -> tuple[int, int]:
    """A campaign of one experiment that ignores the end of its terminal: its process, and the
    terminal's other side."""
    make_toy(folder / "arena", run=run)
    write_patches(folder / "patches", ["X=8"])
    words = ["overnight", "run", "-C", str(folder / "arena"), "--experiments", "1"]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "30"}
        os.execvp(words[0], [*words, "--agent", f"patches:{folder / 'patches'}"])
    return pid, terminal


def test_a_campaign_that_loses_its_terminal_writes_its_report_all_the_same(tmp_path: Path) -> None:
    pid, terminal = begun_in_a_terminal(tmp_path, f"sleep 2\n{RUN}")
    shown = b""
    while b"ends it" not in shown:
        shown += os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    state = tmp_path / "arena" / ".overnight"
    assert "with 1 win in 1 experiment" in (state / "report.md").read_text()
    assert (state / "progress.png").exists()


def test_a_campaign_in_a_real_terminal(tmp_path: Path) -> None:
    pid, terminal = begun_in_a_terminal(tmp_path)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # what Linux says when the other side has closed
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "`overnight stop` ends it" in text
    last = text[text.rindex("╭") :]
    assert "loss went from 7 to 5 (-28.6%) with 1 win in 1 experiment." in last
    assert "It stopped: the limit of --experiments 1" in last and "git merge" in last


def test_show_tells_why_and_what_was_measured(night: Night) -> None:
    kept, crashed = (night.ledger.experiments("t")[n] for n in (1, 2))
    text = printed(experiment_text(kept, night.arena))
    for words in (
        "#1 DEPTH 4 → 2",
        "score      loss 6, gain +1",
        "seed 1: finished 6",
        "claimed 7",
    ):
        assert words in text
    text = printed(experiment_text(crashed, night.arena))
    assert "crash\n           crashed: NameError" in text and "score" not in text
