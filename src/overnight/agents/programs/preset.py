"""What overnight knows about a coding-agent program: how to run it, and how to read its output.

Presets are data, one TOML file a program in presets/.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from overnight.agents.programs.output import Output
from overnight.arena.settings import Table
from overnight.core.errors import Trouble

_OPTION = re.compile(r"\{(model|answers|dollars|resume|server|files)\}")
"""An argument that is replaced by several arguments, or by none."""
_MOST_PRINTED, _MOST_LINE = 200_000, 2000
"""Characters of the output, and of each line, that are searched for a failure."""
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


_MESSAGES = {
    Trouble.BROKEN: "The model does not exist, or this account may not use it.",
    Trouble.CREDIT: "The account that the key belongs to has no credit left.",
    Trouble.LIMIT: "It reached its limit of answers or dollars before it was done.",
    Trouble.NETWORK: "The provider cannot be reached, or its answers break off.",
    Trouble.OVERLOAD: "The provider is overloaded or failed.",
    Trouble.RATE: "The provider's rate limit is reached.",
}


class Failure(Table):
    """How a program's output shows that it could not work."""

    trouble: Trouble
    pattern: str
    """A regular expression, searched for in the output."""
    message: str = ""
    """What happened and what to do, in a sentence; empty: the usual message for the trouble."""

    @property
    def sentence(self) -> str:
        return self.message or _MESSAGES[self.trouble]


class Server(Table):
    """How the program is sent to another server than its provider's."""

    wire: Literal["anthropic", "chat", "responses", "gemini"]
    """The format that the server must speak."""
    model: str | None = None
    """The model to ask for where the table names none."""
    prices: bool = True
    """Whether the program knows what this server's answers cost."""
    arguments: tuple[str, ...] = ()
    options: Mapping[Literal["model"], tuple[str, ...]] = {}
    """Replace the preset's options of the same name."""
    env: Mapping[str, str] = {}


class Preset(Table):
    """One program. Placeholders in arguments, variables and files are replaced: {model}, {answers},
    {dollars}, {session}, {prompt}, {server}, {key}, {folder} (the worktree) and {home} (its private
    home)."""

    program: str
    """The executable, looked for on PATH."""
    checked: str
    """The version that this preset was tested with."""
    install: str
    """The shell line that installs it."""
    command: tuple[str, ...]
    """Its arguments. An argument that is `{model}` alone becomes options.model, or nothing."""
    prompt: Literal["stdin", "argument"]
    """How the program takes the brief."""
    session: str | None = None
    """Path of the session id in its output; None: it cannot resume a conversation."""
    model_needed: bool = False
    keys: tuple[str, ...]
    """Variables that may hold its key; one of them is enough."""
    passes: tuple[str, ...] = ()
    """Further variables of the user's environment that it gets."""
    sign_in: tuple[str, ...]
    """Files below the user's home folder, one of which exists once the user has signed in."""
    options: Mapping[Literal["model", "answers", "dollars", "resume"], tuple[str, ...]]
    env: Mapping[str, str] = {}
    home: Mapping[str, str] = {}
    """Path below its private home → the file's content."""
    server: Server
    output: Output
    failures: tuple[Failure, ...]

    def arguments(self, values: Mapping[str, str], paths: Sequence[str]) -> Iterator[str]:
        """The command's arguments, without the program. `values`: of the placeholders; an option
        whose value is missing is left out. `paths`: the editable files."""
        given: dict[str, Sequence[str]] = {"files": paths}
        given |= {name: parts for name, parts in self.options.items() if name in values}
        if "session" in values:
            given["resume"] = self.options.get("resume", ())
        if "server" in values:
            given["server"] = self.server.arguments
            given |= {name: parts for name, parts in self.server.options.items()}
        for argument in self.command:
            option = _OPTION.fullmatch(argument)
            for part in given.get(option[1], ()) if option else (argument,):
                yield filled(part, values)

    def failure(self, printed: str) -> Failure | None:
        """The first failure that the end of the output shows. Lines are cut, because a pattern may
        take time that grows with the square of a line's length."""
        lines = printed[-_MOST_PRINTED:].split("\n")
        text = "\n".join(line[:_MOST_LINE] for line in lines)
        return next((f for f in self.failures if re.search(f.pattern, text)), None)


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with the placeholders that have a value replaced by it."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset, by the name that `--agent` takes."""
    folder = files("overnight.agents.programs") / "presets"
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): Preset.model_validate(
            tomllib.loads((folder / name).read_text(encoding="utf-8")), strict=False
        )
        for name in found
    }
