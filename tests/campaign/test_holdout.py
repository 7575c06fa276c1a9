"""The final exam: who sits it and when, what it changes (nothing), and who meets its results."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exam import EXAM, SECRET, TABLE, hidden_folder, make_exam
from night import Night
from overnight import Campaign, Limits
from overnight.agents.programs.command import CommandAgent
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.campaign.exams import EXAM_SEED, due
from overnight.core.experiment import Experiment, Measurement, Outcome, Purpose, Verdict
from overnight.record.ledger import Ledger
from toy import ARENA, RUN, git, make_toy
from writer import Writer, run, verdicts

EVERY_2 = TABLE + "every = 2\n"
THRESHOLD = '\n[judge]\nrule = "threshold"\ngain = 0.5\nrepeats = 2\n'
DOWN = [f"X={9 - n}\n" for n in range(5)]


def holdouts(toy: Path, tag: str = "t") -> dict[int, Measurement]:
    """Number → final exam. Each experiment has at most one, whatever happened."""
    ledger = Ledger.at(toy / ".overnight" / "ledger.db", "toy")
    found: dict[int, Measurement] = {}
    for e in ledger.experiments(tag):
        whole = ledger.experiment(tag, e.n, whole=True)
        assert whole is not None and whole.judged == e.measurements
        taken = [m for m in whole.measurements if m.purpose is Purpose.HOLDOUT]
        assert len(taken) <= 1
        found.update((e.n, m) for m in taken)
    ledger.close()
    return found


def test_the_baseline_every_kth_keep_and_the_end_sit_it(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena", table=EVERY_2)
    run(toy, Writer(["X=9\n", "X=20\n", *DOWN[1:]]))
    assert {n: m.score for n, m in holdouts(toy).items()} == {
        0: pytest.approx(7.4321987),
        3: pytest.approx(5.4321987),
        5: pytest.approx(3.4321987),
        6: pytest.approx(2.4321987),
    }
    assert {m.seed for m in holdouts(toy).values()} == {EXAM_SEED}
    run(toy, Writer([*["X=20\n"] * 6, "X=20\n"]), experiments=1)
    assert set(holdouts(toy)) == {0, 3, 5, 6}, "the incumbent sat it already"


def test_try_holds_the_baselines_exam_and_those_that_have_become_due(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena", table=EVERY_2)
    for n in range(4):
        with Campaign.open(toy, "t") as campaign:
            campaign.try_(Writer(DOWN[: n + 1]))
    assert set(holdouts(toy)) == {0, 2}


def test_a_stop_that_was_asked_for_is_not_delayed_by_an_exam(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena")

    class Asking(Writer):
        def propose(self, bench):  # type: ignore[no-untyped-def]
            stop = [sys.executable, "-m", "overnight", "stop", "-C", str(toy)]
            subprocess.run(stop, check=True, capture_output=True)
            return super().propose(bench)

    run(toy, Asking(DOWN))
    assert set(holdouts(toy)) == {0}


def test_what_is_due_follows_from_the_ledger_whatever_the_order_of_the_keeps(
    tmp_path: Path,
) -> None:
    night = Night(tmp_path / "arena")
    for score in (9, 8, 7, 6, 5, 4):
        night.add(score)

    def numbers(end: bool = False) -> list[int]:
        return [e.n for e in due(night.book(), 2, end)]

    def sit(n: int, outcome: Outcome = Outcome.FINISHED) -> None:
        begun = night.begin(n, Purpose.HOLDOUT)
        done = Measurement("c", EXAM_SEED, begun.started, outcome, purpose=Purpose.HOLDOUT)
        night.book().enter(begun.id, done)

    assert numbers() == [0, 2, 4] and numbers(end=True) == [0, 2, 4, 5]
    sit(0)
    assert numbers() == [2, 4]
    sit(2, Outcome.CRASHED)
    assert numbers() == [4], "one that failed is not tried again"
    sit(4)
    assert numbers() == [] and numbers(end=True) == [5]
    sit(5)
    night.add(4.5, verdict=Verdict.DISCARD)
    assert numbers(end=True) == [], "the first and the third keep are passed over"
    night.add(3)
    night.add(2)
    assert numbers() == [8] == numbers(end=True)


def test_what_was_confirmed_with_a_later_keep_does_not_sit_it(tmp_path: Path) -> None:
    """Only of the whole is known what it gained."""
    night = Night(tmp_path / "arena")
    night.add(9)
    for score in (8, 7):
        night.add(score, within=3)
    night.add(6, within=3, whole=3.0)
    assert [e.n for e in due(night.book(), 1)] == [0, 3]


def test_no_verdict_no_seed_and_no_score_depends_on_an_exam(tmp_path: Path) -> None:
    values = ["X=9.8\n", "X=8\n", "X=7.9\n", "oops(\n", "X=5\n", "X=4.9\n", "X=2\n"]
    toys = [
        make_exam(tmp_path / "with" / "arena", ARENA + THRESHOLD, TABLE + "every = 1\n", best=20),
        make_toy(tmp_path / "without" / "arena", ARENA + THRESHOLD),
    ]
    told = []
    for toy in toys:
        done = run(toy, Writer(values))
        ledger = Ledger.at(toy / ".overnight" / "ledger.db", "toy")
        seen = [[(m.seed, m.score) for m in e.measurements] for e in ledger.experiments("t")]
        ledger.close()
        table = (toy / ".overnight" / "results.tsv").read_text().splitlines()
        columns = [[row.split("\t")[at] for at in (1, 3, 5, 6, 9, 10, 13)] for row in table]
        told.append((verdicts(done), [e.score for e in done], seen, columns))
    assert told[0] == told[1]
    assert set(holdouts(toys[0])) == {0, 2, 5, 7}


@pytest.mark.parametrize(
    ("exam", "outcome"),
    [
        ("raise SystemExit('4321987')\n", Outcome.NO_METRIC),
        ("print('no json, 4321987')\n", Outcome.NO_METRIC),
        ("print('{{\"loss\": NaN}}')\n", Outcome.NOT_FINITE),
        ('print(\'{{"invalid": "4321987"}}\')\n', Outcome.REFUSED),
        ("import time; time.sleep(60)\n", Outcome.NO_METRIC),
    ],
)
def test_an_exam_that_fails_is_a_warning_and_nothing_more(
    tmp_path: Path, exam: str, outcome: Outcome
) -> None:
    table = TABLE.replace('"20s"', '"1s"')
    toy = make_exam(tmp_path / "arena", table=table, exam=exam)
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Writer(["X=8\n", "X=9\n"]), Limits())
        assert [e.verdict for e in campaign.book.finished] == ["keep", "keep", "discard"]
        warnings = [w for w in campaign.warnings if "final exam" in w]
        assert len(warnings) == 2 and f"experiment 1 gave no score ({outcome})" in warnings[1]
        assert "holdout-1-1000000" in warnings[1] and SECRET not in warnings[1]
        events = campaign.ledger.events("t", "warning")
        assert [event.data["words"] for event in events] == warnings
    assert {n: m.outcome for n, m in holdouts(toy).items()} == {0: outcome, 1: outcome}
    run(toy, Writer(["", "", "X=9\n"]), experiments=1)
    assert len(holdouts(toy)) == 2, "it is not tried again"


def test_kill_9_in_the_middle_of_an_exam_then_the_same_command_holds_it_once(
    tmp_path: Path,
) -> None:
    toy = make_exam(tmp_path / "arena", table=TABLE + "every = 1\n")
    only = hidden_folder(toy) / "only"
    agent = "command:echo X=$((10 - OVERNIGHT_EXPERIMENT)) > value.py"
    command = [sys.executable, "-m", "overnight", "run", "-C", str(toy), "--tag", "t"]
    command += ["--agent", agent, "--experiments", "2"]
    for sitting, passed in ((0, ""), (1, "10"), (2, "10 9")):
        only.write_text(passed)
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_exam(toy, sitting)
        driver.kill()
        driver.wait()
    only.unlink()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert set(holdouts(toy)) == {0, 1, 2}
    assert git(toy, "show", "overnight/t:value.py") == "X=8\n"


def wait_for_exam(toy: Path, n: int) -> None:
    deadline, file = time.monotonic() + 60, toy / ".overnight" / "ledger.db"
    while time.monotonic() < deadline:
        if file.exists():
            ledger = Ledger.at(file, "toy")
            under_way = ledger.under_way("t")
            ledger.close()
            if any(m.n == n and m.purpose is Purpose.HOLDOUT for m in under_way):
                return
        time.sleep(0.05)
    raise AssertionError(f"experiment {n} does not sit its exam")


def test_the_runs_own_word_can_be_examined_by_what_it_left(tmp_path: Path) -> None:
    text = ARENA.split("[score]")[0]
    toy = make_exam(tmp_path / "arena", text, run=RUN + 'echo "loss: $X"\n')
    done = run(toy, Writer(["X=8\n"]))
    assert [e.score for e in done] == [10, 8] and done[1].caveats == ("self-reported",)
    assert [m.score for m in holdouts(toy).values()] == [7.4321987, 5.4321987]
    assert not any(m.self_reported for m in holdouts(toy).values())


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
def test_an_agent_that_searches_everything_it_can_read_finds_no_exam(
    tmp_path: Path, sandbox: str
) -> None:
    peek = f"cat '{tmp_path}/arena exam/secret' || true\n"
    toy = make_exam(
        tmp_path / "arena",
        ARENA.replace("[run]\n", f'[run]\nsandbox = "{sandbox}"\n'),
        TABLE + "every = 1\n",
        run=peek + RUN,
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(Path(__file__).parents[1] / "spy.py", tools)
    search = f"python3 {shlex.quote(str(tools / 'spy.py'))} {time.time() - 60}"
    state, exam = toy / ".overnight", hidden_folder(toy) / "secret"
    logs = [f"logs/{tag}/0/holdout-0-{EXAM_SEED}/score.out" for tag in ("first", "second")]
    files = [state / name for name in ("ledger.db", "ledger.db-wal", "results.tsv", *logs)]
    known = " ".join(shlex.quote(str(path)) for path in (toy, state, exam, *files))
    places = f"/ . $HOME {known}"
    change = "echo X=$((10 - OVERNIGHT_EXPERIMENT)) > value.py"
    table = AgentTable(command=f"{search} {places}\n{change}", data=(str(tools),))
    for tag in ("first", "second"):  # the second one's agents have a history of exams
        with Campaign.open(toy, tag) as campaign:
            campaign.run(CommandAgent("spy", table), Limits(experiments=2))
            assert [e.kept for e in campaign.book.finished] == [True] * 3
        assert set(holdouts(toy, tag)) == {0, 1, 2}
        for n in (1, 2):
            said = (toy / ".overnight" / "logs" / tag / str(n) / "agent.log").read_text()
            assert "found []" in said and int(said.split()[1]) > 10, said
            for log in (toy / ".overnight" / "logs" / tag / str(n)).glob("*/run.log"):
                assert SECRET not in log.read_text()
    control = subprocess.run(
        f"{search} {known} < /dev/null", shell=True, capture_output=True, text=True, check=True
    )
    for name in ("ledger.db", f"holdout-0-{EXAM_SEED}/score.out", "exam/secret"):
        assert name in control.stdout
    assert "results.tsv" not in control.stdout and "brief.md" not in control.stdout


def test_what_is_handed_to_an_agent_in_python_has_no_exam_and_no_replay(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena", table=TABLE + "every = 1\n")
    agent = Writer([*DOWN, "X=6\n"])
    run(toy, agent, experiments=3)
    with Campaign.open(toy, "t") as campaign:
        campaign.replay(2, 2)
        campaign.replay(0, 1)
    run(toy, agent, experiments=2)
    with Campaign.open(toy, "later") as campaign:
        campaign.run(agent, Limits(experiments=1))
    assert len(holdouts(toy)) >= 5 and len(agent.seen) == 6
    for bench in agent.seen:
        handed: list[Experiment] = [bench.start, *bench.history, *bench.prior]
        assert all(m.purpose is Purpose.JUDGE for e in handed for m in e.measurements)
        assert SECRET not in repr(bench) and SECRET not in bench.brief


def test_an_arena_with_a_holdout_reads_its_units_and_defaults(tmp_path: Path) -> None:
    arena = Arena.load(make_exam(tmp_path / "arena"))
    assert arena.holdout is not None
    assert (arena.holdout.every, arena.holdout.timeout, arena.holdout.memory) == (5, 20.0, None)
    assert arena.secrets == arena.holdout.hidden


def test_a_doubtful_holdout_is_told_before_anything_runs(tmp_path: Path) -> None:
    from overnight.core.errors import ArenaError

    toy = make_exam(tmp_path / "arena")
    good = (toy / "arena.toml").read_text()
    for old, new, words in (
        ('["value.py"]', '["value.py", "exam.py"]', "match exam.py, which holdout.command runs"),
        ("python3 exam.py", "python3 score.py", "is score.command too"),
        ("python3 exam.py", "python3 nowhere.py", "holdout.command: nowhere.py is missing"),
        ("\nname", '\nledger = "postgresql://me:word@host/db"\nname', "PGPASSWORD"),
        ('hidden = ["', 'hidden = ["value.py", "', '"value.py" is editable'),
        ("\n[holdout]", "\n[holdout]\nevery = 0", "holdout.every"),
        ("\n[holdout]", "\n[holdout]\nevry = 2", "did you mean `every`"),
    ):
        (toy / "arena.toml").write_text(good.replace(old, new, 1))
        with pytest.raises(ArenaError) as caught:
            Arena.load(toy)
        assert words in str(caught.value)


def test_a_hidden_path_of_the_exam_that_is_not_there_is_told(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena")
    (hidden_folder(toy) / "secret").unlink()
    with Campaign.open(toy, "t") as campaign:
        assert any("exam/secret is not there" in warning for warning in campaign.warnings)


def test_the_exam_script_of_these_tests_holds_no_secret() -> None:
    assert SECRET not in EXAM + (Path(__file__).parents[1] / "spy.py").read_text()
