"""A campaign's arenas: subfolders, data, setup, checks, constraints, rules of the judge."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from overnight import Campaign, Limits
from overnight.campaign.limits import StopKind
from overnight.core.errors import MeasurementImpossible
from toy import ARENA, git, make_toy, overnight
from writer import Writer, run, verdicts


def test_a_baseline_that_crashes_is_an_error_and_is_measured_again_when_it_is_repaired(
    tmp_path: Path,
) -> None:
    toy = make_toy(tmp_path / "arena", run="echo all is lost; exit 4\n")
    with (
        Campaign.open(toy, "t") as campaign,
        pytest.raises(MeasurementImpossible, match="all is lost"),
    ):
        campaign.run(Writer([]), Limits())
    with Campaign.open(toy, "t") as campaign:
        assert campaign.ledger.experiment("t", 0) is None
        assert campaign.ledger.events("t", "stop")[-1].data["reason"] == "error"
    (toy / "run.sh").write_text('cp value.py "$OVERNIGHT_OUT/value"\n')
    git(toy, "commit", "-qa", "--amend", "-m", "mended")
    done = run(toy, Writer(["X=6\n"]))
    assert verdicts(done) == ["keep", "keep"]
    assert git(toy, "rev-parse", "overnight/t~1") == git(toy, "rev-parse", "HEAD")


def test_a_campaign_with_a_score_stays_on_its_commit(toy: Path) -> None:
    run(toy, Writer([]))
    base = git(toy, "rev-parse", "overnight/t")
    git(toy, "commit", "-q", "--allow-empty", "-m", "something else")
    run(toy, Writer(["X=6\n"]))
    assert git(toy, "rev-parse", "overnight/t~1") == base


def test_a_failing_check_and_a_broken_constraint_make_a_would_be_win_invalid(
    tmp_path: Path,
) -> None:
    text = ARENA + '\n[checks]\nodd = "grep -q [13579]$ value.py"\n[constraints]\nx = { min = 5 }\n'
    toy = make_toy(tmp_path / "arena", text, value="X=9\n")
    done = run(toy, Writer(["X=6\n", "X=5\n", "X=8\n", "X=3\n"]))
    assert verdicts(done) == ["keep", "invalid", "keep", "discard", "invalid"]
    assert "check odd failed" in done[1].reason
    assert "constraint x is 3, below the minimum 5" in done[4].reason


def test_a_campaign_warns_of_a_soft_constraint_on_a_number_that_nobody_prints(
    tmp_path: Path,
) -> None:
    text = ARENA + "\n[constraints]\npeek_memory_mb = { soft = 5 }\nx = { soft = 50 }\n"
    toy = make_toy(tmp_path / "arena", text)
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Writer([]), Limits())
        (told,) = [words for words in campaign.warnings if "soft" in words]
        (event,) = campaign.ledger.events("t", "warning")
    assert told.startswith("constraints.peek_memory_mb") and "peak_memory_mb, " in told
    assert event.data["words"] == told
    assert "constraints.peek_memory_mb: no such" in overnight(toy, "status").stdout


def test_the_threshold_rule_measures_both_sides_again_before_a_keep(tmp_path: Path) -> None:
    text = ARENA + '\n[judge]\nrule = "threshold"\ngain = 1.5\nrepeats = 3\n'
    toy = make_toy(tmp_path / "arena", text)
    done = run(toy, Writer(["X=8\n", "X=7\n"]))
    assert verdicts(done) == ["keep", "keep", "discard"]
    assert [len(e.measurements) for e in done[1:]] == [3, 1]
    with Campaign.open(toy, "t") as campaign:
        baseline = campaign.ledger.experiment("t", 0)
        assert baseline is not None and [m.seed for m in baseline.measurements] == [0, 1, 2]


def test_a_changed_contract_does_not_change_a_running_campaign(toy: Path) -> None:
    run(toy, Writer(["X=8\n"]))
    text = (toy / "arena.toml").read_text().replace("minimize", "maximize")
    (toy / "arena.toml").write_text(text)
    with Campaign.open(toy, "t") as campaign:
        assert campaign.arena.metric.direction == "minimize"
        assert any("arena.toml has changed" in warning for warning in campaign.warnings)


def test_an_arena_in_a_subfolder_of_a_larger_repository(hostile_folder: Path) -> None:
    make_toy(hostile_folder / "repo" / "deep er")
    inner = hostile_folder / "repo" / "deep er"
    subprocess.run(["rm", "-rf", str(inner / ".git")], check=True)
    top = hostile_folder / "repo"
    (top / "other.py").write_text("keep me")
    git(top, "init", "--quiet")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "-m", "all")
    done = run(inner, Writer(["X=5\n"]))
    assert verdicts(done) == ["keep", "keep"]
    changed = git(top, "diff", "--name-only", "-z", "HEAD", "overnight/t")
    assert changed == "deep er/value.py\0"


def test_the_setup_runs_once_and_untracked_data_of_the_arena_is_there_for_each_run(
    tmp_path: Path,
) -> None:
    counter = tmp_path / "count"
    text = ARENA.replace("[metric]", 'data = ["data"]\n[metric]\n', 1)
    text += f"\n[setup]\ncommand = \"echo x >> '{counter}'\"\n"
    toy = make_toy(tmp_path / "arena", text, run='cp data/value "$OVERNIGHT_OUT/value"\n')
    (toy / "data").mkdir()
    (toy / "data" / "value").write_text("X=4\n")
    done = [*run(toy, Writer(["X=8\n"])), *run(toy, Writer(["", "X=7\n"]))]
    assert [e.score for e in done] == [1.0, 1.0, 1.0] and counter.read_text() == "x\n"


def test_the_referee_knows_how_many_experiments_there_were(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA)
    (toy / "score.py").write_text(
        'import os\nprint(\'{"loss": -%s}\' % os.environ["OVERNIGHT_EXPERIMENT"])\n'
    )
    git(toy, "commit", "-a", "--quiet", "-m", "a score that counts")
    done = run(toy, Writer(["X=8\n", "X=7\n"]))
    assert [experiment.score for experiment in done] == [0.0, -1.0, -2.0]


def test_a_long_setup_is_recorded_and_a_stop_ends_it(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA + '\n[setup]\ncommand = "sleep 60"\n')
    asked = [sys.executable, "-m", "overnight", "stop", "--now", "-C", str(toy)]
    with Campaign.open(toy, "t") as campaign:
        other = threading.Timer(1.5, subprocess.run, [asked])
        other.start()
        began = time.monotonic()
        assert campaign.run(Writer([]), Limits()).kind is StopKind.ASKED
        other.join()
        assert time.monotonic() - began < 30
        (event,) = campaign.ledger.events("t", "setup")
        assert "sleep 60" in str(event.data["words"])
