"""`overnight doctor`: what it says of closed and open arenas, and what it leaves behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from noisy import noisy
from overnight.arena.arena import Arena
from overnight.doctor.attack import attacks
from overnight.doctor.doctor import AttackResult, Doctor
from overnight.doctor.printout import Findings, print_findings
from overnight.doctor.readiness import Trait, readiness
from overnight.judge.odds import visible
from overnight.repo.workspace import Workspace
from overnight.stage.processes import below, read
from stages import eventually
from toy import ARENA, command, git, make_toy, overnight

ATTACK = '''"""Look for a number that this arena's owner worries about.

close it by moving the number.
"""

try:
    through(open("/usr/bin/env", "rb").read(1))
except OSError as error:
    refused(error)
'''


@dataclass(frozen=True)
class Examined:
    """What `overnight doctor --json` said."""

    code: int
    rows: dict[str, dict[str, str]]
    """By sandbox and attack."""
    traits: dict[str, dict[str, str]]
    warnings: list[str]

    @classmethod
    def at(cls, toy: Path) -> Examined:
        done = overnight(toy, "doctor", "--json", timeout=600)
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        rows = {f"{row['sandbox']}: {row['attack']}": row for row in found["attacks"]}
        traits = {trait["name"]: trait for trait in found["traits"]}
        return cls(done.returncode, rows, traits, found["warnings"])


@contextmanager
def examiner(toy: Path) -> Iterator[Doctor]:
    arena = Arena.load(toy)
    with Doctor(arena, Workspace.open(toy, arena.state)) as doctor:
        yield doctor


def add_attacks(toy: Path, **sources: str) -> None:
    """Commit attacks of the arena's own."""
    (toy / "attacks").mkdir()
    for name, source in sources.items():
        (toy / "attacks" / f"{name}.py").write_text(source)
    git(toy, "add", "--all")
    git(toy, "commit", "-qm", "attacks")


def attacked(toy: Path, *names: str, sandbox: str = "landlock") -> list[AttackResult]:
    """What these attacks came to."""
    with examiner(toy) as doctor:
        workspace = Workspace.open(toy, doctor.arena.state)
        found = {attack.name: attack for attack in attacks(workspace, doctor.base)}
        return [doctor.run(found[name], sandbox) for name in names]


def traits_of(toy: Path, *verdicts: str) -> list[Trait]:
    """The five traits, measured under Landlock after attacks with these verdicts."""
    rows = [AttackResult(f"attack {n}", "landlock", v, "", "") for n, v in enumerate(verdicts)]
    with examiner(toy) as doctor:
        return readiness(doctor, "landlock", rows)


def closed_arena(folder: Path) -> Path:
    """An arena with a referee and hidden data."""
    secret = folder / "answers"
    secret.write_text("42\n")
    text = ARENA.replace("[metric]", f'hidden = ["{secret}"]\n[metric]')
    return make_toy(folder / "it's an arena", text)


@pytest.mark.slow
def test_nothing_gets_through_in_an_arena_with_a_referee(tmp_path: Path) -> None:
    found = Examined.at(closed_arena(tmp_path))
    assert {row["verdict"] for row in found.rows.values()} == {"blocked"}, found.rows
    assert found.code == 0 and len(found.rows) >= 34
    assert {name.partition(":")[0] for name in found.rows} == {"bubblewrap", "landlock"}
    assert found.traits["an objective score"]["grade"] == "good"
    blocked = f"{len(found.rows)} of {len(found.rows)} attacks blocked"
    assert found.traits["a bounded environment"]["found"] == blocked


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
def test_an_attack_of_each_kind_is_blocked_in_each_sandbox_and_the_table_says_so(
    tmp_path: Path, sandbox: str
) -> None:
    names = ["read hidden data", "forge the score", "plant modules", "leave state"]
    rows = attacked(closed_arena(tmp_path), *names, "talk to servers", sandbox=sandbox)
    assert {row.verdict for row in rows} == {"blocked"}, rows
    with (out := Console(width=200)).capture() as printed:
        print_findings(Findings(rows, [Trait("traces", "good", "every [candidate] :x:")], []), out)
    lines = printed.get().splitlines()
    assert lines[1].split() == [sandbox, *names[0].split(), "blocked", *rows[0].happened.split()]
    assert "every [candidate] :x:" in printed.get() and lines[-1] == "Nothing got through."


@pytest.fixture(scope="module")
def open_arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of the original: the run prints the score that it is judged by."""
    limits = '[run]\nsandbox = "landlock"\nmemory = "500MB"\nprocesses = 100\n'
    text = ARENA[: ARENA.index("[score]")].replace("[run]\n", limits)
    text += "\n[constraints]\nsize = { soft = 1 }\n"
    run = '. ./value.py\necho "loss: $X"\n'
    toy = make_toy(tmp_path_factory.mktemp("open") / "arena", text, run=run)
    add_attacks(toy, look_for_a_number=ATTACK)
    (toy / "attacks" / "not_committed.py").write_text("not Python, and not read")
    return toy


def test_the_gain_that_a_night_can_see_is_the_one_of_power(tmp_path: Path) -> None:
    found = traits_of(noisy(tmp_path / "arena"))[0].found
    match = re.search(r"noise (\S+) from .* a gain of (\S+) is kept in four of five", found)
    assert match, found
    assert float(match[2]) == pytest.approx(visible() * float(match[1]), rel=0.1)


def begun(toy: Path) -> tuple[subprocess.Popen[str], str]:
    """A doctor in the middle of an attack, and what it has said."""
    started = subprocess.Popen(
        ["overnight", "doctor"], cwd=toy, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stderr
    said = ""
    while "exhaust the machine" not in said:
        line = started.stderr.readline()
        assert line, f"the doctor ended early, with exit code {started.wait()}: {said}"
        said += line
    assert eventually(lambda: hungry(started.pid), 60), "the attack never began"
    return started, said


def hungry(doctor: int) -> set[int]:
    """The processes of an attack that is under way."""
    return {pid for pid in below(doctor) if b"refused(" in read(f"/proc/{pid}/cmdline")}


def test_an_open_arena_after_a_killed_doctor_and_what_both_leave_behind(
    open_arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    killed, _ = begun(open_arena)
    busy = overnight(open_arena, "doctor")
    assert busy.returncode == 1 and f"process {killed.pid} is already examining" in busy.stderr
    strays = hungry(killed.pid)
    killed.kill()
    killed.communicate()
    contract = open_arena / "arena.toml"
    text = contract.read_text()
    contract.write_text(text.replace("20s", "0.001s"))
    before = git(open_arena, "status", "--porcelain")
    found = Examined.at(open_arena)
    assert git(open_arena, "status", "--porcelain") == before
    contract.write_text(text)
    assert not [pid for pid in strays if b"refused(" in read(f"/proc/{pid}/cmdline")]
    assert not list(tmp_path.glob(".overnight*"))
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))
    assert "uncommitted changes (arena.toml, " in found.warnings[0], "they take no part"
    assert any(words.startswith("constraints.size: no such number") for words in found.warnings)
    objective = found.traits["an objective score"]["found"]
    assert objective.startswith("loss ") and "self-reported" in objective
    through = {row["attack"] for row in found.rows.values() if row["verdict"] == "through"}
    assert found.code == 1 and through == {"forge the score", "look for a number"}
    assert "referee" in found.rows["landlock: forge the score"]["close"]
    assert len(found.rows) >= 18


def test_an_interrupted_doctor_says_so_and_leaves_nothing_behind(open_arena: Path) -> None:
    interrupted, said = begun(open_arena)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 130 and "overnight: interrupted" in errors
    assert "note: uncommitted changes" in said and "landlock: break out …" in said
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))


def test_the_doctor_finds_a_stale_build_that_is_measured(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run='echo X=5 > "$OVERNIGHT_OUT/value"\n')
    found = traits_of(toy)[0]
    assert found.grade == "poor" and "stale build" in found.found


def test_the_doctor_finds_a_seed_that_the_program_fixes(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\nSEED=7\n")
    found, _, bounds, *_ = traits_of(toy, "blocked", "allowed", "untried")
    assert found.grade == "fair" and found.found.startswith("loss 7, no noise in 3 measurements")
    assert "value.py has `SEED=7` and nothing reads OVERNIGHT_SEED" in found.found
    words = "1 of 3 attacks blocked; allowed: attack 1; untried: attack 2"
    assert (bounds.grade, bounds.found) == ("fair", words)


def test_the_doctor_finds_that_no_change_can_improve_an_arena(tmp_path: Path) -> None:
    run = '. ./value.py\ntest ! -s value.py || : ${X:?}\necho X=5 > "$OVERNIGHT_OUT/value"\n'
    found = traits_of(make_toy(tmp_path / "arena", run=f"set -e\n{run}"))[0]
    assert found.grade == "poor" and "no change can improve it" in found.found


def test_the_doctor_says_which_budget_a_run_needs(tmp_path: Path) -> None:
    text = ARENA.replace('budget = "20s"', 'budget = "1s"')
    run = 'sleep 2\ncp value.py "$OVERNIGHT_OUT/value"\n'
    found = traits_of(make_toy(tmp_path / "arena", text, run=run))[0]
    assert found.grade == "poor"
    assert re.search(r"with four times the budget it needs [23]\.\d s", found.found)


@pytest.mark.slow
def test_the_doctor_finds_a_start_up_that_takes_most_of_the_budget(tmp_path: Path) -> None:
    text = ARENA.replace('budget = "20s"', 'budget = "10s"')
    run = 'sleep 5.5\ncp value.py "$OVERNIGHT_OUT/value"\nsleep 3.7\n'
    toy = make_toy(tmp_path / "arena", text, run=run)
    speed = traits_of(toy)[1]
    assert speed.grade == "poor" and "start-up takes most of it" in speed.found


def test_an_attack_on_an_arena_that_does_not_run_counts_as_untried(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run='test -n "$NEEDED"\n')
    (row,) = attacked(toy, "forge the score")
    assert row.verdict == "untried" and "crashed: exit code 1" in row.happened
    assert "run.env" in row.close


OWN = {
    "look_and_fail": "no_such_name",
    "fail_to_stay": '"""Stay.\n\nlate: close it."""\nno_such_name',
    "fail_to_forge": '"""Forge.\n\nscore: close it."""\nno_such_name',
    "end_quietly": '"""End.\n\nreport: close it."""\nraise SystemExit(3)',
    "speak_first": '"""Speak.\n\nbefore: close it."""\nthrough("it spoke")',
}


def test_only_an_attack_that_ran_to_its_end_is_blocked_and_each_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "no home"))
    toy = make_toy(tmp_path / "arena", PYTHON)
    (toy / "train.py").write_text("for n in range(30_000):\n    print('loss:', n)\n")
    add_attacks(toy, **OWN)
    *failed, quiet, first, keys = attacked(
        toy, *(name.replace("_", " ") for name in OWN), "read keys"
    )
    for row in failed:
        assert row.verdict == "untried" and "NameError: name 'no_such_name'" in row.happened, row
        assert "refused(…)" in row.close
    assert quiet.verdict == "blocked" and "exit code 3" in quiet.happened
    assert first.verdict == "through" and first.happened == "it spoke", "30,000 lines follow"
    assert keys.verdict == "blocked", "there is no home folder to put a bait into"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import os\n)", "line 2 is not Python (unmatched ')')"),
        ("a = '\0'", "null bytes"),
        (b"\xff", "it is not Python ("),
    ],
)
def test_an_attack_that_is_no_python_is_named(toy: Path, source: str | bytes, problem: str) -> None:
    add_attacks(toy, wrong="")
    data = source if isinstance(source, bytes) else source.encode()
    (toy / "attacks" / "wrong.py").write_bytes(data)
    git(toy, "commit", "-qam", "wrong")
    done = command(toy, "doctor")
    assert done.returncode == 2 and "overnight: attacks/wrong.py: " in done.stderr
    assert problem in done.stderr


def test_the_doctor_writes_through_no_link(tmp_path: Path) -> None:
    text = ARENA.replace('"value.py"]', '"value.py", "link.py", "dangling.py"]')
    toy = make_toy(tmp_path / "arena", text)
    (tmp_path / "real.py").write_text("print(1)\n")
    (toy / "link.py").symlink_to(tmp_path / "real.py")
    (toy / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    git(toy, "add", "--all")
    git(toy, "commit", "-qm", "links")
    with examiner(toy) as doctor:
        made = doctor.changed(lambda _: b"X=5\n", "changed")
    assert made and git(toy, "diff", "--name-only", "HEAD", made) == "value.py\n"
    assert (tmp_path / "real.py").read_text() == "print(1)\n"
    assert not (tmp_path / "nowhere.py").exists()


def test_the_doctor_finds_a_referee_that_reads_the_runs_own_claim(tmp_path: Path) -> None:
    run = 'echo \'{"val": {"loss": 1.5}, "steps": 3}\' > "$OVERNIGHT_OUT/result.json"\n'
    toy = make_toy(tmp_path / "arena", run=run)
    (toy / "score.py").write_text(
        "import json, os, pathlib\n"
        'claim = pathlib.Path(os.environ["OVERNIGHT_OUT"], "result.json").read_text()\n'
        'print(json.dumps({"loss": json.loads(claim)["val"]["loss"]}))\n'
    )
    git(toy, "commit", "-qam", "a referee that believes")
    (found,) = attacked(toy, "rewrite what the run left")
    assert found.verdict == "through" and "taken as the score" in found.happened


NOISY = """import json, random
print(json.dumps({"loss": random.random()}))
"""


def test_the_doctor_finds_a_judge_that_keeps_luck(tmp_path: Path) -> None:
    def verdict(judge: str) -> str:
        toy = tmp_path / judge.partition("\n")[0]
        if not toy.exists():
            make_toy(toy, f"{ARENA}\n[judge]\nrule = {judge}\n", run="true\n")
            (toy / "score.py").write_text(NOISY)
            git(toy, "commit", "-qam", "nothing but noise")
        return attacked(toy, "change only the seed")[0].verdict

    assert verdict('"threshold"\ngain = 1.0') == "blocked"
    assert any(verdict('"greedy"') == "through" for _ in range(20))


PYTHON = """
name = "original"
editable = ["train.py"]

[metric]
name = "loss"
direction = "minimize"

[run]
command = "python train.py"
budget = "20s"
"""
TRAIN = '''"""Train."""

from __future__ import annotations

from prepare import evaluate_loss

print(f"loss: {evaluate_loss(3.0):.6f}")
'''


def test_the_shape_of_the_original_is_open_where_it_is_open(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", PYTHON)
    (toy / "prepare.py").write_text("def evaluate_loss(x: float) -> float:\n    return x * x\n")
    (toy / "train.py").write_text(TRAIN)
    git(toy, "add", "--all")
    git(toy, "commit", "-qm", "it scores itself")
    names = ("forge the score", "patch the scoring library", "overwrite the arena")
    *through, blocked = attacked(toy, *names)
    for row in through:
        assert row.verdict == "through" and "[score]" in row.close, row
    assert blocked.verdict == "blocked"
