"""Whether a coding-agent program can be asked: installed, signed in, and with which secrets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from overnight.agents.library import price_of
from overnight.agents.preset import Preset
from overnight.errors import Trouble
from overnight.experiment import Usage
from overnight.sandboxes.runtime import program_paths
from overnight.tables import AgentTable


def obstacle(name: str, table: AgentTable, preset: Preset) -> str | None:
    """What keeps it from working, and what to do, in a sentence; None: nothing that can be seen
    without asking its model."""
    if shutil.which(preset.program) is None:
        return missing(name, preset)
    if preset.model_needed and not (table.model or (table.url and preset.server.model)):
        return f"{name}: {preset.program} has no model of its own; set model in [agents.{name}]"
    if (dollars := table.dollars or table.campaign.dollars) and not _knows_dollars(table, preset):
        return (
            f"{name}: {preset.program} reports no dollars, and no price is known of its model, so "
            f"dollars = {dollars:g} cannot be kept to; write tokens = … in its place, or "
            "set model to one that LiteLLM knows (pip install 'overnight[llm]')"
        )
    if unset := [variable for variable in table.env if not os.environ.get(variable)]:
        return (
            f"{name}: the variable {unset[0]}, which [agents.{name}] names in env, is not set; "
            f"`export {unset[0]}=…` in the shell that starts overnight"
        )
    if not signed_in(table, preset):
        words = sign_in_words(preset)
        return words if words.startswith(name) else f"{name}: {words}"
    return None


def _knows_dollars(table: AgentTable, preset: Preset) -> bool:
    if (preset.output.dollars or "dollars" in preset.options) and (
        preset.server.prices or not table.url
    ):
        return True
    return table.model is not None and price_of(table.model, Usage(0, 0, 0)) is not None


def missing(name: str, preset: Preset) -> str:
    """That the program is not installed, and what to do."""
    return f"{name}: {preset.program} is not on PATH; install it: {preset.install}"


def signed_in(table: AgentTable, preset: Preset) -> bool:
    """Whether a key or a sign-in is there. Whoever names variables, data or a server of their own
    knows what they do."""
    if table.url or table.env or table.data:
        return True
    return bool(_keys_set(table, preset) or _sign_ins(preset))


def sign_in_words(preset: Preset) -> str:
    """How to sign in, in the preset's words."""
    return next(f.words for f in preset.failures if f.trouble is Trouble.SIGN_IN)


def reaching(table: AgentTable, preset: Preset) -> AgentTable:
    """The table with what the program needs to start, and to be signed in: its key and its sign-in,
    unless the table names variables of its own or a server."""
    program = shutil.which(preset.program)
    own = [str(path) for path in program_paths(Path(program))] if program else []
    if table.url:
        return table.model_copy(update={"data": (*table.data, *own)})
    keys = () if table.env else _keys_set(table, preset)
    passes = (name for name in preset.passes if name in os.environ)
    env, data = (*table.env, *keys, *passes), (*table.data, *_sign_ins(preset), *own)
    return table.model_copy(update={"env": tuple(dict.fromkeys(env)), "data": data})


def _keys_set(table: AgentTable, preset: Preset) -> list[str]:
    return [key for key in _keys(table, preset) if os.environ.get(key)]


def _sign_ins(preset: Preset) -> list[str]:
    return [f"~/{path}" for path in preset.sign_in if Path.home().joinpath(path).is_file()]


def _keys(table: AgentTable, preset: Preset) -> Sequence[str]:
    """Only that of the provider that its model is from, where the model's name tells."""
    provider = (table.model or "").partition("/")[0].upper()
    own = [key for key in preset.keys if key == f"{provider}_API_KEY"]
    return own or preset.keys
