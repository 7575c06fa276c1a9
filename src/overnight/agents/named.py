"""From a name on the command line to an agent. Each kind of agent is imported when it is named:
some bring libraries that take seconds to import."""

from __future__ import annotations

import difflib
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from overnight.agents.base import Agent
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.core.errors import UsageError
from overnight.core.text import one_line

if TYPE_CHECKING:
    from overnight.agents.programs.preset import Preset

GROUP = "overnight.agents"
"""The entry-point group through which other packages add agents: a name → a class whose
constructor takes no arguments."""
TUNER = "tuner"


def agent_named(name: str, arena: Arena) -> Agent:
    """The agent that a name stands for: a table [agents.NAME] of arena.toml, `tuner`, a preset,
    an agent of an installed package, `patches:FOLDER`, or `command:SHELL LINE`.

    Raises UsageError for any other name, and for an agent that cannot work here.
    """
    if not name:
        raise UsageError("an agent's name is empty; write names as in --agent claude,tuner")
    kind, colon, rest = name.partition(":")
    if colon and kind == "patches":
        from overnight.agents.patches import PatchesAgent

        return PatchesAgent((Path.cwd() / rest).resolve())
    if colon and kind == "command":
        if not rest.strip():
            raise UsageError("command: names no program; write command:SHELL LINE")
        return _of_table("command", AgentTable(command=rest))
    if table := arena.agents.get(name):
        return _of_table(name, table)
    if name == TUNER:
        from overnight.agents.tuner.agent import Tuner

        return Tuner()
    if preset_of(name, AgentTable()):
        return _of_table(name, AgentTable())
    if point := plugins().get(name):
        return _of_package(point)
    raise _unknown(name, arena)


def preset_of(name: str, table: AgentTable) -> Preset | None:
    """How the program of this table is run; None where the table names its own command, or no
    preset has that name."""
    if table.kind != "program" or table.command:
        return None
    from overnight.agents.programs.preset import presets

    return presets().get(table.preset or name)


def access_of_name(name: str, arena: Arena) -> AgentTable | None:
    """The table of an agent by its name, extended by the keys and sign-in files that it may read;
    None: they are not set in this process, so its secrets are unknown here."""
    table = arena.agents.get(name, AgentTable())
    if any(variable not in os.environ for variable in table.env):
        return None
    preset = preset_of(name, table)
    if preset is None:
        return table
    from overnight.agents.programs.access import signed_in, with_access

    return with_access(table, preset) if signed_in(table, preset) else None


def plugins() -> dict[str, EntryPoint]:
    """The agents of installed packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _of_table(name: str, table: AgentTable) -> Agent:
    from overnight.agents.programs.access import obstacle

    preset = preset_of(name, table)
    agent = _made(name, table, preset)
    if problem := obstacle(name, table, preset):
        raise UsageError(problem)
    return agent


def _made(name: str, table: AgentTable, preset: Preset | None) -> Agent:
    if table.kind == "llm":
        from overnight.agents.llm.agent import LlmAgent

        return LlmAgent(name, table)
    if table.kind == "acp":
        return _acp_agent(name, table)
    if table.command:
        from overnight.agents.programs.command import CommandAgent

        return CommandAgent(name, table)
    if preset:
        from overnight.agents.programs.coding import CodingAgent

        return CodingAgent(name, table, preset)
    from overnight.agents.programs.preset import presets

    found = f'preset = "{table.preset}" does not exist' if table.preset else "it has no `command`"
    raise UsageError(
        f"[agents.{name}]: {found}; write `command`, the shell line that starts the program, or "
        f"`preset`, one of {', '.join(presets())}"
    )


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
            "installed: pip install 'overnight[acp]'"
        ) from error
    return AcpAgent(name, table)


def _of_package(point: EntryPoint) -> Agent:
    try:
        return cast(Agent, point.load()())
    except Exception as error:  # another package's code may raise anything
        package = point.dist.name if point.dist else "a package"
        raise UsageError(
            f"{point.name}: the package {package} provides this agent and it failed to load "
            f"({point.value}: {type(error).__name__}: {one_line(str(error))}); fix or update it"
        ) from error


def _unknown(name: str, arena: Arena) -> UsageError:
    from overnight.agents.programs.preset import presets

    known = list(dict.fromkeys([TUNER, *arena.agents, *presets(), *plugins()]))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return UsageError(
        f"no such agent: {name}. {hint}Known here: {', '.join(known)}, "
        "patches:FOLDER, command:SHELL LINE; add your own as [agents.NAME] in arena.toml."
    )
