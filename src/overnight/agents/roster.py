"""Every agent that could be named here, and what keeps it from working, without asking it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from overnight.agents.access import reaching
from overnight.agents.keys import keys_of
from overnight.agents.named import agent_named, plugins, preset_of
from overnight.agents.preset import Preset, presets
from overnight.arena import Arena
from overnight.errors import AgentError, UsageError
from overnight.tables import AgentTable


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
    for name in plugins():
        yield Entry(name, True, "of an installed package")


def _entry(name: str, table: AgentTable, arena: Arena) -> Entry:
    preset = preset_of(name, table)
    runs = _runs(table, preset)
    if preset and shutil.which(preset.program) is None:
        return Entry(name, False, f"not installed: {preset.install}")
    try:
        agent_named(name, arena)
        if table.kind == "llm" or table.env:
            keys_of(name, table)
    except (UsageError, AgentError) as error:
        words = str(error).removeprefix(f"{name}: ").removeprefix(f"[agents.{name}]: ")
        return Entry(name, False, words)
    line = (table.command or "").split() if table.kind == "acp" else []
    program = next((word for word in line if "=" not in word), None)
    if program and shutil.which(program) is None:
        return Entry(name, False, f"{program} is not on PATH; install it")
    return Entry(name, True, _access(runs, table, preset))


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
