"""The campaign through its Python interface: what is kept, recorded, refused, repaired."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Idea, Limits, Verdict
from overnight.agents.base import Workbench
from overnight.agents.programs.command import CommandAgent
from overnight.arena.settings import AgentTable
from overnight.campaign.limits import StopKind, Stretch
from overnight.core.errors import CampaignBusy, UsageError, WorkspaceError
from overnight.insights.wall_time import TURNS
from overnight.record.book import Book
from overnight.repo.workspace import Workspace
from overnight.views.summary import summarize
from stages import eventually
from toy import ARENA, git, make_toy
from writer import Writer, run, verdicts


def made(toy: Path, name: str) -> bool:
    """Whether a stage that is under way has made a file of this name in one of its folders."""
    return bool(glob.glob(f"{glob.escape(str(toy))}/.overnight/worktrees/*/*/*/{name}"))


@dataclass(frozen=True)
class Night:
    """A campaign in a checkout with uncommitted work. Tests may only look at it."""

    toy: Path
    done: list[Experiment]
    before: tuple[str, bytes]
    """The state of the checkout and its index before the campaign."""


def checkout(toy: Path) -> tuple[str, bytes]:
    return git(toy, "status", "--porcelain"), (toy / ".git" / "index").read_bytes()


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    toy = make_toy(tmp_path_factory.mktemp("it's ein Ordner – ü") / "arena")
    (toy / "value.py").write_text("X=77\n")
    (toy / "new.txt").write_text("mine")
    git(toy, "add", "new.txt")
    before = checkout(toy)
    return Night(toy, run(toy, Writer(["X=8\n", "X=9\n", "X=4\n", "X=4.5\n"])), before)


def test_only_wins_are_on_the_branch(night: Night) -> None:
    done = night.done
    assert verdicts(done) == ["keep", "keep", "discard", "keep", "discard"]
    assert [e.score for e in done] == [7.0, 5.0, 6.0, 1.0, 1.5]
    assert [e.gain for e in done] == [None, 2.0, -1.0, 4.0, -0.5]
    subjects = git(night.toy, "log", "--format=%s", "overnight/t").splitlines()
    assert subjects == ["set X=4", "set X=8", "toy"]
    assert git(night.toy, "show", "overnight/t:value.py") == "X=4\n"


def test_every_candidate_stays_reachable_and_a_win_carries_trailers(night: Night) -> None:
    for e in night.done:
        assert git(night.toy, "rev-parse", f"refs/overnight/t/{e.n}").strip() == e.candidate
    trailers = git(night.toy, "log", "-1", "--format=%(trailers)", "overnight/t")
    assert "Overnight-Metric: loss 1" in trailers
    assert "Overnight-Gain: 4" in trailers
    assert "Overnight-Hypothesis: hypothesis 3" in trailers


def test_the_checkout_with_its_uncommitted_work_is_untouched(night: Night) -> None:
    assert night.done[0].score == 7.0, "the baseline is the commit, not the uncommitted change"
    assert checkout(night.toy) == night.before
    assert (night.toy / "value.py").read_text() == "X=77\n"
    assert git(night.toy, "branch", "--show-current").strip() == "main"


def test_a_campaign_warns_of_uncommitted_changes(toy: Path) -> None:
    (toy / "value.py").write_text("X=77\n")
    with Campaign.open(toy, "t") as campaign:
        assert any(
            "uncommitted" in warning and "value.py" in warning for warning in campaign.warnings
        )


@pytest.mark.parametrize(
    ("limits", "values", "kind", "count"),
    [
        ({"experiments": 2}, ["X=8", "X=7", "X=6"], StopKind.EXPERIMENTS, 3),
        ({"target": 1.5}, ["X=8", "X=4", "X=3"], StopKind.TARGET, 3),
        ({"plateau": 2}, ["X=8", "X=9", "X=9.5", "X=3"], StopKind.PLATEAU, 4),
        ({"hours": 0.0}, ["X=8"], StopKind.HOURS, 1),
        ({}, ["X=8"], StopKind.EXHAUSTED, 2),
    ],
)
def test_limits_end_a_campaign_and_the_reason_is_recorded(
    toy: Path, limits: dict[str, float], values: list[str], kind: StopKind, count: int
) -> None:
    observed: list[Experiment] = []
    with Campaign.open(toy, "t") as campaign:
        agent = Writer([f"{value}\n" for value in values])
        stop = campaign.run(agent, Limits(**limits), observed.append)  # type: ignore[arg-type]
        recorded = campaign.ledger.events("t", "stop")[-1]
    assert stop.kind is kind and len(observed) == count
    assert recorded.data["reason"] == kind.value and recorded.data["words"] == stop.words


def test_the_same_call_again_goes_on_with_a_new_allowance(toy: Path) -> None:
    agent = Writer([f"X={9 - n}\n" for n in range(9)])
    assert [e.n for e in run(toy, agent, experiments=2)] == [0, 1, 2]
    assert [e.n for e in run(toy, agent, experiments=2)] == [3, 4]


def test_a_second_driver_of_a_campaign_is_refused(toy: Path) -> None:
    with (
        Campaign.open(toy, "t"),
        pytest.raises(CampaignBusy, match=rf"process {os.getpid()}.*overnight stop"),
    ):
        Campaign.open(toy, "t")
    Campaign.open(toy, "t").close()


def test_a_campaign_that_could_not_be_opened_holds_no_lock(toy: Path) -> None:
    run(toy, Writer(["X=5\n"]))
    kept = git(toy, "rev-parse", "overnight/t").strip()
    git(
        toy,
        "update-ref",
        "refs/heads/overnight/t",
        git(toy, "commit-tree", "-m", "x", "HEAD^{tree}").strip(),
    )
    with pytest.raises(WorkspaceError, match="git branch -m") as kept_alive:
        Campaign.open(toy, "t")
    git(toy, "update-ref", "refs/heads/overnight/t", kept)
    Campaign.open(toy, "t").close()
    assert kept_alive


def test_a_full_disk_ends_the_campaign_with_a_recorded_reason(toy: Path) -> None:
    @dataclass
    class Blocker:
        """Makes the folder of the next proposal's logs impossible."""

        name: str = "blocker"

        def propose(self, bench: Workbench) -> Idea | None:
            logs = bench.transcript.parent.with_name(str(bench.n + 1))
            logs.write_text("a file where a folder must be")
            (bench.folder / "value.py").write_text(f"X={bench.n}\n")
            return Idea("blocks")

    with Campaign.open(toy, "t") as campaign:
        with pytest.raises(OSError):
            campaign.run(Blocker(), Limits(experiments=5))
        stop = campaign.ledger.events("t", "stop")[-1]
    assert stop.data["reason"] == "error" and "File exists" in str(stop.data["words"])
    (toy / ".overnight" / "logs" / "t" / "proposals" / "2").unlink()
    assert verdicts(run(toy, Writer(["", "X=4\n"]), experiments=1)) == ["keep"]


def test_a_stop_from_another_process_ends_it_after_the_experiment(toy: Path) -> None:
    @dataclass
    class Slow:
        name: str = "slow"

        def propose(self, bench: Workbench) -> Idea | None:
            if bench.n == 2:
                command = [sys.executable, "-m", "overnight", "stop", "-C", str(toy)]
                subprocess.run(command, check=True, capture_output=True)
            (bench.folder / "value.py").write_text(f"X={9 - bench.n}\n")
            return Idea("down")

    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(Slow(), Limits(experiments=9))
        assert stop.kind is StopKind.ASKED and campaign.book.latest.n == 2


def test_a_stop_at_once_leaves_the_experiment_to_the_next_run(tmp_path: Path) -> None:
    run_text = 'cp value.py "$OVERNIGHT_OUT/value"; grep -q X=8 value.py && sleep 30 || true\n'
    toy = make_toy(tmp_path / "arena", run=run_text)
    with Campaign.open(toy, "t") as campaign:

        def stop_while_it_runs(book: Book) -> None:
            if any(m.n == 1 for m in book.under_way):
                campaign.stopping.set()

        campaign.loop.changed = stop_while_it_runs
        began = time.monotonic()
        stop = campaign.run(Writer(["X=8\n"]), Limits())
        assert stop.kind is StopKind.ASKED and time.monotonic() - began < 20
    with Campaign.open(toy, "t") as campaign:
        (left,) = campaign.ledger.unfinished("t")
        assert left.n == 1 and left.candidate is not None and not left.measurements


def test_a_branch_whose_campaign_the_ledger_has_lost_is_kept_and_another_tag_is_named(
    toy: Path,
) -> None:
    run(toy, Writer(["X=8\n"]))
    won = git(toy, "rev-parse", "overnight/t")
    for file in (toy / ".overnight").glob("ledger.db*"):
        file.write_bytes(b"") if file.suffix == ".db" else file.unlink()
    git(toy, "branch", "overnight/t-2")
    with pytest.raises(WorkspaceError, match="exists already") as told:
        Campaign.open(toy, "t")
    assert "branch -D" not in str(told.value)
    with Campaign.open(toy, str(told.value).rpartition("--tag ")[2]) as campaign:
        assert campaign.branch == "overnight/t-3"
    assert git(toy, "rev-parse", "overnight/t") == won


def test_a_branch_that_somebody_moved_is_refused_and_not_overwritten(toy: Path) -> None:
    run(toy, Writer(["X=8\n"]))
    git(toy, "commit", "--allow-empty", "--quiet", "-m", "mine")
    mine = git(toy, "rev-parse", "HEAD").strip()
    git(toy, "update-ref", "refs/heads/overnight/t", mine)
    with pytest.raises(WorkspaceError, match=r"git branch -m overnight/t"):
        Campaign.open(toy, "t")
    assert git(toy, "rev-parse", "overnight/t").strip() == mine


def test_a_branch_that_is_checked_out_is_left_alone_and_caught_up_later(toy: Path) -> None:
    git(toy, "commit", "--allow-empty", "--quiet", "-m", "one more")
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(Writer(["X=8\n"]))
        git(toy, "checkout", "--quiet", "overnight/t")
        before = git(toy, "rev-parse", "HEAD")
        kept = campaign.try_(Writer(["X=8\n", "X=7\n"]))
        assert kept is not None and kept.verdict is Verdict.KEEP
        campaign.try_(Writer(["", "", "X=9\n"]))
        assert git(toy, "rev-parse", "HEAD") == before
        warned = [warning for warning in campaign.warnings if "checked out" in warning]
        assert len(warned) == 1, "once for a commit, not at each verdict"
    git(toy, "checkout", "--quiet", "main")
    Campaign.open(toy, "t").close()
    assert git(toy, "show", "overnight/t:value.py") == "X=7\n"


def test_a_change_that_was_finished_before_a_stop_at_once_is_not_lost(toy: Path) -> None:
    class Slow(Writer):
        def propose(self, bench: Workbench) -> Idea | None:
            time.sleep(1)  # the loop looks meanwhile
            return super().propose(bench)

    with Campaign.open(toy, "t") as campaign:
        campaign.try_(Writer([""]))

        def stop_late(book: Book) -> None:
            if book.asked:
                place = toy / ".overnight" / "worktrees" / "t" / "agent"
                assert eventually(lambda: not place.exists(), 60), "it is deleted last"
                time.sleep(0.5)  # the agent is done now, but its change is not recorded
                campaign.stopping.set()

        campaign.loop.changed = stop_late
        agent = Slow(["", "X=8\n"])
        assert campaign.run(agent, Limits()).kind is StopKind.ASKED
        with pytest.raises(UsageError, match="stopped at once; open it again"):
            campaign.run(agent, Limits())
    with Campaign.open(toy, "t") as campaign:
        assert [e.description for e in campaign.book.unfinished] == ["set X=8"]
        campaign.run(Writer([]), Limits())
        assert campaign.incumbent.n == 2 and campaign.incumbent.score == 5.0


def test_a_result_is_kept_when_its_folder_cannot_be_deleted(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Workspace.remove

    def stuck(workspace: Workspace, folder: Path) -> None:
        if folder.name.startswith("run-"):
            raise WorkspaceError(f"{folder} cannot be deleted: it is busy")
        remove(workspace, folder)

    monkeypatch.setattr(Workspace, "remove", stuck)
    with Campaign.open(toy, "t") as campaign:
        kept = campaign.try_(Writer(["X=8\n"]))
        assert kept is not None and kept.score == 5.0
        assert any("of experiment 1: /" in w and "it is busy" in w for w in campaign.warnings)


def test_the_time_in_which_a_driver_was_dead_counts_for_nothing(toy: Path) -> None:
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(Writer(["X=8\n"]))
        Stretch.begin(campaign.book, Limits())  # and dies: no stop is recorded
    time.sleep(3)
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Writer(["", "X=7\n"]), Limits())
        summary = summarize(campaign.book)
        turns = [turn.kind for turn in campaign.book.events(*TURNS)]
    assert turns == ["start", "resume", "stop"]
    assert 0 < summary.seconds < 3


def test_a_stop_at_once_is_heard_while_an_agent_thinks(toy: Path) -> None:
    asked = [sys.executable, "-m", "overnight", "stop", "--now", "-C", str(toy)]
    thinker = CommandAgent("thinker", AgentTable(command="touch thinking; sleep 60"))

    def ask() -> None:
        while not made(toy, "thinking"):
            time.sleep(0.05)
        subprocess.run(asked, check=True)

    with Campaign.open(toy, "t") as campaign:
        began = time.monotonic()
        threading.Thread(target=ask, daemon=True).start()
        assert campaign.run(thinker, Limits()).kind is StopKind.ASKED
        assert time.monotonic() - began < 30
    with Campaign.open(toy, "t") as campaign:
        assert campaign.book.latest.n == 0, "what was only thought of is forgotten"


def test_a_check_that_a_stop_ended_is_no_verdict(tmp_path: Path) -> None:
    line = 'grep -q X=10 value.py || { touch "$OVERNIGHT_OUT/checking"; sleep 60; }'
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[checks]\nslow = '''{line}'''\n")
    with Campaign.open(toy, "t") as campaign:

        def stop_the_check() -> None:
            while not made(toy, "checking"):
                time.sleep(0.05)
            campaign.stopping.set()

        threading.Thread(target=stop_the_check, daemon=True).start()
        assert campaign.run(Writer(["X=5\n"]), Limits()).kind is StopKind.ASKED
        (left,) = campaign.ledger.unfinished("t")
        assert left.n == 1 and left.scores == (2.0, 2.0, 2.0)


def test_interrupting_the_driver_ends_its_processes_and_is_recorded(tmp_path: Path) -> None:
    run_text = 'cp value.py "$OVERNIGHT_OUT/value"; touch "$OVERNIGHT_OUT/started"; sleep 41.5\n'
    toy = make_toy(tmp_path / "arena", run=run_text)
    command = [sys.executable, "-m", "overnight", "run", "-C", str(toy), "--experiments", "1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not made(toy, "started"):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(20) == 130
    assert subprocess.run(["pgrep", "-f", "sleep 41.5"], check=False).returncode == 1
    with Campaign.open(toy) as campaign:
        assert campaign.ledger.events(campaign.tag, "stop")[-1].data["reason"] == "interrupted"
