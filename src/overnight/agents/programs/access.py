"""Whether an agent can be asked: installed, signed in, and with which keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from overnight.agents.llm.litellm_setup import keys_missing, price_of
from overnight.agents.programs.preset import Preset
from overnight.arena.commandline import is_unknown, program_of
from overnight.arena.settings import AgentTable
from overnight.core.errors import Trouble
from overnight.core.usage import Usage
from overnight.sandbox.runtime import home_folder, program_paths
from overnight.stage.secrets import is_key, name_of_key


def obstacle(name: str, table: AgentTable, preset: Preset | None = None) -> str | None:
    """What keeps an agent from working, and what to do, in a sentence; None: nothing that shows
    without asking its model."""
    return next(_obstacles(name, table, preset), None)


def _obstacles(name: str, table: AgentTable, preset: Preset | None) -> Iterator[str]:
    """In the order in which to fix them."""
    if preset:
        if shutil.which(preset.program) is None:
            yield not_installed(name, preset)
        if preset.model_needed and not (table.model or (table.url and preset.server.model)):
            yield f"{name}: {preset.program} has no default model; set model in [agents.{name}]"
    elif (program := program_of(table.command or "")) and is_unknown(program, None):
        yield (
            f"{name}: `{program}`, the program that its command starts, is not on PATH; install "
            "it, or correct the command"
        )
    if (dollars := table.dollars or table.campaign.dollars) and not knows_dollars(table, preset):
        what = f"{preset.program} reports no dollars, and " if preset else ""
        yield (
            f"{name}: {what}the price of its model is not known, so dollars = {dollars:g} cannot "
            "be enforced; write tokens = … instead, or set model to one that LiteLLM knows "
            "(pip install 'overnight[llm]')"
        )
    for variable in table.env:
        # Of other variables only the agent can tell whether it works without them.
        if not os.environ.get(variable) and (is_key(variable) or variable == _key(table)):
            yield (
                f"{name}: the variable {variable}, which [agents.{name}] names in env, is not set; "
                f"run `export {variable}=…` in the shell that starts overnight"
            )
    if preset and not signed_in(table, preset):
        advice = _sign_in_advice(preset)
        yield advice if advice.startswith(name) else f"{name}: {advice}"
    if table.kind == "llm" and not (table.env or table.url):
        yield from _keys_missing(name, table.model or "")


def _key(table: AgentTable) -> str | None:
    return name_of_key(table.env) if table.kind == "llm" else None


def _keys_missing(name: str, model: str) -> Iterator[str]:
    if missing := keys_missing(model):
        yield (
            f"{name}: {model} needs a key, and {' or '.join(missing)} is not set; run `export "
            f"{missing[0]}=…` in the shell that starts overnight, or name the variable that holds "
            f"the key as env in [agents.{name}]"
        )


def knows_dollars(table: AgentTable, preset: Preset | None) -> bool:
    """Whether dollars are reported or can be computed. An agent that speaks ACP may report them."""
    if table.kind == "acp":
        return True
    if (
        preset
        and (preset.output.dollars or "dollars" in preset.options)
        and (preset.server.prices or not table.url)
    ):
        return True
    return table.model is not None and price_of(table.model, Usage(0, 0, 0)) is not None


def not_installed(name: str, preset: Preset) -> str:
    """The message for a program that is missing, with the line that installs it."""
    return f"{name}: {preset.program} is not on PATH; install it: {preset.install}"


def signed_in(table: AgentTable, preset: Preset) -> bool:
    """Whether a key or a sign-in file is there, or cannot be checked: where the table names its own
    variables, data or server, or a provider whose key the preset does not know."""
    if table.url or table.env or table.data:
        return True
    provider = _provider(table)
    if provider and f"{provider}_API_KEY" not in preset.keys:
        return True
    return bool(_keys_set(table, preset) or _sign_ins(preset))


def _sign_in_advice(preset: Preset) -> str:
    return next(f.sentence for f in preset.failures if f.trouble is Trouble.SIGN_IN)


def with_access(table: AgentTable, preset: Preset) -> AgentTable:
    """The table, extended by what the program needs to start and to be signed in: its own files,
    its sign-in file and its key, unless the table names another key or a server."""
    program = shutil.which(preset.program)
    own = [str(path) for path in program_paths(Path(program))] if program else []
    if table.url:
        return table.model_copy(update={"data": (*table.data, *own)})
    own_key = any(is_key(name) or name in preset.keys for name in table.env)
    keys = () if own_key else _keys_set(table, preset)
    passes = (name for name in preset.passes if name in os.environ)
    env, data = (*table.env, *keys, *passes), (*table.data, *_sign_ins(preset), *own)
    return table.model_copy(update={"env": tuple(dict.fromkeys(env)), "data": data})


def _keys_set(table: AgentTable, preset: Preset) -> list[str]:
    return [key for key in _keys(table, preset) if os.environ.get(key)]


def _sign_ins(preset: Preset) -> list[str]:
    return [f"~/{path}" for path in preset.sign_in if home_folder().joinpath(path).is_file()]


def _keys(table: AgentTable, preset: Preset) -> Sequence[str]:
    """Only the key of the model's provider, where the model's name tells the provider."""
    own = [key for key in preset.keys if key == f"{_provider(table)}_API_KEY"]
    return own or preset.keys


def _provider(table: AgentTable) -> str:
    """In capitals, as in the names of variables; empty where the model's name does not tell it."""
    provider, slash, _ = (table.model or "").partition("/")
    return provider.upper() if slash else ""
