"""The summary: what it counts, what it costs, and that every view prints its numbers."""

from __future__ import annotations

import json
import sqlite3
import time
import tracemalloc
from pathlib import Path

import pytest
import sqlalchemy
from rich.console import Console, RenderableType

from night import HOSTILE, Night
from overnight.campaign.limits import Limits, Stretch
from overnight.core.experiment import Purpose, Verdict
from overnight.record.book import Book
from overnight.record.lock import CampaignLock, lock_path
from overnight.views.documents import experiment_document, status_document
from overnight.views.live import last_screen, screen, status_text
from overnight.views.plots import draw
from overnight.views.report import write_report
from overnight.views.summary import scale, summarize


def printed(*what: RenderableType) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*what)
    return console.export_text()


@pytest.mark.parametrize(
    ("direction", "scores"), [("minimize", [7, 9, 5, 6, 4]), ("maximize", [4, 3, 6, 5, 7])]
)
def test_the_best_so_far_is_the_best_in_both_directions(
    tmp_path: Path, direction: str, scores: list[float]
) -> None:
    night = Night(tmp_path, direction)
    for score in scores:
        night.add(score)
    summary = night.summary()
    assert summary.baseline and summary.incumbent
    assert (summary.baseline.n, summary.incumbent.n) == (0, 4)
    assert summary.incumbent.score == scores[-1]
    assert summary.gain == 3.0
    assert [e.n for e in summary.wins] == [2, 4]
    assert (summary.experiments, summary.keep_rate) == (4, 0.5)


def test_every_view_tells_the_same_numbers(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (8.0, 9.0, 5.0, Verdict.CRASH, Verdict.TIMEOUT, 6.0, 4.0):
        night.add(score)
    summary = night.summary()
    again = summarize(Book.of(night.arena, night.ledger, "t", 50))
    assert repr(summary) == repr(again), "what the driver knows and what others read"
    document = status_document(summary)
    write_report(night.book(), lambda old, new: "+X=1", tmp_path / "report.md")
    report = (tmp_path / "report.md").read_text()
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    last_screen(summary, [], console)
    sentence = "loss went from 8 to 4 (-50%) with 2 wins in 6 experiments"
    tally = "2 kept (33%), 2 discarded, 1 crashed, 1 timed out"
    assert summary.gained == sentence and summary.tally == tally
    assert sentence in console.export_text()
    for view in (printed(screen(summary)), printed(status_text(summary)), report):
        assert sentence in view and tally in view
    assert (document["experiments"], document["baseline"], document["gain"]) == (6, 8.0, 4.0)
    assert document["verdicts"] == {"keep": 2, "discard": 2, "crash": 1, "timeout": 1}
    incumbent = document["incumbent"]
    assert isinstance(incumbent, dict) and (incumbent["n"], incumbent["score"]) == (6, 4.0)


def test_json_stays_json_when_a_run_reports_nan_and_a_gain_overflows(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (1e308, -1e308):
        night.add(score, HOSTILE[0])
    documents = [experiment_document(e, night.arena) for e in night.ledger.experiments("t")]
    text = json.dumps([status_document(night.summary()), *documents], allow_nan=False)
    assert json.loads(text)[2]["measurements"][0]["reported"]["loss"] is None
    printed(screen(night.summary()))
    draw(night.ledger.experiments("t"), night.arena, tmp_path / "p.png", night.summary().gained)


def test_recent_experiments_have_no_gap(tmp_path: Path) -> None:
    """Old keeps are known as well, but the pace is that of the newest."""
    night = Night(tmp_path)
    for score in (8.0, 9.0, 7.0, 9.0, 9.0):
        night.add(score)
    night.propose("under way")
    summary = summarize(Book.of(night.arena, night.ledger, "t", 3))
    assert [e.n for e in summary.recent] == [3, 4] and [e.n for e in summary.keeps] == [2]


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([], "the baseline has no score yet"),
        ([7.0], "the baseline has loss 7; nothing else has been measured yet"),
        ([7.0, 8.0], "the baseline has loss 7; 1 experiment did not beat it"),
        ([7.0, 8.0, 9.0], "the baseline has loss 7; 2 experiments did not beat it"),
        ([7.0, 6.0], "loss went from 7 to 6 (-14.3%) with 1 win in 1 experiment"),
        ([0.0, -1.0], "loss went from 0 to -1 with 1 win in 1 experiment"),
        ([1234567.1, 1234567.0], "loss went from 1234567.1 to 1234567 with 1 win in 1 experiment"),
    ],
)
def test_what_was_gained_is_told_in_words_that_fit(
    tmp_path: Path, scores: list[float], words: str
) -> None:
    night = Night(tmp_path)
    for score in scores:
        night.add(score)
    assert night.summary().gained == words


def test_time_between_two_stretches_does_not_count(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    for _ in range(2):
        Stretch.begin(night.book(), Limits(experiments=9))
        time.sleep(0.05)
        night.ledger.add_event("t", "stop", words="enough")
        time.sleep(0.2)
    one, two, three, four = (event.at for event in night.ledger.events("t"))
    assert night.summary().seconds == pytest.approx(((two - one) + (four - three)).total_seconds())


def test_what_the_limits_leave_is_told_only_while_somebody_drives(tmp_path: Path) -> None:
    night = Night(tmp_path)
    Stretch.begin(night.book(), Limits(experiments=5, hours=1.0))
    for score in (7.0, 6.0, Verdict.CRASH):
        night.add(score)
    summary = night.summary()
    assert summary.left is None
    assert summary.stop_reason == "its process died; the next `overnight run` continues it"
    with CampaignLock(lock_path(night.arena, "t")):
        summary = night.summary()
        assert summary.left and summary.left.experiments == 3
        assert summary.left.seconds and 3000 < summary.left.seconds <= 3600
        assert summary.stop_reason is None
        night.ledger.add_event("t", "stop", words="enough")
        assert night.summary().left is None


@pytest.mark.parametrize("purpose", list(Purpose))
def test_what_is_measured_beside_the_experiments_is_said(tmp_path: Path, purpose: Purpose) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    night.begin(0, purpose)
    with CampaignLock(lock_path(night.arena, "t")):
        running = night.summary().running
    assert running is not None and running.n == 0 and running.measured_since is not None
    assert any(word in running.words for word in ("measured", "exam", "checked"))


def test_an_outlier_does_not_squash_the_scale(tmp_path: Path) -> None:
    for direction in ("minimize", "maximize"):
        night = Night(tmp_path / direction, direction)
        orient = night.arena.metric.orient
        for score in (1.00, 1.02, 1.01, 1.04, 1.03):
            night.add(orient(-score) + 5)
            night.add(orient(-1e9 * score))
        night.add(orient(-0.98) + 5)
        bounds = scale(night.ledger.experiments("t"), night.arena.metric)
        assert bounds is not None and night.summary().gain == pytest.approx(0.02)
        assert 0.02 / (bounds[1] - bounds[0]) > 0.2


def test_a_hundred_thousand_experiments_cost_what_a_thousand_do(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (7.0, 8.0, 6.0, 9.0):
        night.add(score)
    costs = {}
    for number in (1_000, 100_000):
        night.lengthen(number, 3)
        assert night.book().latest.n == night.summary().experiments == number
        costs[number] = _cost(night.book())
    (steps, peak), (many_steps, many_peak) = costs[1_000], costs[100_000]
    assert many_peak < 1.5 * peak
    assert 0 < many_steps < 1.5 * steps


def _cost(book: Book) -> tuple[int, int]:
    """What one summary takes: steps of SQLite's machine, tens of them, and the peak in bytes.

    Steps are the same on a busy machine, seconds are not.
    """
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    def count(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(step, 10)

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", count)
    tracemalloc.start()
    summarize(book)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sqlalchemy.event.remove(sqlalchemy.pool.Pool, "checkout", count)
    return steps, peak
