"""A program that fixes its own seed, and a change that chooses one: both are seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import Bench, repository
from overnight.arena.arena import Arena
from overnight.change.seeds import chosen_seed, fixed_seed, seed_set_in, unread_seed
from overnight.repo.workspace import Workspace
from toy import RUN, git, make_toy, overnight
from writer import Writer, run


def suspected(toy: Path) -> str | None:
    arena = Arena.load(toy)
    workspace = Workspace.open(toy, arena.state)
    return fixed_seed(arena, workspace, workspace.head())


def patch(path: str, before: list[str], after: list[str]) -> str:
    """The patch that replaces the one lines of a file by the others."""
    head = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    lines = [f"-{line}\n" for line in before] + [f"+{line}\n" for line in after]
    return f"{head}@@ -1,{len(before)} +1,{len(after)} @@\n{''.join(lines)}"


@pytest.mark.parametrize(
    ("line", "suspect"),
    [
        ("SEED=7", True),
        (": 'torch.manual_seed(42)'", True),
        (": 'random.shuffle(rows)'", True),
        ("# a seed = 7 would be luck", False),
        ("", False),
    ],
)
def test_a_line_that_fixes_a_seed_is_quoted(tmp_path: Path, line: str, suspect: bool) -> None:
    toy = make_toy(tmp_path / "arena", value=f"X=10\n{line}\n")
    found = suspected(toy)
    assert found == (f"value.py has `{line}`" if suspect else None)
    (toy / "program.md").write_text("Mind OVERNIGHT_SEED.\n")
    git(toy, "commit", "-qam", "prose that reads no seed")
    assert suspected(toy) == found
    (toy / "run.sh").write_text(f'{RUN}: "$OVERNIGHT_SEED"\n')
    git(toy, "commit", "-qam", "a program that reads the given seed")
    assert suspected(toy) is None


@pytest.mark.parametrize(
    "line",
    [
        "SEED=1337",
        "torch.manual_seed(7)",
        "rng = np.random.default_rng(3)",
        "python x.py --seed 5",
        "r = random.Random(7)",
        "f(random_state=3)",
    ],
)
def test_a_change_that_chooses_a_seed_is_found(line: str) -> None:
    assert chosen_seed(patch("a.py", ["x = 1"], [f"# {line}", line, "x = 2"])) == line
    assert chosen_seed(patch("a.py", ["x = 1"], [f"# {line}"])) is None, "a comment chooses nothing"
    assert chosen_seed(patch("a.py", [line, ""], ["", f"  {line}"])) is None, "it was there before"
    assert chosen_seed(patch("a.py", [line], [line, line])) == line, "it was there once"


@pytest.mark.parametrize(
    ("before", "after", "chooses"),
    [
        ("fit(depth=3, seed=0)", "fit(depth=7, seed=0)", False),
        ("fit(depth=3, seed=0)", "fit(depth=7, seed = 0)", False),
        ("fit(depth=3, seed=0)", "fit(depth=3, seed=1)", True),
        ("fit(depth=3, seed=0)", "fit(depth=3, seed=01)", True),
        ("fit(seed=0)", "fit(seed=0 + 7)", True),
        ("random.seed(4)", "random.seed(4 if False else 1651)", True),
        ("seed = 4", "seed = 4 or 7", True),
        ("SEED = 4 + (2)", "SEED = 4 + (3)", True),
        ("SEED = 4", "SEED = 4; SEED += 1", True),
        ("default_rng(4).normal()", "default_rng(4).spawn(4)[3].normal()", True),
        ("int seed = 4; int n = 3;", "int seed = 4; int n = 5;", False),
        ("fit(seed=0)", "fit(seed=0, more=fit(seed=0))", True),
        ("Forest(10, random_state=0)", "Forest(20, random_state=0)", False),
        ("default_rng(0).normal(1)", "default_rng(0).normal(2)", False),
        ("default_rng(0).normal(1)", "default_rng(3).normal(1)", True),
        ("python x.py --seed 5 --depth 3", "python x.py --seed 5 --depth 4", False),
        ("x % 4", "x % 4, np.random.seed(7)", True),
        ("half = n // 2", "half = n // 2; seed = 7", True),
    ],
)
def test_a_line_with_a_seed_may_change_but_for_the_seed(
    before: str, after: str, chooses: bool
) -> None:
    assert chosen_seed(patch("a.py", [before], [after])) == (after if chooses else None)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.c", "x = 1; // seed = 7"),
        ("a.lua", "x = 1 -- seed = 7"),
        ("a.m", "x = 1 % seed = 7"),
        ("a.ini", "; seed = 7"),
        ("a.yaml", "x: 1 # seed = 7"),
    ],
)
def test_a_comment_is_none_of_its_kind_of_file(path: str, line: str) -> None:
    assert chosen_seed(patch(path, ["x"], [line])) is None
    assert chosen_seed(patch(path, ["x"], ["seed = 7"])) == "seed = 7"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("G = f('OVERNIGHT_SEED')\n", "G = chosen()\n", "G = f('OVERNIGHT_SEED')"),
        ("--seed $OVERNIGHT_SEED \\\n", "", "--seed $OVERNIGHT_SEED \\"),
        ("x = $OVERNIGHT_SEED\n", "# OVERNIGHT_SEED\n", "x = $OVERNIGHT_SEED"),
        ("x = f('OVERNIGHT_SEED')\n", "y = int(f('OVERNIGHT_SEED'))\n", None),
        ("# from OVERNIGHT_SEED\nx = 1\n", "x = 1\n", None),
        ("x = OVERNIGHT_SEED\n" + "z\n" * 9 + "y = OVERNIGHT_SEED\n", "x = OVERNIGHT_SEED\n", None),
    ],
)
def test_a_change_that_stops_reading_the_given_seed_is_found(
    tmp_path: Path, before: str, after: str, told: str | None
) -> None:
    bench = Bench(repository(tmp_path / "r"))
    (old, _), (new, _) = (bench.changed({"model/a.py": f"A = 1\n{t}"}) for t in (before, after))
    assert unread_seed(bench.workspace.diff(old, new), bench.workspace, new) == told
    assert chosen_seed(bench.workspace.diff(old, new)) is None


def test_a_referee_that_reads_the_given_seed_says_nothing_about_the_program(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\nSEED=7\n")
    score = toy / "score.py"
    score.write_text("seed = os.environ['OVERNIGHT_SEED']\n" + score.read_text())
    text = (toy / "arena.toml").read_text()
    (toy / "arena.toml").write_text(text.replace("score.py", "score.py $OVERNIGHT_SEED"))
    git(toy, "commit", "-qam", "a referee that reads the given seed")
    assert suspected(toy) == "value.py has `SEED=7`"
    (toy / "arena.toml").write_text(text.replace("sh run.sh", "sh run.sh $OVERNIGHT_SEED"))
    git(toy, "commit", "-qam", "a run that gets the given seed")
    assert suspected(toy) is None


def test_status_warns_of_a_fixed_seed_beside_a_noise_of_zero(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\nSEED=7\n")
    run(toy, Writer([]))
    words = " ".join(overnight(toy, "status").stdout.split())
    assert "repeats are equal to the last digit, but value.py has `SEED=7`" in words
    assert "the luck of that seed" in words


def test_only_the_arenas_own_text_files_are_searched(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    toy = make_toy(top / "it's an arena", value="X=10\n")
    (toy / ".git").rename(top / ".git")
    (top / "outside.py").write_text("SEED = 7\n")
    (toy / "picture.bin").write_bytes(b"\0seed = 7\n")
    (toy / "größer").mkdir()
    (toy / "größer" / "a b.py").write_text("Seed = 7\n")
    git(top, "add", "--all")
    git(top, "commit", "-qm", "an arena below the top")
    workspace = Workspace.open(toy, toy / ".overnight")
    assert workspace.mentioning(workspace.head(), "seed") == ["größer/a b.py"]


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import torch\ntorch.manual_seed(1337)\n", "a.py has `torch.manual_seed(1337)`"),
        ("torch.manual_seed(int(os.environ['OVERNIGHT_SEED']))\n", None),
        ("import random\nprint('loss:', random.random())\n", None),
    ],
)
def test_a_program_without_a_seed_of_its_own_is_not_suspected(
    program: str, told: str | None
) -> None:
    assert seed_set_in({"b.py": "x = 1\n", "a.py": program}) == told


def test_init_warns_of_a_fixed_seed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import torch\ntorch.manual_seed(1337)\n")
    words = ["--metric", "loss", "--direction", "minimize", "--editable", "*.py", "--budget", "9s"]
    done = overnight(tmp_path, "init", "--run", "python3 main.py", *words)
    assert done.returncode == 0 and "OVERNIGHT_SEED" in done.stderr, done.stderr
    assert "main.py has `torch.manual_seed(1337)`" in done.stderr
