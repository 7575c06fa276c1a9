"""The Agent Skill: installed where agents look, valid, and true."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from overnight.connect.skill import skill_text
from toy import command, overnight


def test_its_front_matter_follows_the_format() -> None:
    block = re.fullmatch(r"---\n(.*?)\n---\n\n(#.*)", skill_text(), re.DOTALL)
    assert block, "it begins with a block of front matter"
    fields = yaml.safe_load(block[1])
    assert set(fields) == {"name", "description"}
    assert fields["name"] == "overnight", "the name of its folder"
    assert 1 <= len(fields["description"]) <= 1024
    assert len(skill_text().splitlines()) < 500


def test_it_is_installed_where_agents_look(toy: Path, tmp_path: Path) -> None:
    done = command(toy, "skill", "install")
    assert done.returncode == 0, done.stderr
    for place in (".claude", ".agents"):
        assert (toy / place / "skills" / "overnight" / "SKILL.md").read_text() == skill_text()
    assert done.stdout.count(": new") == 2
    assert command(toy, "skill", "install").stdout.count(": unchanged") == 2

    home = tmp_path / "home"
    home.mkdir()
    overnight(tmp_path, "skill", "install", "--user", env={"HOME": str(home)})
    assert (home / ".claude/skills/overnight/SKILL.md").read_text() == skill_text()
    assert (home / ".agents/skills/overnight/SKILL.md").exists()

    command(tmp_path, "skill", "install", "--to", "elsewhere")
    assert (tmp_path / "elsewhere/overnight/SKILL.md").read_text() == skill_text()
    assert command(tmp_path, "skill", "show").stdout == skill_text()


def test_a_changed_one_is_never_replaced_without_a_word(toy: Path) -> None:
    command(toy, "skill", "install")
    changed = toy / ".agents" / "skills" / "overnight" / "SKILL.md"
    changed.write_text("my own words\n")
    (toy / ".claude" / "skills" / "overnight" / "SKILL.md").unlink()
    refused = command(toy, "skill", "install")
    assert (
        refused.returncode == 2 and str(changed) in refused.stderr and "--force" in refused.stderr
    )
    assert changed.read_text() == "my own words\n"
    assert not (toy / ".claude" / "skills" / "overnight" / "SKILL.md").exists()
    forced = command(toy, "skill", "install", "--force")
    assert f"{changed}: replaced" in forced.stdout and changed.read_text() == skill_text()


@pytest.mark.parametrize("words", [("--to", "x", "--user"), ()])
def test_a_mistake_is_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command(tmp_path, "skill", "install", *words)
    assert done.returncode == 2 and done.stderr.startswith("overnight: ")


def test_every_command_that_it_shows_works(toy: Path) -> None:
    """In the order in which it shows them, as an agent would give them."""
    blocks = re.findall(r"```sh\n(.*?)```", skill_text(), re.DOTALL)
    commands = [line.strip() for block in blocks for line in block.split("\n")]
    commands = [line for line in commands if line]
    text = re.sub(r"```.*?```", "", skill_text(), flags=re.DOTALL)
    named = [" ".join(words.split()) for words in re.findall(r"`((?:overnight|git) [^`]*)`", text)]
    restore, log, worktree, measure = named
    assert len(commands) == 7
    (toy / "value.py").write_text("X=5\n")
    for line in [*commands, log, worktree]:
        assert run(line, toy).returncode == 0, line
    mine = toy.parent / "mine"
    (mine / "value.py").write_text("X=12\n")
    measured = run(measure.replace("ARENA", f'"{toy}"').replace("../mine", "."), mine)
    assert measured.returncode == 13 and "stale" in measured.stdout, "others have won meanwhile"
    assert run(f"{restore} value.py", mine).returncode == 0


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
