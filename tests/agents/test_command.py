"""Any program as an agent: how it gets its brief, and how it is told that it failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from desk import Desk, program
from overnight.agents.acp.agent import AcpAgent
from overnight.agents.base import Agent
from overnight.agents.named import agent_named
from overnight.agents.programs import stage
from overnight.agents.programs.command import CommandAgent
from overnight.agents.roster import roster
from overnight.arena.settings import AgentTable
from overnight.core.errors import Trouble, UsageError
from toy import ARENA

HOSTILE = 'It\'s "5" `touch ran` $(touch ran) $HOME; touch ran\n# {prompt} \'"{prompt}"\'\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, ARENA.replace("value.py", "value*.py"))


def command(line: str) -> CommandAgent:
    return CommandAgent("mine", AgentTable(command=line))


@pytest.mark.parametrize(
    "line",
    [
        "printf %s {prompt} > got",
        'printf %s "{prompt}" > got',
        "printf %s '{prompt}' > got",
        "# it's\nprintf %s '{prompt}' > got",
        "f() { printf %s {prompt}; }; f > got",
        "test \\'{prompt}\\' = \"'$(cat $OVERNIGHT_BRIEF)'\" && cp $OVERNIGHT_BRIEF got",
        "cat > got",
    ],
)
def test_the_brief_is_one_argument_and_never_code(desk: Desk, line: str) -> None:
    assert desk.ask(command(line), brief=HOSTILE)
    assert desk.now("got").strip() == HOSTILE.strip()
    assert not (desk.tree / "ran").exists()


@pytest.mark.parametrize(
    "line", ['my-agent "Do this: {prompt}"', "sh -c 'my-agent {prompt}'", 'x "it\'s {prompt}"']
)
def test_a_place_in_longer_quoted_text_is_refused_before_the_night(
    tmp_path: Path, line: str
) -> None:
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    arena = Desk(tmp_path, f'{ARENA}\n[agents.mine]\ncommand = "{quoted}"\n').arena
    for name in ("mine", f"command:{line}"):
        with pytest.raises(UsageError, match=r"\{prompt\} stands within the quoted text"):
            agent_named(name, arena)
    (mine,) = (entry for entry in roster(arena) if entry.name == "mine")
    assert not mine.ready and "word of its own" in mine.words


def test_a_large_brief_and_one_with_a_null_byte_are_handed_over(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many apostrophes as a brief may have that is an argument."""
    large = "\0'" + "it's " * 20_000
    assert desk.ask(command("printf %s {prompt} > got"), brief=large)
    assert desk.now("got").strip() == large.replace("\0", "").strip()
    mini = program(tmp_path, monkeypatch, "mini", 'printf %s "$4" > got; echo X=5 > value.py')
    assert desk.ask(mini, brief=large)
    assert desk.now("got").strip() == large.replace("\0", "").strip()
    assert command("x {prompt}").reader.tokens == command("x").reader.tokens == 10_000
    long = AgentTable(command="x {prompt}", brief=90_000)
    assert CommandAgent("mine", long).reader.tokens == 25_000


def many_files(desk: Desk, folder: Path, patch: pytest.MonkeyPatch) -> Agent:
    for n in range(2000):
        (desk.arena.root / f"value-{n}-{'x' * 90}.py").touch()
    return program(folder, patch, "aider", "exit 0")


CANNOT_START: dict[str, tuple[Callable[[Desk, Path, pytest.MonkeyPatch], Agent], str]] = {
    "a command": (lambda *_: command("echo a\0b"), "embedded null byte"),
    "a long command": (lambda *_: command("echo " + "x" * 150_000), "150,... bytes"),
    "too many files": (many_files, "name fewer files in `editable`"),
    "ACP": (
        lambda *_: AcpAgent("mine", AgentTable(kind="acp", command="echo a\0b")),
        "embedded null byte",
    ),
}


@pytest.mark.parametrize("what", CANNOT_START)
def test_a_program_that_cannot_be_started_is_its_own_failure(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    make, words = CANNOT_START[what]
    error = desk.refused(make(desk, tmp_path, monkeypatch), edited=lambda: False)
    assert error.trouble is Trouble.BROKEN and len(str(error)) < 1000
    assert re.search(f"^mine did not start: .*{words}", str(error)), error


KINDS: dict[str, Callable[[str, Path, pytest.MonkeyPatch], Agent]] = {
    "command": lambda line, *_: command(line),
    "program": lambda line, folder, patch: program(folder, patch, "codex", line),
    "ACP": lambda line, *_: AcpAgent("mine", AgentTable(kind="acp", command=line)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_ended_a_program_is_named(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = stage.program_stage

    def narrow(*given: object) -> object:
        return replace(whole(*given), processes=20, disk_bytes=50_000)  # type: ignore[arg-type]

    for module in ("programs.command", "programs.coding", "acp.agent"):
        monkeypatch.setattr(f"overnight.agents.{module}.program_stage", narrow)
    many = "for n in $(seq 40); do sleep 30 & done; wait"
    error = desk.refused(KINDS[kind](many, tmp_path, monkeypatch), edited=lambda: False)
    assert str(error).startswith("mine had more than 4,000 processes and was ended")
    full = "head -c 900000 /dev/zero >$TMPDIR/full; sleep 30"
    error = desk.refused(KINDS[kind](full, tmp_path, monkeypatch), edited=lambda: False)
    assert "wrote more than 10,000,000,000 bytes or 100,000 files and was ended" in str(error)
