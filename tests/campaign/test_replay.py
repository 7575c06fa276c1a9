"""`overnight replay N` measures any past candidate again, and decides nothing by it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from overnight import Campaign, Limits
from overnight.core.errors import UsageError
from overnight.core.experiment import Purpose
from overnight.record.ledger import Ledger
from stages import eventually
from toy import ARENA, RUN, command, git, make_toy, overnight
from writer import Writer, run

GREEDY = '\n[judge]\nrule = "greedy"\n'
SEEDED = RUN + 'echo "X=$X.$((OVERNIGHT_SEED % 10))" > "$OVERNIGHT_OUT/value"\n'


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keep, a discard, a crash, and one that never became a candidate; scores vary by seed. Each
    replay adds measurements to it, and nothing else may change it."""
    toy = make_toy(tmp_path_factory.mktemp("done") / "arena", ARENA + GREEDY, run=SEEDED)
    run(toy, Writer(["X=8\n", "X=12\n", "oops(\n", "X=8\n"]))
    return toy


def frozen(toy: Path) -> object:
    """All that a replay may not change."""
    ledger = Ledger.at(toy / ".overnight" / "ledger.db", "toy")
    experiments = ledger.experiments("t")
    ledger.close()
    refs = git(toy, "for-each-ref", "refs/overnight", "refs/heads")
    return experiments, refs, (toy / ".overnight" / "results.tsv").read_text()


@pytest.mark.parametrize(("n", "before"), [(0, [7.0]), (1, [5.0]), (2, [9.0])])
def test_any_candidate_is_measured_again_with_new_seeds(
    done: Path, n: int, before: list[float]
) -> None:
    was = frozen(done)
    first = json.loads(command(done, "replay", str(n), "--json").stdout)
    again = json.loads(command(done, "replay", str(n), "--times", "2", "--json").stdout)
    assert first["before"] == again["before"] == before
    assert first["scores"] == before and first["spread"] is None and first["difference"] == 0
    assert again["scores"] == pytest.approx([before[0] + 0.1, before[0] + 0.2])
    assert again["mean"] == pytest.approx(before[0] + 0.15)
    assert again["spread"] == pytest.approx(0.0707, abs=1e-3)
    assert again["difference"] == pytest.approx(-0.15), "worse, where lower is better"
    assert frozen(done) == was
    shown = json.loads(command(done, "show", str(n), "--json").stdout)["measurements"]
    told = [(m["purpose"], m["seed"]) for m in shown]
    assert told == [("judge", 0)] + [("replay", 2_000_000 + k) for k in range(3)]


def test_the_command_says_it_in_words(done: Path) -> None:
    said = command(done, "replay", "1", "--times", "2")
    assert said.returncode == 0
    for words in (
        "keep, which stands",
        r"before +5\n",
        r"now +5[.\d]*, 5\.\d",
        r"-0\.\d+ \(worse\)",
    ):
        assert re.search(words, said.stdout), said.stdout


def test_a_crash_that_crashes_again_could_not_be_measured(done: Path) -> None:
    was = frozen(done)
    said = command(done, "replay", "3", "--times", "2")
    assert said.returncode == 4 and said.stdout.count("crashed") == 2
    assert frozen(done) == was


def test_a_replay_of_an_experiment_without_a_candidate_is_refused_with_a_sentence(
    done: Path,
) -> None:
    for n, words in ((4, "nothing editable was changed"), (9, "it has 0 to 4")):
        said = command(done, "replay", str(n))
        assert said.returncode == 2 and words in said.stderr and "Traceback" not in said.stderr
    said = command(done, "replay", "1", "--tag", "nowhere")
    assert said.returncode == 2 and not git(done, "branch", "--list", "overnight/nowhere")
    with Campaign.open(done, "t") as campaign, pytest.raises(UsageError, match="no experiment 9"):
        campaign.replay(9, 1)


def test_while_a_campaign_runs_there_is_no_replay(done: Path) -> None:
    with Campaign.open(done, "t"):
        said = overnight(done, "replay", "3")
    assert said.returncode == 1 and "overnight stop" in said.stderr
    assert command(done, "replay", "3").returncode == 4


def test_the_campaign_goes_on_as_if_nothing_had_been_replayed(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA + GREEDY)
    writer = Writer(["X=8\n", "X=7\n"])
    with Campaign.open(toy, "t") as campaign:
        campaign.run(writer, Limits(experiments=1))
        campaign.replay(1, 3)
        campaign.run(writer, Limits(experiments=1))
        assert campaign.incumbent.n == 2 and campaign.incumbent.gain == 1.0
        assert [m.seed for m in campaign.incumbent.measurements] == [0]


def test_a_stop_ends_a_replay_and_an_old_one_does_not(tmp_path: Path) -> None:
    slow = RUN + "test $OVERNIGHT_SEED = 0 || sleep 1\n"
    toy = make_toy(tmp_path / "arena", ARENA + GREEDY, run=slow)
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(Writer(["X=8\n"]))
        campaign.ledger.add_event("t", "stop-request", now=True)
    words = [sys.executable, "-m", "overnight", "replay", "1", "--times", "50", "-C", str(toy)]
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    ledger = Ledger.at(toy / ".overnight" / "ledger.db", "toy")
    begun = eventually(
        lambda: [m for m in ledger.under_way("t") if m.purpose is Purpose.REPLAY], 60
    )
    assert begun, "the replay never began"
    assert "is measured again" in command(toy, "status").stdout
    assert command(toy, "stop").returncode == 0
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0 and "now         5" in said
    whole = ledger.experiment("t", 1, whole=True)
    assert whole is not None and 1 < len(whole.measurements) < 10
    ledger.close()


def test_a_try_does_not_hear_a_stop_that_was_meant_for_another(toy: Path) -> None:
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(Writer(["X=12\n"]))
        campaign.ledger.add_event("t", "stop-request", now=True)
    (toy / "value.py").write_text("X=7\n")
    assert overnight(toy, "try", "-m", "lower").returncode == 0
