"""`overnight doctor`, as a user runs it: what it says of a closed arena and of an open one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy import ARENA, make_toy, overnight

ATTACK = '''"""Look for a number that this arena's owner worries about.

close it by moving the number.
"""

try:
    through(open("/usr/bin/env", "rb").read(1))
except OSError as error:
    refused(error)
'''


def examined(toy: Path) -> tuple[int, dict[str, dict[str, str]], dict[str, dict[str, str]], str]:
    """Exit code, attacks by name and sandbox, traits by name, standard error."""
    done = overnight(toy, "doctor", "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    rows = {f"{row['sandbox']}: {row['attack']}": row for row in found["attacks"]}
    return done.returncode, rows, {t["name"]: t for t in found["traits"]}, done.stderr


def test_nothing_gets_through_in_an_arena_with_a_referee(tmp_path: Path) -> None:
    secret = tmp_path / "answers"
    secret.write_text("42\n")
    text = ARENA.replace("[metric]", f'hidden = ["{secret}"]\n[metric]')
    toy = make_toy(tmp_path / "it's an arena", text)
    code, rows, traits, _ = examined(toy)
    assert {row["verdict"] for row in rows.values()} == {"blocked"}, rows
    assert code == 0 and len(rows) >= 26
    assert {name.partition(":")[0] for name in rows} == {"bubblewrap", "landlock"}
    assert traits["an objective score"]["grade"] == "good"
    assert traits["a bounded environment"]["found"] == f"{len(rows)} of {len(rows)} attacks blocked"


@pytest.fixture(scope="module")
def open_arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of the original: the run prints the score that it is judged by."""
    text = ARENA[: ARENA.index("[score]")].replace("[run]\n", '[run]\nsandbox = "landlock"\n')
    run = '. ./value.py\necho "loss: $X"\n'
    toy = make_toy(tmp_path_factory.mktemp("open") / "arena", text, run=run)
    (toy / "attacks").mkdir()
    (toy / "attacks" / "look_for_a_number.py").write_text(ATTACK)
    return toy


def test_a_self_reported_score_is_what_gets_through(open_arena: Path) -> None:
    code, rows, traits, _ = examined(open_arena)
    through = {row["attack"] for row in rows.values() if row["verdict"] == "through"}
    assert code == 1 and through == {"forge the score", "look for a number"}
    assert "referee" in rows["landlock: forge the score"]["close"]
    assert "self-reported" in traits["an objective score"]["found"]


def test_an_arena_that_cannot_teach_anything_is_said(tmp_path: Path) -> None:
    text = ARENA.replace("[run]\n", '[run]\nsandbox = "landlock"\n')
    toy = make_toy(tmp_path / "arena", text, run='echo X=5 > "$OVERNIGHT_OUT/value"\n')
    _, _, traits, _ = examined(toy)
    assert traits["an objective score"]["grade"] == "poor"
    assert "nothing can be learnt" in traits["an objective score"]["found"]


def test_the_doctor_leaves_nothing_behind(open_arena: Path) -> None:
    overnight(open_arena, "doctor")
    assert not list(Path.home().glob(".doctor-*"))
    assert not list((open_arena / ".overnight" / "worktrees").glob("doctor/*"))
