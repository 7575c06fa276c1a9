"""Every agent that can be named here, and what keeps it from working, found without asking it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from overnight.agents.llm.troubles import server_name
from overnight.agents.named import TUNER, agent_named, plugins, preset_of
from overnight.agents.programs.access import with_access
from overnight.agents.programs.preset import Preset, presets
from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.core.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One agent."""

    name: str
    """What `--agent` takes."""
    ready: bool
    words: str
    """Ready: what it runs, and how it is signed in. Not ready: what is missing, and what to do."""


def roster(arena: Arena) -> Iterator[Entry]:
    """The agents of arena.toml first, then those that need no table there."""
    for name, table in arena.agents.items():
        yield _entry(name, table, arena)
    if TUNER not in arena.agents:
        yield Entry(TUNER, True, "built in, needs no model")
    for name in presets():
        if name not in arena.agents:
            yield _entry(name, AgentTable(), arena)
    for name, point in plugins().items():
        if name not in {TUNER, *arena.agents, *presets()}:
            package = f"the package {point.dist.name}" if point.dist else "an installed package"
            yield _entry(name, AgentTable(), arena, f"from {package}")


def _entry(name: str, table: AgentTable, arena: Arena, words: str = "") -> Entry:
    try:
        agent_named(name, arena)
    except UsageError as error:
        missing = str(error).removeprefix(f"{name}: ").removeprefix(f"[agents.{name}]: ")
        return Entry(name, False, missing)
    return Entry(name, True, words or _description(table, preset_of(name, table)))


def _description(table: AgentTable, preset: Preset | None) -> str:
    """What it runs, and the names of the variables and files that sign it in."""
    what = table.command or (f"the program {preset.program}" if preset else "a model's API")
    if table.model:
        what = f"{what}, {table.model}"
    access = with_access(table, preset) if preset else table
    names = [name for name in (*access.env, *access.data) if not name.startswith("/")]
    if table.url:
        names.insert(0, server_name(table))
    return f"{what}, by {', '.join(names)}" if names else what
