"""`overnight doctor`, as a user runs it: what it says of a closed arena and of an open one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.doctor.attack import attacks
from overnight.doctor.doctor import AttackResult, Doctor
from overnight.doctor.readiness import Trait, readiness
from overnight.repo.workspace import Workspace
from toy import ARENA, git, make_toy, overnight

ATTACK = '''"""Look for a number that this arena's owner worries about.

close it by moving the number.
"""

try:
    through(open("/usr/bin/env", "rb").read(1))
except OSError as error:
    refused(error)
'''


def examined(
    toy: Path,
) -> tuple[int, dict[str, dict[str, str]], dict[str, dict[str, str]], list[str]]:
    """Exit code, attacks by name and sandbox, traits by name, warnings."""
    done = overnight(toy, "doctor", "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    rows = {f"{row['sandbox']}: {row['attack']}": row for row in found["attacks"]}
    return done.returncode, rows, {t["name"]: t for t in found["traits"]}, found["warnings"]


def test_nothing_gets_through_in_an_arena_with_a_referee(tmp_path: Path) -> None:
    secret = tmp_path / "answers"
    secret.write_text("42\n")
    text = ARENA.replace("[metric]", f'hidden = ["{secret}"]\n[metric]')
    toy = make_toy(tmp_path / "it's an arena", text)
    code, rows, traits, _ = examined(toy)
    assert {row["verdict"] for row in rows.values()} == {"blocked"}, rows
    assert code == 0 and len(rows) >= 34
    assert {name.partition(":")[0] for name in rows} == {"bubblewrap", "landlock"}
    assert traits["an objective score"]["grade"] == "good"
    assert traits["a bounded environment"]["found"] == f"{len(rows)} of {len(rows)} attacks blocked"


@pytest.fixture(scope="module")
def open_arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of the original: the run prints the score that it is judged by."""
    text = ARENA[: ARENA.index("[score]")].replace("[run]\n", '[run]\nsandbox = "landlock"\n')
    text += "\n[constraints]\nsize = { soft = 1 }\n"
    run = '. ./value.py\necho "loss: $X"\n'
    toy = make_toy(tmp_path_factory.mktemp("open") / "arena", text, run=run)
    (toy / "attacks").mkdir()
    (toy / "attacks" / "look_for_a_number.py").write_text(ATTACK)
    return toy


def test_a_self_reported_score_gets_through_a_vain_constraint_is_said_and_nothing_is_left_behind(
    open_arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    contract = open_arena / "arena.toml"
    text = contract.read_text()
    contract.write_text(text.replace("20s", "0.001s"))
    before = git(open_arena, "status", "--porcelain")
    code, rows, traits, warnings = examined(open_arena)
    assert git(open_arena, "status", "--porcelain") == before
    contract.write_text(text)
    assert not list(tmp_path.glob(".overnight*"))
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))
    assert "uncommitted changes (arena.toml, " in warnings[0], "they take no part"
    assert any(words.startswith("constraints.size: no such number") for words in warnings)
    assert traits["an objective score"]["found"].startswith("loss ")
    through = {row["attack"] for row in rows.values() if row["verdict"] == "through"}
    assert code == 1 and through == {"forge the score", "look for a number"}
    assert "referee" in rows["landlock: forge the score"]["close"]
    assert "self-reported" in traits["an objective score"]["found"]


def doctor(toy: Path) -> Doctor:
    arena = Arena.load(toy)
    return Doctor(arena, Workspace.open(toy, arena.state))


def examined_by(toy: Path, name: str) -> AttackResult:
    """What one attack came to, under Landlock."""
    attack = next(attack for attack in attacks(Arena.load(toy)) if attack.name == name)
    with doctor(toy) as examiner:
        return examiner.run(attack, "landlock")


def objective(toy: Path) -> Trait:
    """The first trait, under Landlock."""
    return traits_of(toy)[0]


def traits_of(toy: Path) -> list[Trait]:
    """The five traits, measured under Landlock."""
    with doctor(toy) as examiner:
        return readiness(examiner, "landlock", [])


def test_a_stale_build_that_is_measured_is_said(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run='echo X=5 > "$OVERNIGHT_OUT/value"\n')
    found = objective(toy)
    assert found.grade == "poor" and "stale build" in found.found


@pytest.mark.parametrize("line, grade", [("SEED=7", "fair"), ("SPEED=7", "good")])
def test_a_seed_that_the_program_fixes_is_said(tmp_path: Path, line: str, grade: str) -> None:
    found = objective(make_toy(tmp_path / "arena", value=f"X=10\n{line}\n"))
    assert found.grade == grade and found.found.startswith("loss 7, no noise in 3 measurements")
    assert ("value.py has `SEED=7` and nothing reads OVERNIGHT_SEED" in found.found) is (
        grade == "fair"
    )


def test_an_arena_that_cannot_teach_anything_is_said(tmp_path: Path) -> None:
    run = '. ./value.py\ntest ! -s value.py || : ${X:?}\necho X=5 > "$OVERNIGHT_OUT/value"\n'
    found = objective(make_toy(tmp_path / "arena", run=f"set -e\n{run}"))
    assert found.grade == "poor" and "no change can improve it" in found.found


def test_a_budget_that_is_too_short_is_said_with_what_it_takes(tmp_path: Path) -> None:
    text = ARENA.replace('budget = "20s"', 'budget = "1s"')
    run = 'sleep 2\ncp value.py "$OVERNIGHT_OUT/value"\n'
    found = objective(make_toy(tmp_path / "arena", text, run=run))
    assert found.grade == "poor" and "with four times the budget it needs 2." in found.found


def test_a_start_up_that_eats_most_of_the_budget_is_said(tmp_path: Path) -> None:
    text = ARENA.replace('budget = "20s"', 'budget = "2s"')
    run = 'sleep 1.2\ncp value.py "$OVERNIGHT_OUT/value"\nsleep 0.7\n'
    toy = make_toy(tmp_path / "arena", text, run=run)
    speed = traits_of(toy)[1]
    assert speed.grade == "poor" and "start-up takes most of it" in speed.found


def test_an_attack_on_an_arena_that_does_not_run_counts_as_untried(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run='test -n "$NEEDED"\n')
    row = examined_by(toy, "forge the score")
    assert row.verdict == "untried" and "crashed: exit code 1" in row.happened
    assert "run.env" in row.close


def test_a_referee_that_reads_the_runs_own_claim_is_found(tmp_path: Path) -> None:
    run = 'echo \'{"val": {"loss": 1.5}, "steps": 3}\' > "$OVERNIGHT_OUT/result.json"\n'
    toy = make_toy(tmp_path / "arena", run=run)
    (toy / "score.py").write_text(
        "import json, os, pathlib\n"
        'claim = pathlib.Path(os.environ["OVERNIGHT_OUT"], "result.json").read_text()\n'
        'print(json.dumps({"loss": json.loads(claim)["val"]["loss"]}))\n'
    )
    git(toy, "commit", "-qam", "a referee that believes")
    found = examined_by(toy, "rewrite what the run left")
    assert found.verdict == "through" and "taken as the score" in found.happened


NOISY = """import json, random
print(json.dumps({"loss": random.random()}))
"""


@pytest.mark.parametrize(
    "judge, times, verdict",
    [('rule = "threshold"\ngain = 1.0', 1, "blocked"), ('rule = "greedy"', 12, "through")],
)
def test_a_judge_that_keeps_luck_is_found(
    tmp_path: Path, judge: str, times: int, verdict: str
) -> None:
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[judge]\n{judge}\n", run="true\n")
    (toy / "score.py").write_text(NOISY)
    git(toy, "commit", "-qam", "nothing but noise")
    found = [examined_by(toy, "change only the seed").verdict for _ in range(times)]
    assert verdict in found


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
    for name in ("forge the score", "patch the scoring library"):
        row = examined_by(toy, name)
        assert row.verdict == "through" and "[score]" in row.close, row
    assert examined_by(toy, "overwrite the arena").verdict == "blocked"


def begun(toy: Path) -> subprocess.Popen[str]:
    """A doctor in the middle of an attack."""
    started = subprocess.Popen(
        ["overnight", "doctor"], cwd=toy, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stderr
    while "outlive the deadline" not in started.stderr.readline():
        pass
    time.sleep(1)
    return started


def test_a_killed_doctor_is_no_hindrance_to_the_next(
    open_arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    killed = begun(open_arena)
    busy = overnight(open_arena, "doctor")
    assert busy.returncode == 1 and f"process {killed.pid} is already examining" in busy.stderr
    killed.kill()
    killed.wait()
    next_ = overnight(open_arena, "doctor")
    assert next_.returncode == 1 and "the forged loss was taken" in next_.stdout, next_.stderr
    assert next_.stderr.count("landlock: ") >= 17
    assert not list(tmp_path.glob(".overnight*"))
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))


def test_an_interrupted_doctor_says_so(open_arena: Path) -> None:
    interrupted = begun(open_arena)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 130 and "overnight: interrupted" in errors
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))
