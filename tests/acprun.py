"""Campaigns with the scripted agent that speaks the Agent Client Protocol, for tests."""

from __future__ import annotations

from pathlib import Path

from acpagent import command
from overnight import Campaign, Experiment, Limits
from overnight.agents.acp.agent import AcpAgent
from overnight.arena.settings import AgentTable


def agent(folder: Path, script: dict[str, object], **more: object) -> AcpAgent:
    line = command(folder, script)
    table = AgentTable(kind="acp", command=line, data=(str(folder),), **more)  # type: ignore[arg-type]
    return AcpAgent("scripted", table)


def one_turn(folder: Path, steps: list[list[object]], **more: object) -> AcpAgent:
    return agent(folder, {"turns": {"1": steps}}, **more)


def transcript(toy: Path, n: int = 1) -> str:
    return (toy / ".overnight" / "logs" / "t" / str(n) / "agent.log").read_text()


def done_in(toy: Path, sandbox: str, proposer: AcpAgent, experiments: int) -> list[Experiment]:
    done: list[Experiment] = []
    with Campaign.open(toy, "t", sandbox) as campaign:
        campaign.run(proposer, Limits(experiments=experiments), done.append)
    return done
