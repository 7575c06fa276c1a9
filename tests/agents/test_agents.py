"""The agents that come with overnight pass the agents' contract; names lead to agents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.agent import VALUE, AgentContract
from overnight.agents.base import Agent
from overnight.agents.named import agent_named
from overnight.agents.patches import PatchesAgent
from overnight.agents.programs.command import CommandAgent
from overnight.agents.tuner.agent import Tuner
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.core.errors import UsageError
from toy import ARENA, make_toy, write_patches, write_toy


class TestTuner(AgentContract):
    @classmethod
    def make(cls, toy: Path) -> Agent:
        return Tuner()


class TestCommand(AgentContract):
    @classmethod
    def make(cls, toy: Path) -> Agent:
        line = 'echo "X=$((20 - OVERNIGHT_EXPERIMENT))" > value.py'
        return CommandAgent("count", AgentTable(command=line))


class TestPatches(AgentContract):
    @classmethod
    def make(cls, toy: Path) -> Agent:
        # Both raise the loss, so that the second still applies.
        return PatchesAgent(write_patches(toy.parent / "patches", ["X=11", "X=12"], VALUE))


def test_names_lead_to_agents_or_say_which_there_are(tmp_path: Path) -> None:
    text = ARENA + '\n[agents.mine]\ncommand = "true"\ntimeout = "9s"\n'
    arena = Arena.load(write_toy(tmp_path, text))
    assert agent_named("mine", arena) == CommandAgent("mine", arena.agents["mine"])
    command = CommandAgent("command", AgentTable(command="echo hi"))
    assert agent_named("command:echo hi", arena) == command
    assert isinstance(agent_named("tuner", arena), Tuner)
    for name, words in {
        "tunner": "Did you mean tuner?",
        "patches:nowhere": "there is no such folder",
        "command:": "names no program",
        "somebody": "add your own as",
    }.items():
        with pytest.raises(UsageError, match=re.escape(words)):
            agent_named(name, arena)


LOOK = """import sys
from overnight.cli import application
for words in (["log"], ["status"], ["show", "1"]):
    application()(words, standalone_mode=False)
"""


def imported(toy: Path, *words: str) -> set[str]:
    """The modules that a Python program imports."""
    line = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(line, cwd=toy, capture_output=True, text=True, check=True)
    return {name.strip() for name in re.findall(r"^import time:.*\|([^|]*)$", done.stderr, re.M)}


def test_a_command_imports_no_agent_that_it_does_not_need(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value=VALUE)
    ran = imported(toy, "-m", "overnight", "run", "--agent", "tuner", "--experiments", "1")
    assert not {"litellm", "acp", "optuna", "scipy"} & ran and "overnight.agents.base" in ran
    looked = imported(toy, "-c", LOOK)
    assert "overnight.views.live" in looked
    assert not [name for name in looked if name.startswith("overnight.agents")]
