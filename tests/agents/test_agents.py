"""The agents that come with overnight pass the agents' contract; names lead to agents."""

from __future__ import annotations

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
from toy import ARENA, make_toy, write_patches


class TestTuner(AgentContract):
    def make(self, toy: Path) -> Agent:
        return Tuner()


class TestCommand(AgentContract):
    def make(self, toy: Path) -> Agent:
        line = 'echo "X=$((20 - OVERNIGHT_EXPERIMENT))" > value.py'
        return CommandAgent("count", AgentTable(command=line))


class TestPatches(AgentContract):
    def make(self, toy: Path) -> Agent:
        # Both raise the loss, so that the second still applies.
        return PatchesAgent(write_patches(toy.parent / "patches", ["X=11", "X=12"], VALUE))


def test_names_lead_to_agents(tmp_path: Path) -> None:
    text = ARENA + '\n[agents.mine]\ncommand = "true"\ntimeout = "9s"\n'
    arena = Arena.load(make_toy(tmp_path / "arena", text))
    assert agent_named("mine", arena) == CommandAgent("mine", arena.agents["mine"])
    assert agent_named("command:echo hi", arena) == CommandAgent(
        "command", AgentTable(command="echo hi")
    )
    assert isinstance(agent_named("tuner", arena), Tuner)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tunner", "Did you mean tuner?"),
        ("patches:nowhere", "there is no such folder"),
        ("command:", "names no program"),
        ("somebody", "add your own as"),
    ],
)
def test_an_agent_that_is_not_there_says_which_are(tmp_path: Path, name: str, words: str) -> None:
    arena = Arena.load(make_toy(tmp_path / "arena"))
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        agent_named(name, arena)
