"""Every agent that could be named here, and what keeps it from working, without asking it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from overnight.agents.named import agent_named, plugins, preset_of
from overnight.agents.programs.access import reaching
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
    """What it is, and how it is signed in; or what is missing, and what to do."""


def roster(arena: Arena) -> Iterator[Entry]:
    """Those of arena.toml first, then those that need no word there."""
    for name, table in arena.agents.items():
        yield _entry(name, table, arena)
    if "tuner" not in arena.agents:
        yield Entry("tuner", True, "built in, needs no model")
    for name in presets():
        if name not in arena.agents:
            yield _entry(name, AgentTable(), arena)
    for name, point in plugins().items():
        if name not in {"tuner", *arena.agents, *presets()}:
            package = f"the package {point.dist.name}" if point.dist else "an installed package"
            yield _entry(name, AgentTable(), arena, f"of {package}")


def _entry(name: str, table: AgentTable, arena: Arena, words: str = "") -> Entry:
    try:
        agent_named(name, arena)
    except UsageError as error:
        missing = str(error).removeprefix(f"{name}: ").removeprefix(f"[agents.{name}]: ")
        return Entry(name, False, missing)
    preset = preset_of(name, table)
    return Entry(name, True, words or _access(_runs(table, preset), table, preset))


def _runs(table: AgentTable, preset: Preset | None) -> str:
    what = table.command or (f"the program {preset.program}" if preset else "a model's API")
    return f"{what}, {table.model}" if table.model else what


def _access(what: str, table: AgentTable, preset: Preset | None) -> str:
    """What it runs, and by which variables or files of the person's it is signed in, without their
    content."""
    used = reaching(table, preset) if preset else table
    names = [name for name in (*used.env, *used.data) if not name.startswith("/")]
    if table.url:
        names.insert(0, table.url)
    return f"{what}, by {', '.join(names)}" if names else what
