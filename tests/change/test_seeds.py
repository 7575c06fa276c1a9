"""A program that fixes its own seed: seen, and told where its repeats are equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.repo.workspace import Workspace
from toy import RUN, git, make_toy, overnight
from writer import Writer, run

HINT = "repeats are equal to the last digit, but value.py has"


def said(toy: Path) -> str:
    """What status says of a campaign that has its baseline."""
    run(toy, Writer([]))
    return " ".join(overnight(toy, "status").stdout.split())


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("SEED=7", "SEED=7"),
        (": 'torch.manual_seed(42)'", "torch.manual_seed(42)"),
        (": 'random.shuffle(rows)'", "random.shuffle(rows)"),
    ],
)
def test_a_seed_that_the_program_fixes_is_told_beside_the_noise(
    tmp_path: Path, line: str, quoted: str
) -> None:
    words = said(make_toy(tmp_path / "arena", value=f"X=10\n{line}\n"))
    assert HINT in words and quoted in words and "the luck of one draw" in words


@pytest.mark.parametrize(
    ("value", "more"),
    [
        ("X=10\n", ""),
        ("X=10  # a seed = 7 would be luck\n", ""),
        ("X=10\nSEED=7\n", ': "$OVERNIGHT_SEED"\n'),
    ],
)
def test_a_program_without_chance_or_with_the_given_seed_is_not_suspected(
    tmp_path: Path, value: str, more: str
) -> None:
    words = said(make_toy(tmp_path / "arena", run=RUN + more, value=value))
    assert "none: repeats are equal to the last digit" in words and "luck" not in words


def test_prose_reads_no_seed(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\nSEED=7\n")
    (toy / "program.md").write_text("Mind OVERNIGHT_SEED.\n")
    git(toy, "commit", "-qam", "words")
    assert HINT in said(toy)


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
        ("import torch\ntorch.manual_seed(1337)\n", True),
        ("import os, torch\ntorch.manual_seed(int(os.environ['OVERNIGHT_SEED']))\n", False),
        ("import random\nprint('loss:', random.random())\n", False),
        ("print('loss: 1')\n", False),
    ],
)
def test_init_tells_of_a_seed_that_the_program_fixes(
    tmp_path: Path, program: str, told: bool
) -> None:
    (tmp_path / "main.py").write_text(program)
    words = ["--metric", "loss", "--direction", "minimize", "--editable", "*.py", "--budget", "9s"]
    done = overnight(tmp_path, "init", "--run", "python3 main.py", *words)
    assert done.returncode == 0, done.stderr
    assert ("main.py has `torch.manual_seed(1337)`" in done.stderr) is told
    assert ("OVERNIGHT_SEED" in done.stderr) is told
