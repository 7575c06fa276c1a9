"""Asks an agent for proposals without a campaign: no git, no judge, no measurements."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.agents.base import Agent, Workbench
from overnight.agents.programs.coding import CodingAgent
from overnight.agents.programs.preset import presets
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError
from overnight.core.experiment import Experiment, Idea, Verdict
from toy import ARENA, VALUE, write_toy

BASELINE = Experiment(0, "baseline", datetime(2026, 1, 1, tzinfo=UTC), verdict=Verdict.KEEP)
BRIEF = "## Strategy\nFind the best X.\n\n## Where we stand\n- the baseline\n"


@dataclass
class Desk:
    """The toy arena in a folder; each proposal gets a copy of it as its worktree."""

    folder: Path
    arena_text: str = ARENA
    value: str = VALUE
    asked: int = 0
    arena: Arena = field(init=False)

    def __post_init__(self) -> None:
        self.arena = Arena.load(write_toy(self.folder / "arena", self.arena_text, value=self.value))
        self.private = self.arena.state / "worktrees" / "t" / "agent"
        self.tree = self.private / "tree"

    def bench(self, n: int, brief: str = BRIEF, **more: object) -> Workbench:
        """What proposal n gets, in a new worktree and without a sandbox."""
        shutil.rmtree(self.private, ignore_errors=True)
        shutil.copytree(
            self.folder / "arena", self.tree, ignore=lambda *_: [".overnight"], symlinks=True
        )
        for name in ("tmp", "home"):
            (self.private / name).mkdir()
        (self.folder / "logs" / str(n)).mkdir(parents=True, exist_ok=True)
        (self.log(n).with_name("brief.md")).write_text(brief)
        given: dict[str, object] = {"sandbox": "none", "history": [BASELINE], "prior": (), **more}
        return Workbench(
            arena=self.arena,
            folder=self.tree,
            private=self.private,
            brief=brief,
            n=n,
            start=BASELINE,
            transcript=self.log(n),
            **given,  # type: ignore[arg-type]
        )

    def ask(self, agent: Agent, **more: object) -> Idea | None:
        """The next proposal, 1, 2, …; its changes are in the worktree."""
        self.asked += 1
        return agent.propose(self.bench(self.asked, **more))

    def refused(self, agent: Agent, **more: object) -> AgentError:
        """The error of the next proposal, which fails."""
        with pytest.raises(AgentError) as caught:
            self.ask(agent, **more)
        assert "Traceback" not in str(caught.value)
        return caught.value

    def log(self, n: int | None = None) -> Path:
        """The transcript of a proposal, by default the newest."""
        return self.folder / "logs" / str(n or self.asked) / "agent.log"

    def said(self, n: int | None = None) -> str:
        return self.log(n).read_text()

    def now(self, path: str = "value.py") -> str:
        """A file of the worktree as the agent left it."""
        return (self.tree / path).read_text()


def program(
    folder: Path, patch: pytest.MonkeyPatch, name: str, script: str, **table: object
) -> CodingAgent:
    """The coding agent of this preset, whose program is a shell script. `table`: its settings."""
    (folder / "bin").mkdir(exist_ok=True)
    file = folder / "bin" / presets()[name].program
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    patch.setenv("PATH", str(folder / "bin"), prepend=":")
    return CodingAgent("mine", AgentTable.model_validate(table), presets()[name])
