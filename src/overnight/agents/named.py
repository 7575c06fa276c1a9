"""From a name on the command line to an agent."""

from __future__ import annotations

import difflib
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from overnight.agents.base import Agent
from overnight.agents.patches import PatchesAgent
from overnight.agents.programs.access import obstacle, reaching, signed_in
from overnight.agents.programs.coding import CodingAgent
from overnight.agents.programs.command import CommandAgent
from overnight.agents.programs.preset import Preset, presets
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.core.errors import UsageError
from overnight.core.text import one_line

GROUP = "overnight.agents"
"""The entry-point group through which other packages add agents: a name → a class whose
constructor takes no arguments."""


def _agent_of(name: str, table: AgentTable) -> Agent:
    """The agent of a table [agents.NAME]. Raises UsageError when it cannot be meant so, cannot be
    started, or is not signed in."""
    preset = preset_of(name, table)
    agent = _made(name, table, preset)
    if words := obstacle(name, table, preset):
        raise UsageError(words)
    return agent


def _made(name: str, table: AgentTable, preset: Preset | None) -> Agent:
    if table.kind == "llm":
        from overnight.agents.llm.agent import LlmAgent

        return LlmAgent(name, table)
    if table.kind == "acp":
        return _acp_agent(name, table)
    if table.command:
        return CommandAgent(name, table)
    if preset:
        return CodingAgent(name, table, preset)
    given = f'preset = "{table.preset}" is none' if table.preset else "it has no `command`"
    raise UsageError(
        f"[agents.{name}]: {given}; write `command`, the shell line that starts it, or "
        f"`preset`, one of {', '.join(presets())}"
    )


def preset_of(name: str, table: AgentTable) -> Preset | None:
    """How the program of this table is run, where that is known."""
    known = table.kind == "program" and not table.command
    return presets().get(table.preset or name) if known else None


def reach(name: str, arena: Arena) -> AgentTable | None:
    """The table of an agent by its name, with what it may read beside what it names; None: its keys
    or its sign-in are not those of this process, so that nobody knows them."""
    table = arena.agents.get(name, AgentTable())
    preset = preset_of(name, table)
    unset = any(variable not in os.environ for variable in table.env)
    if unset or (preset and not signed_in(table, preset)):
        return None
    return reaching(table, preset) if preset else table


def plugins() -> dict[str, EntryPoint]:
    """The agents of installed packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _of_package(point: EntryPoint) -> Agent:
    try:
        return cast(Agent, point.load()())
    except Exception as error:  # whatever another package's code raises
        package = point.dist.name if point.dist else "a package"
        raise UsageError(
            f"{point.name}: {package}, which this agent is from, cannot be used here "
            f"({point.value}: {type(error).__name__}: {one_line(str(error))}); mend or update it"
        ) from error


def _acp_agent(name: str, table: AgentTable) -> Agent:
    if not table.command:
        raise UsageError(
            f'[agents.{name}]: kind = "acp" needs `command`, the shell line that starts the agent, '
            "such as gemini --acp"
        )
    try:
        from overnight.agents.acp.agent import AcpAgent
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "acp":
            raise
        raise UsageError(
            f'[agents.{name}]: kind = "acp" needs the package agent-client-protocol, which is not '
            "installed here: pip install 'overnight[acp]'"
        ) from error
    return AcpAgent(name, table)


def agent_named(name: str, arena: Arena) -> Agent:
    """`tuner`, a table [agents.NAME] of arena.toml, the name of a preset, `patches:FOLDER`,
    `command:SHELL LINE`.

    Raises UsageError for anything else, with the names there are.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "patches":
        return PatchesAgent((Path.cwd() / rest).resolve())
    if colon and kind == "command":
        if not rest.strip():
            raise UsageError("--agent command: names no program; write command:SHELL LINE")
        return _agent_of("command", AgentTable(command=rest))
    if table := arena.agents.get(name):
        return _agent_of(name, table)
    if name in presets():
        return _agent_of(name, AgentTable())
    if name == "tuner":
        from overnight.agents.tuner.agent import Tuner

        return Tuner()
    if point := plugins().get(name):
        return _of_package(point)
    known = list(dict.fromkeys(["tuner", *arena.agents, *presets(), *plugins()]))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"--agent {name}: no such agent. {hint}Known here: {', '.join(known)}, "
        "patches:FOLDER, command:SHELL LINE; add your own as [agents.NAME] in arena.toml."
    )
