"""The scripted agent that speaks the Agent Client Protocol, as an agent of overnight, for tests."""

from __future__ import annotations

from pathlib import Path

from acpagent import command
from overnight.agents.acp.agent import AcpAgent
from overnight.arena.settings import AgentTable


def agent(folder: Path, script: dict[str, object], **more: object) -> AcpAgent:
    """`more`: settings of its table."""
    line = command(folder, script)
    table = AgentTable(kind="acp", command=line, data=(str(folder),), **more)  # type: ignore[arg-type]
    return AcpAgent("scripted", table)


def scripted(folder: Path, *turns: list[list[object]], **more: object) -> AcpAgent:
    """It plays these steps for experiment 1, 2, …"""
    return agent(folder, {"turns": {str(n): steps for n, steps in enumerate(turns, 1)}}, **more)
