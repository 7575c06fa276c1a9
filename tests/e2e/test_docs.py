"""Every command that the documentation shows is run, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nanogpt import TEXT, start_seconds, use_text
from overnight.agents.named import agent_named
from overnight.agents.programs.preset import presets
from overnight.arena.arena import Arena
from overnight.arena.commandline import program_of
from overnight.cli import application
from overnight.templates.make import make_demo
from toy import ARENA, command, git

ROOT = Path(__file__).parent.parent.parent
IDENTITY = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "main",
    "GIT_AUTHOR_NAME": "a reader",
    "GIT_AUTHOR_EMAIL": "reader@example.org",
    "GIT_COMMITTER_NAME": "a reader",
    "GIT_COMMITTER_EMAIL": "reader@example.org",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def shell(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **IDENTITY, "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_worked_example_ends_with_a_diff_that_is_a_win(tmp_path: Path) -> None:
    (example,) = blocks("README.md", "sh")
    said = shell(example, tmp_path)
    assert "self-reported" in said and "keep" in said
    assert "+X = " in said or "+Y = " in said, "the last command shows what was won"
    for more in blocks("docs/agents.md", "sh"):
        shell(more, tmp_path / "bowl")


def test_the_arena_of_the_guide_is_a_valid_arena() -> None:
    (text,) = blocks("docs/arena.md", "toml")
    arena = Arena.parse(text, ROOT)
    assert arena.judge.rule == "confirm" and arena.run.env == ("OMP_NUM_THREADS",)


def test_every_table_of_the_agents_page_leads_to_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def have(program: str, *keys: str) -> None:
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
        for key in keys:
            monkeypatch.setenv(key, "a-key")

    for preset in presets().values():
        have(preset.program, *preset.keys)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    names = []
    for text in blocks("docs/agents.md", "toml"):
        if "[agents." not in text:
            continue  # of another program's settings
        arena = Arena.parse(ARENA + text, ROOT)
        for name, table in arena.agents.items():
            have(program_of(table.command or "") or "one", *table.env)
            names.append(agent_named(name, arena).name)
    assert {*presets(), "claude-acp", "gemini-acp", "codex-acp", "opencode-acp"} <= set(names)


def examples() -> list[str]:
    """The example in the --help of every command, as a terminal of 80 columns shows it."""
    shown = []
    for one in application().registered_commands:
        name = one.name or one.callback.__name__  # type: ignore[union-attr]
        said = CliRunner().invoke(application(), [name, "--help"], terminal_width=80).stdout
        shown.append(said.partition("Example: ")[2].strip())
    return shown


@pytest.mark.parametrize("example", examples())
def test_the_example_of_every_command_is_one_that_the_command_takes(example: str) -> None:
    (line,) = example.replace("\\\n", "").splitlines()
    _, name, *words = shlex.split(line.partition(" | ")[0])
    taken = get_command(application()).commands[name]  # type: ignore[attr-defined]
    assert taken.make_context(name, words).params


def test_the_examples_that_take_no_time_do_what_they_say(toy: Path) -> None:
    done = command(toy, "run", "--agent", "command:echo X=5 > value.py", "--experiments", "1")
    assert done.returncode == 0, done.stderr
    cheap = ["status", "brief", "log", "plot", "report", "steer", "note", "power", "skill"]
    for example in examples():
        _, *words = shlex.split(example.replace("\\\n", ""))
        if words[0] in cheap:
            done = command(toy, *words)
            assert done.returncode == 0, f"{example}: {done.stderr}"


def test_the_example_of_init_and_what_it_prints_lead_to_a_first_run(tmp_path: Path) -> None:
    folder = tmp_path / "ein Ordner"
    folder.mkdir()
    (folder / "main.py").write_text("X = 8.0  # -10..10\nprint('loss:', (X - 3) ** 2)\n")
    (example,) = [line for line in examples() if line.startswith("overnight init")]
    assert " ".join(example.replace("\\\n", "").split()) in command(folder, "init").stderr
    *_, commit, start = shell(example, folder).splitlines()
    shell(commit, folder)
    assert "#1" in shell(f"{start} --experiments 1", folder)
    (folder / "arena.toml").unlink()
    *_, commit, _ = shell(f"{example} -C {shlex.quote(folder.name)}", tmp_path).splitlines()
    assert "git init" not in commit
    (folder / "main.py").write_text("X = 9.0  # -10..10\nprint('loss:', (X - 3) ** 2)\n")
    shell(commit, tmp_path)
    assert "main.py" in git(folder, "show", "--name-only", "HEAD")


@pytest.mark.slow
def test_the_demo_trains_a_language_model_and_leaves_everything_that_it_promises(
    tmp_path: Path,
) -> None:
    """A demo that is gone on with, for its text and its runs are made shorter and fewer first."""
    night = tmp_path / "night"
    make_demo(night)
    contract = night / "arena.toml"
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "one.txt").write_text(TEXT)
    home = Path(os.environ["OVERNIGHT_HOME"])
    use_text(night, home, tmp_path / "text")
    seconds = 2.5 * start_seconds(night, home)
    text = contract.read_text()
    for old, new in {
        'budget = "15s"': f'budget = "{seconds:.1f}s"',
        "baseline = 3\nmax_repeats = 6": 'rule = "greedy"',
    }.items():
        assert old in text
        text = text.replace(old, new)
    contract.write_text(text)
    git(night, "commit", "-qam", "shorter runs")
    said = shell("overnight demo night --experiments 1", tmp_path)
    assert "val_bpb" in said and "git merge" in said
    for name in ("results.tsv", "progress.png", "report.md"):
        assert (night / ".overnight" / name).stat().st_size > 100
    report = (night / ".overnight" / "report.md").read_text()
    assert "nothing" not in report.splitlines()[2]
