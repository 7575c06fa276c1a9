"""Lost runs end early in a campaign of real processes: which do, which never, what that costs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from overnight import Campaign, Experiment, Limits
from overnight.core.experiment import Measurement, Outcome
from overnight.insights.pruning_savings import Savings, savings
from overnight.judge.prune import EARLIEST, LEAST, is_control
from overnight.views.documents import status_document
from overnight.views.experiment_text import plain_line
from overnight.views.live import status_text
from overnight.views.report import write_report
from overnight.views.summary import summarize
from stages import alive
from toy import ARENA, make_toy, overnight
from writer import Writer

BUDGET = 2.0
SLOW = ARENA.replace('"sh run.sh"', json.dumps(f"{sys.executable} -I -S value.py"))
SLOW = SLOW.replace('"20s"', f'"{BUDGET:g}s"', 1)
START = f"""import os, subprocess, sys, time
X = {{x}}
begun = float(os.environ["OVERNIGHT_STARTED"])
def tell(at, words):
    time.sleep(max(0, begun + at * {BUDGET} - time.monotonic()))
    print(words, flush=True)
def leave():
    open(os.path.join(os.environ["OVERNIGHT_OUT"], "value"), "w").write(f"X={{{{X}}}}\\n")
    sys.exit()
"""
MARK = "pruning-test-daemon"


def program(x: float, *values: object, body: str = "", until: float = 0.45) -> str:
    """A candidate that ends at loss |x - 3| and reports these values at 10 %, 20 %, … of its
    budget."""
    lines = [
        f"tell({n / 10}, 'overnight: progress={n / 10} loss={value}')"
        for n, value in enumerate(values, 1)
    ]
    return "\n".join([START.format(x=x), *lines, body, f"tell({until}, 'done')", "leave()", ""])


def curve(loss: float) -> list[float]:
    return [loss + 2, loss + 1.5, loss + 1, loss + 0.5]


HOPELESS = [90.0, 80.0, 70.0, 60.0]
DAEMON = f"""subprocess.Popen(["sh", "-c", "sleep 60; : {MARK}"], start_new_session=True)"""
GARBAGE = r"""sys.stdout.buffer.write(
    b"overnight: progress=2 loss=9\novernight: progress= loss=\n\xff\x00overnight: progress=0.3"
    b" loss=0x9\novernight: progress=-1 loss=99\n" * 1000)"""
FLOOD = """for n in range(1_000_000):
    sys.stdout.write(f"overnight: progress={n / 1e6} loss=1\\n")"""
LONG = """sys.stdout.write("overnight: progress=0.3 loss=9" * 350_000)"""
EXPERIMENTS = {
    "learned 1": program(12, *curve(9)),
    "learned 2": program(13, *curve(10)),
    "learned 3": program(14, *curve(11)),
    "learned 4": program(15, *curve(12)),
    "learned 5": program(16, *curve(13)),
    "hopeless": program(99, *HOPELESS, body=DAEMON, until=0.9),
    "hopeless control": program(99, *HOPELESS),
    "silent": program(99),
    "optimist": program(99, 0.1, 0.1, 0.1, 0.1),
    "ahead of the clock": program(99, body="print('overnight: progress=1 loss=0', flush=True)"),
    "garbage": program(99, body=GARBAGE),
    "flood": program(99, body=FLOOD),
    "long line": program(99, body=LONG),
    "not finite": program(99, "nan", until=0.9),
    "diverged": program(99, 9, 1e9, until=0.9),
    "win": program(8, *curve(5)),
    "pessimist control": program(4, *HOPELESS),
}
NUMBER = {name: n for n, name in enumerate(EXPERIMENTS, 1)}
CONTROLLED = {n for name, n in NUMBER.items() if name.endswith("control")}


def tag_with_controls(controls: set[int], last: int) -> str:
    """A tag under which these, and no others up to the last, are the controls."""
    tags = (f"t{n}" for n in range(1_000_000))
    return next(t for t in tags if {n for n in range(1, last + 1) if is_control(t, n)} == controls)


TAG = tag_with_controls(CONTROLLED, len(EXPERIMENTS))


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An arena in which a campaign has tried all of them; it was resumed before each."""
    folder = tmp_path_factory.mktemp("pruning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERNIGHT_HOME", str(folder / "home"))
        made = make_toy(folder / "arena", SLOW, value=program(11, *curve(8)))
        agent = Writer(list(EXPERIMENTS.values()))
        for _ in EXPERIMENTS:
            with Campaign.open(made, TAG) as campaign:
                campaign.run(agent, Limits(experiments=1))
        yield made


@pytest.fixture(scope="module")
def tried(arena: Path) -> dict[str, Experiment]:
    with Campaign.open(arena, TAG) as campaign:
        finished = {e.n: e for e in campaign.book.finished}
    return {name: finished[n] for name, n in NUMBER.items()}


def run_of(experiment: Experiment) -> Measurement:
    return experiment.measurements[0]


def test_a_hopeless_run_is_ended_early_whole_and_says_why(tried: dict[str, Experiment]) -> None:
    e, run = tried["hopeless"], run_of(tried["hopeless"])
    assert (e.verdict, e.score, run.outcome, run.score) == ("discard", None, "pruned", None)
    assert re.match(r"pruned: at (2[6-9]|30)% of the budget: loss 70, the incumb", e.reason)
    assert run.stage_seconds["run"] < 0.6 * BUDGET and "score" not in run.stage_seconds
    assert EARLIEST <= run.numbers["pruned_at"] <= 0.3 and run.curve[-1][1] == 70.0
    assert alive(MARK) == []


@pytest.mark.parametrize("name", ["silent", "garbage", "long line"])
def test_one_that_reports_nothing_that_can_be_read_is_never_ended(
    tried: dict[str, Experiment], name: str
) -> None:
    assert tried[name].verdict == "discard" and tried[name].score == 96.0
    assert run_of(tried[name]).outcome is Outcome.FINISHED
    assert run_of(tried[name]).curve == ()


@pytest.mark.parametrize("name", ["optimist", "ahead of the clock", "flood"])
def test_one_that_lies_gains_nothing_for_the_score_decides(
    tried: dict[str, Experiment], name: str
) -> None:
    assert tried[name].verdict == "discard" and tried[name].score == 96.0
    told = [at for at, _ in run_of(tried[name]).curve]
    assert 0 < len(told) <= 100 and max(told) < 1 and told == sorted(told)


def test_a_value_that_is_not_finite_ends_a_run_at_once(tried: dict[str, Experiment]) -> None:
    e, run = tried["not finite"], run_of(tried["not finite"])
    assert (e.verdict, run.outcome) == ("invalid", "metric not finite")
    assert "reported loss=nan on its way" in e.reason
    assert run.stage_seconds["run"] < 0.5 * BUDGET


def test_a_run_that_diverges_is_ended_before_it_could_be_compared(
    tried: dict[str, Experiment],
) -> None:
    e, run = tried["diverged"], run_of(tried["diverged"])
    assert (e.verdict, run.outcome) == ("discard", "pruned")
    assert "of the budget: loss 1e+09 has diverged" in e.reason
    assert run.stage_seconds["run"] < 0.6 * BUDGET


def test_a_win_is_kept_with_its_curve(tried: dict[str, Experiment]) -> None:
    assert (tried["win"].verdict, tried["win"].score) == ("keep", 5.0)
    assert [value for _, value in run_of(tried["win"]).curve] == curve(5)


def test_a_control_goes_on_to_its_end_and_is_recorded(tried: dict[str, Experiment]) -> None:
    e = tried["hopeless control"]
    assert (e.verdict, e.score) == ("discard", 96.0)
    assert EARLIEST <= run_of(e).numbers["prune_control"] <= 0.3
    assert [value for _, value in run_of(e).curve] == HOPELESS


def test_a_control_that_wins_is_a_win_that_would_have_been_lost(
    arena: Path, tried: dict[str, Experiment]
) -> None:
    assert tried["pessimist control"].verdict == "keep"
    with Campaign.open(arena, TAG) as campaign:
        found = savings(campaign.book)
    assert (found.prunes, found.controls, found.wins_lost) == (2, 2, 1)
    assert 0 < found.seconds_saved < 2 * BUDGET


def test_every_view_tells_what_was_saved_and_lost(
    arena: Path, tried: dict[str, Experiment], tmp_path: Path
) -> None:
    words = "2 runs ended early, "
    with Campaign.open(arena, TAG) as campaign:
        summary = summarize(campaign.book)
        file = tmp_path / "report.md"
        write_report(campaign.book, lambda old, new: "+X=1", file)
    console = Console(width=120, record=True, file=(tmp_path / "screen").open("w"))
    console.print(status_text(summary))
    end = " saved; wins lost: 1 of 2 controls"
    for view in (console.export_text(), file.read_text()):
        assert words in view and end in view
    assert " — pruned: at " in plain_line(tried["hopeless"], summary.metric)
    said = json.loads(overnight(arena, "status", "--json").stdout)["pruning"]
    assert (said["prunes"], said["controls"], said["wins_lost"]) == (2, 2, 1)
    assert said == status_document(summary)["pruning"]


# -- beside that campaign


def test_switched_off_nothing_is_ended(hostile_folder: Path) -> None:
    text = SLOW.replace("[run]", "[run]\nprune = false")
    made = make_toy(hostile_folder / "arena", text, value=program(11, *curve(8)))
    names = [*(f"learned {n}" for n in range(1, LEAST)), "hopeless", "not finite"]
    with Campaign.open(made, TAG) as campaign:
        campaign.run(Writer([EXPERIMENTS[name] for name in names]), Limits())
        done = campaign.book.finished
        assert savings(campaign.book).words == ""
    assert len(done) > LEAST
    assert [e.score for e in done[-2:]] == [96.0, 96.0]
    assert [value for _, value in run_of(done[-2]).curve] == HOPELESS


def test_a_baseline_that_reports_what_is_not_finite_is_ended_and_said(hostile_folder: Path) -> None:
    made = make_toy(hostile_folder / "arena", SLOW, value=program(11, "inf", until=0.9))
    done = overnight(made, "run", "--experiments", "1")
    assert done.returncode == 4, done.stderr
    assert "reported loss=inf on its way" in done.stderr


def test_what_was_saved_is_told_in_few_words() -> None:
    assert Savings().words == ""
    told = Savings(1, 1, 5400.0, 0).words
    assert told == "1 run ended early, 1 h 30 min saved; wins lost: 0 of 1 control", told
