"""One proposal by an agent in a small test arena: does the agent work unattended and confined?"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Agent
from overnight.campaign.campaign import Campaign
from overnight.change.digest import file_digest, program_digest
from overnight.core.errors import AgentError
from overnight.core.experiment import Experiment
from overnight.core.text import one_line, tail
from overnight.repo.user_repository import create_repository
from overnight.repo.workspace import Workspace

ARENA = """name = "rehearsal"
editable = ["answer.py"]

[metric]
name = "answer"
direction = "maximize"

[run]
command = "python3 answer.py"
budget = "60s"

[judge]
rule = "greedy"
"""
_PROGRAM = """# Strategy

This is a rehearsal. Set X in answer.py to 2, and change nothing else.
"""
_ANSWER = 'X = 1  # 1..2\nprint(f"answer: {X}")\n'
_ASKED = _ANSWER.replace("X = 1", "X = 2")
_FILE = "answer.py"
_LINES, _CHARACTERS = 10, 300


@dataclass(frozen=True)
class Rehearsal:
    """The result of a rehearsal."""

    experiment: Experiment | None
    """The proposal, if there was one."""
    words: str
    """Why there is no candidate, or how it differs from what was asked; empty if it is right."""
    transcript: str = ""
    """The last lines the agent printed, if it failed."""


def rehearse(agent: Agent) -> Rehearsal:
    """Ask the agent once to change one line. Uses the agent's model."""
    folder = Path(tempfile.mkdtemp(prefix="overnight-rehearsal-"))
    try:
        for name, text in (("arena.toml", ARENA), ("program.md", _PROGRAM), (_FILE, _ANSWER)):
            (folder / name).write_text(text)
        create_repository(folder)
        return _asked(agent, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _asked(agent: Agent, folder: Path) -> Rehearsal:
    experiment: Experiment | None = None
    with Campaign.open(folder, "rehearsal") as campaign:
        try:
            experiment = campaign.try_(agent)
            words = "the agent has nothing to propose" if experiment is None else experiment.reason
        except AgentError as error:
            words = str(error)
        if experiment and experiment.candidate:
            return Rehearsal(experiment, _difference(experiment, campaign.workspace))
    logs = [*(folder / ".overnight" / "logs").rglob("agent.log")]
    text = tail(logs[0], _LINES) if logs else ""
    lines = (line[:_CHARACTERS] for line in text.splitlines())
    return Rehearsal(experiment, words, "\n".join(lines))


def _difference(e: Experiment, workspace: Workspace) -> str:
    """How the candidate differs from what was asked, comments and layout aside; empty if it does
    not."""
    if e.program == program_digest({_FILE: file_digest(_FILE, _ASKED.encode())}):
        return ""
    text = (workspace.read(e.candidate or "", _FILE) or b"").decode(errors="replace")
    return f"expected X = 2 and no other change, found `{one_line(text)}`"
