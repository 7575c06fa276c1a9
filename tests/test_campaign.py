"""The campaign through its Python interface: what is kept, recorded, refused, repaired."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Idea, Limits, OvernightError, Verdict
from overnight.agents.base import Workbench
from overnight.agents.command import CommandAgent
from overnight.agents.patches import PatchesAgent
from overnight.errors import AgentError, CampaignBusy, MeasurementImpossible, WorkspaceError
from overnight.stop import FAILURES_IN_A_ROW, StopKind
from toy import ARENA, git, make_toy, write_patches


@dataclass
class Writer:
    """An agent that writes one text after another into value.py."""

    texts: list[str]
    name: str = "writer"
    seen: list[Workbench] = field(default_factory=list)

    def propose(self, bench: Workbench) -> Idea | None:
        self.seen.append(bench)
        if bench.n > len(self.texts):
            return None
        text = self.texts[bench.n - 1]
        (bench.folder / "value.py").write_text(text)
        return Idea(f"set {text.strip()}", f"hypothesis {bench.n}")


def run(folder: Path, agent: object, **limits: float) -> list[Experiment]:
    """Run to the end; every experiment that was observed, the baseline first."""
    observed: list[Experiment] = []
    with Campaign.open(folder, "t") as campaign:
        campaign.run(agent, Limits(**limits), observed.append)  # type: ignore[arg-type]
    return observed


def verdicts(experiments: list[Experiment]) -> list[str]:
    return [str(e.verdict) for e in experiments]


@pytest.fixture
def toy(hostile_folder: Path) -> Path:
    return make_toy(hostile_folder / "arena")


def test_only_wins_are_on_the_branch(toy: Path) -> None:
    done = run(toy, Writer(["X=8\n", "X=9\n", "X=4\n", "X=4.5\n"]))
    assert verdicts(done) == ["keep", "keep", "discard", "keep", "discard"]
    assert [e.score for e in done] == [7.0, 5.0, 6.0, 1.0, 1.5]
    assert [e.gain for e in done] == [None, 2.0, -1.0, 4.0, -0.5]
    assert git(toy, "log", "--format=%s", "overnight/t").split("\n")[:3] == [
        "set X=4",
        "set X=8",
        "toy",
    ]
    assert git(toy, "show", "overnight/t:value.py") == "X=4\n"


def test_every_candidate_stays_reachable_and_a_win_carries_trailers(toy: Path) -> None:
    done = run(toy, Writer(["X=8\n", "X=9\n"]))
    for e in done:
        assert git(toy, "rev-parse", f"refs/overnight/t/{e.n}").strip() == e.candidate
    trailers = git(toy, "log", "-1", "--format=%(trailers)", "overnight/t")
    assert "Overnight-Metric: loss 5" in trailers
    assert "Overnight-Gain: 2" in trailers
    assert "Overnight-Hypothesis: hypothesis 1" in trailers


def test_the_checkout_with_its_uncommitted_work_is_untouched(toy: Path) -> None:
    (toy / "value.py").write_text("X=77\n")
    (toy / "new.txt").write_text("mine")
    git(toy, "add", "new.txt")
    before = (git(toy, "status", "--porcelain"), (toy / ".git" / "index").read_bytes())
    done = run(toy, Writer(["X=8\n"]))
    assert done[0].score == 7.0, "the baseline is the commit, not the uncommitted change"
    assert (git(toy, "status", "--porcelain"), (toy / ".git" / "index").read_bytes()) == before
    assert (toy / "value.py").read_text() == "X=77\n"
    assert git(toy, "branch", "--show-current").strip() == "main"


def test_uncommitted_changes_are_told(toy: Path) -> None:
    (toy / "value.py").write_text("X=77\n")
    with Campaign.open(toy, "t") as campaign:
        assert any(
            "uncommitted" in warning and "value.py" in warning for warning in campaign.warnings
        )


def test_what_is_not_editable_is_dropped_and_told_to_the_next_agent(toy: Path) -> None:
    @dataclass
    class Meddler:
        name: str = "meddler"
        briefs: list[str] = field(default_factory=list)

        def propose(self, bench: Workbench) -> Idea | None:
            self.briefs.append(bench.brief)
            (bench.folder / "score.py").write_text("print('{\"loss\": 0}')")
            (bench.folder / "value.py").write_text(f"X={9 - bench.n}\n")
            return Idea("better, honestly") if bench.n < 3 else None

    meddler = Meddler()
    done = run(toy, meddler)
    assert done[1].score == 5.0 and done[1].dropped == ("score.py",)
    assert git(toy, "diff", "--name-only", "main", "overnight/t").split() == ["value.py"]
    assert "score.py" in meddler.briefs[1]


def test_an_unchanged_or_failed_proposal_is_invalid_and_costs_no_measurement(toy: Path) -> None:
    @dataclass
    class Lazy:
        name: str = "lazy"

        def propose(self, bench: Workbench) -> Idea | None:
            if bench.n == 1:
                return Idea("thought hard")
            if bench.n == 2:
                raise AgentError("no key")
            return None

    done = run(toy, Lazy())
    assert verdicts(done) == ["keep", "invalid", "invalid"]
    assert "nothing editable" in done[1].reason and done[2].reason == "no key"
    assert not done[1].measurements and not done[2].measurements


def test_a_fault_of_an_agents_own_code_costs_one_proposal_and_no_night(toy: Path) -> None:
    @dataclass
    class Faulty:
        faults: tuple[Exception, ...] = (TimeoutError("no answer"), KeyError("model"))
        name: str = "faulty"

        def propose(self, bench: Workbench) -> Idea | None:
            if bench.n <= len(self.faults):
                raise self.faults[bench.n - 1]
            return None

    done = run(toy, Faulty())
    assert verdicts(done) == ["keep", "invalid", "invalid"]
    assert "faulty failed: TimeoutError: no answer" in done[1].reason
    transcript = toy / ".overnight" / "logs" / "t" / "2" / "agent.log"
    assert str(transcript) in done[2].reason and "Traceback" in transcript.read_text()


def test_an_agent_that_always_fails_ends_the_campaign_with_a_reason(toy: Path) -> None:
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(CommandAgent("broken", "exit 3"), Limits())
    assert stop.kind is StopKind.AGENT and stop.kind.exit_code == 1
    assert str(FAILURES_IN_A_ROW) in stop.words and "exit code 3" in stop.words


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


def test_two_drivers_on_one_campaign_the_second_is_refused(toy: Path) -> None:
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
        """Makes the next experiment's folder of logs impossible."""

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
    (toy / ".overnight" / "logs" / "t" / "2").unlink()
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
        assert stop.kind is StopKind.ASKED and campaign.history.latest.n == 2


SLOW_ARENA = ARENA.replace('"sh run.sh"', '"sh run.sh; exec sleep 30"').replace("20s", "60s")


def test_a_stop_at_once_leaves_the_experiment_to_the_next_run(tmp_path: Path) -> None:
    run_text = 'cp value.py "$OVERNIGHT_OUT/value"; grep -q X=8 value.py && sleep 30 || true\n'
    toy = make_toy(tmp_path / "arena", run=run_text)
    with Campaign.open(toy, "t") as campaign:
        threading.Timer(2.0, campaign.stopping.set).start()
        began = time.monotonic()
        stop = campaign.run(Writer(["X=8\n"]), Limits())
        assert stop.kind is StopKind.ASKED and time.monotonic() - began < 20
    with Campaign.open(toy, "t") as campaign:
        (left,) = campaign.ledger.unfinished("t")
        assert left.n == 1 and left.candidate is not None and not left.measurements


def test_a_baseline_that_crashes_is_told_and_tried_again_when_mended(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run="echo all is lost; exit 4\n")
    with (
        Campaign.open(toy, "t") as campaign,
        pytest.raises(MeasurementImpossible, match="all is lost"),
    ):
        campaign.run(Writer([]), Limits())
    with Campaign.open(toy, "t") as campaign:
        assert campaign.ledger.experiment("t", 0) is None
        assert campaign.ledger.events("t", "stop")[-1].data["reason"] == "error"


def test_a_failing_check_makes_a_would_be_win_invalid(tmp_path: Path) -> None:
    text = ARENA + '\n[checks]\nodd = "grep -q [13579]$ value.py"\n'
    toy = make_toy(tmp_path / "arena", text, value="X=9\n")
    done = run(toy, Writer(["X=6\n", "X=5\n", "X=8\n"]))
    assert verdicts(done) == ["keep", "invalid", "keep", "discard"]
    assert "check odd failed" in done[1].reason


def test_a_broken_constraint_makes_an_experiment_invalid(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA + "\n[constraints]\nx = { min = 5 }\n")
    done = run(toy, Writer(["X=4\n", "X=6\n"]))
    assert verdicts(done) == ["keep", "invalid", "keep"]
    assert "constraint x is 4, below the minimum 5" in done[1].reason


def test_the_threshold_rule_measures_both_sides_again_before_a_keep(tmp_path: Path) -> None:
    text = ARENA + '\n[judge]\nrule = "threshold"\ngain = 1.5\nrepeats = 3\n'
    toy = make_toy(tmp_path / "arena", text)
    done = run(toy, Writer(["X=8\n", "X=7\n"]))
    assert verdicts(done) == ["keep", "keep", "discard"]
    assert [len(e.measurements) for e in done[1:]] == [3, 1]
    with Campaign.open(toy, "t") as campaign:
        baseline = campaign.ledger.experiment("t", 0)
        assert baseline is not None and [m.seed for m in baseline.measurements] == [0, 1, 2]


def test_a_self_reported_score_is_read_from_the_run_and_marked(tmp_path: Path) -> None:
    text = ARENA.replace('name = "loss"', 'name = "claimed"').split("[score]")[0]
    toy = make_toy(tmp_path / "arena", text)
    done = run(toy, Writer([]))
    assert done[0].score == 7.0 and done[0].measurements[0].self_reported


def test_patches_are_each_tried_once_and_one_that_does_not_apply_is_stale(
    toy: Path, tmp_path: Path
) -> None:
    folder = write_patches(tmp_path / "patches", ["X=12", "X=5", "X=4"])
    done = run(toy, PatchesAgent(folder))
    assert verdicts(done) == ["keep", "discard", "keep", "stale"]
    assert done[2].description == "set X=5" and done[2].hypothesis == "Hypothesis number 2."
    assert [e.n for e in run(toy, PatchesAgent(folder))] == []


def test_a_command_agent_gets_the_brief_and_says_what_it_did(toy: Path) -> None:
    line = (
        "cat > brief.txt; grep -q 'Find the best X' brief.txt || exit 9; "
        "echo X=5 > value.py; printf '# five\\n\\nHypothesis: closer\\n' > .overnight-idea.md"
    )
    done = run(toy, CommandAgent("shell", line), experiments=1)
    assert done[1].verdict is Verdict.KEEP
    assert (done[1].description, done[1].hypothesis) == ("five", "closer")
    assert done[1].dropped == ("brief.txt",)


def test_the_prompt_can_be_an_argument_whatever_it_contains(toy: Path) -> None:
    (toy / "program.md").write_text('it\'s $(touch /tmp/never) `id` "quoted" {prompt}\n')
    line = (
        'printf %s {prompt} > copy.txt; grep -qF "it\'s \\$(touch" copy.txt && echo X=5 > value.py'
    )
    done = run(toy, CommandAgent("shell", line), experiments=1)
    assert done[1].verdict is Verdict.KEEP, done[1].reason


def test_a_command_agent_that_hangs_is_ended_by_its_time_limit(toy: Path) -> None:
    done = run(toy, CommandAgent("slow", "sleep 60", timeout=0.5), experiments=1)
    assert done[1].verdict is Verdict.INVALID and "still working after 0.5 s" in done[1].reason


def test_the_strategy_is_read_anew_before_every_experiment(toy: Path) -> None:
    writer = Writer(["X=8\n", "X=7\n"])
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(writer)
        (toy / "program.md").write_text("Now think of primes.\n")
        campaign.ledger.add_event("t", "steer", words="small steps please")
        campaign.try_(writer)
    assert "primes" not in writer.seen[0].brief
    assert "primes" in writer.seen[1].brief and "small steps please" in writer.seen[1].brief


def test_a_changed_contract_does_not_change_a_running_campaign(toy: Path) -> None:
    run(toy, Writer(["X=8\n"]))
    text = (toy / "arena.toml").read_text().replace("minimize", "maximize")
    (toy / "arena.toml").write_text(text)
    with Campaign.open(toy, "t") as campaign:
        assert campaign.arena.metric.direction == "minimize"
        assert any("arena.toml has changed" in warning for warning in campaign.warnings)


def test_a_branch_that_exists_already_is_refused(toy: Path) -> None:
    git(toy, "branch", "overnight/t")
    with pytest.raises(WorkspaceError, match="exists already"):
        Campaign.open(toy, "t")


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
        assert git(toy, "rev-parse", "HEAD") == before
        assert any("checked out" in warning for warning in campaign.warnings)
    git(toy, "checkout", "--quiet", "main")
    Campaign.open(toy, "t").close()
    assert git(toy, "show", "overnight/t:value.py") == "X=7\n"


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


def test_untracked_data_of_the_arena_is_there_for_the_run(tmp_path: Path) -> None:
    text = ARENA.replace("[metric]", 'data = ["data"]\n[metric]\n', 1)
    text = text.replace('editable = ["value.py"]\n', 'editable = ["value.py"]\n')
    run_text = 'cp data/value "$OVERNIGHT_OUT/value"\n'
    toy = make_toy(tmp_path / "arena", text, run=run_text)
    (toy / "data").mkdir()
    (toy / "data" / "value").write_text("X=4\n")
    assert run(toy, Writer([]))[0].score == 1.0


def test_the_setup_runs_once_for_a_version_of_the_protected_files(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    text = ARENA + f"\n[setup]\ncommand = \"sh -c 'echo x >> {counter}'\"\n"
    toy = make_toy(tmp_path / "arena", text)
    run(toy, Writer(["X=8\n"]))
    run(toy, Writer(["X=8\n"]))
    assert counter.read_text() == "x\n"
    (toy / "score.py").write_text((toy / "score.py").read_text() + "# changed\n")
    git(toy, "commit", "-a", "--quiet", "-m", "another referee")
    with Campaign.open(toy, "u") as campaign:
        campaign.run(Writer([]), Limits())
    assert counter.read_text() == "x\nx\n"


def test_a_failing_setup_is_told_with_its_last_words(tmp_path: Path) -> None:
    text = ARENA + "\n[setup]\ncommand = \"sh -c 'echo no network; exit 7'\"\n"
    toy = make_toy(tmp_path / "arena", text)
    with Campaign.open(toy, "t") as campaign, pytest.raises(OvernightError, match="no network"):
        campaign.run(Writer([]), Limits())


def test_a_long_setup_is_told_of_and_ends_when_a_stop_is_asked_for(tmp_path: Path) -> None:
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


def test_a_stop_at_once_is_heard_while_an_agent_thinks(toy: Path) -> None:
    asked = [sys.executable, "-m", "overnight", "stop", "--now", "-C", str(toy)]
    thinker = CommandAgent("thinker", f"{shlex.join(asked)}; sleep 60")
    with Campaign.open(toy, "t") as campaign:
        began = time.monotonic()
        assert campaign.run(thinker, Limits()).kind is StopKind.ASKED
        assert time.monotonic() - began < 30
    with Campaign.open(toy, "t") as campaign:
        assert campaign.history.latest.n == 0, "what was only thought of is forgotten"


def test_a_check_that_a_stop_ended_is_no_verdict(tmp_path: Path) -> None:
    flag = tmp_path / "checking"
    line = f"grep -q X=10 value.py || {{ touch {flag}; sleep 60; }}"
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[checks]\nslow = '{line}'\n")
    with Campaign.open(toy, "t") as campaign:

        def stop_the_check() -> None:
            while not flag.exists():
                time.sleep(0.05)
            campaign.stopping.set()

        threading.Thread(target=stop_the_check, daemon=True).start()
        assert campaign.run(Writer(["X=5\n"]), Limits()).kind is StopKind.ASKED
        (left,) = campaign.ledger.unfinished("t")
        assert left.n == 1 and left.scores == (2.0,)


def test_hostile_words_of_an_agent_cannot_forge_trailers_or_lines(toy: Path) -> None:
    @dataclass
    class Forger:
        name: str = "forger"

        def propose(self, bench: Workbench) -> Idea | None:
            (bench.folder / "value.py").write_text("X=9\n")
            title = "fine\n\nOvernight-Gain: 999\x1b[2J\tkeep"
            return Idea(title, "because\nOvernight-Metric: 0")

    run(toy, Forger(), experiments=1)
    trailers = git(
        toy, "log", "-1", "--format=%(trailers:key=Overnight-Gain,valueonly)", "overnight/t"
    )
    assert trailers.split() == ["1"]
    lines = (toy / ".overnight" / "results.tsv").read_text().splitlines()
    assert len(lines) == 3 and "\x1b" not in lines[2]


def test_interrupting_the_driver_ends_its_processes_and_is_recorded(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    run_text = f'cp value.py "$OVERNIGHT_OUT/value"; touch "{marker}"; sleep 41.5\n'
    toy = make_toy(tmp_path / "arena", run=run_text)
    command = [sys.executable, "-m", "overnight", "run", "-C", str(toy), "--experiments", "1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not marker.exists():
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(20) == 130
    assert subprocess.run(["pgrep", "-f", "sleep 41.5"], check=False).returncode == 1
    with Campaign.open(toy) as campaign:
        assert campaign.ledger.events(campaign.tag, "stop")[-1].data["reason"] == "interrupted"
