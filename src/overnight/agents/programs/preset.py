"""What overnight knows of a coding-agent program: how it is run, and how its output is read.

It is data, a TOML file for each program below presets/.
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

_ALONE = re.compile(r"\{(model|turns|dollars|resume|server|files)\}")
"""An argument that stands for several, or for none."""
_MOST_PRINTED, _MOST_LINE = 200_000, 2000
"""Characters that are looked at for a failure."""
_NAMED = re.compile(r"\{(\w+)\}")


class Failure(Table):
    """What a program prints when it could do nothing."""

    trouble: Trouble
    pattern: str
    """A regular expression, looked for in all that it printed."""
    words: str
    """What happened and what to do, in a sentence."""


class Server(Table):
    """How the program is sent to another server than its provider's."""

    wire: Literal["anthropic", "chat", "responses", "gemini"]
    """The format that the server must speak."""
    model: str | None = None
    """What it is asked for where nobody says which."""
    prices: bool = True
    """Whether the program knows what its answers cost."""
    arguments: tuple[str, ...] = ()
    options: Mapping[Literal["model"], tuple[str, ...]] = {}
    """In place of the preset's."""
    env: Mapping[str, str] = {}


class Preset(Table):
    """One program. `{name}` in arguments, variables and files is replaced: model, turns, dollars,
    session, prompt, server, key, folder (the worktree) and home (its private one)."""

    program: str
    """The executable, looked for on PATH."""
    checked: str
    """The version that all this was tried with."""
    install: str
    """The shell line that installs it."""
    command: tuple[str, ...]
    """Its arguments. One that is `{model}` and nothing more becomes options.model, or nothing."""
    prompt: Literal["stdin", "argument"]
    """How the brief goes in."""
    session: str | None = None
    """Path of a conversation's name in what it prints; None: it keeps none."""
    model_needed: bool = False
    keys: tuple[str, ...]
    """Variables that hold its key; one of them is enough."""
    passes: tuple[str, ...] = ()
    """Further variables of the person's that it reads."""
    sign_in: tuple[str, ...]
    """Files below the home folder, one of which is there once somebody has signed in."""
    options: Mapping[Literal["model", "turns", "dollars", "resume"], tuple[str, ...]]
    env: Mapping[str, str] = {}
    home: Mapping[str, str] = {}
    """Path below its private home → the file's content."""
    server: Server
    output: Output
    failures: tuple[Failure, ...]

    def arguments(self, words: Mapping[str, str], paths: Sequence[str]) -> Iterator[str]:
        """The command's arguments, without the program: `words` fill the names, options whose
        word is missing are left out; `paths` are the editable files."""
        given: dict[str, Sequence[str]] = {"files": paths}
        given |= {name: parts for name, parts in self.options.items() if name in words}
        if "session" in words:
            given["resume"] = self.options.get("resume", ())
        if "server" in words:
            given["server"] = self.server.arguments
            given |= {name: parts for name, parts in self.server.options.items()}
        for argument in self.command:
            alone = _ALONE.fullmatch(argument)
            for part in given.get(alone[1], ()) if alone else (argument,):
                yield filled(part, words)

    def failure(self, printed: str) -> Failure | None:
        """The first failure that the end of the output tells of. Lines are cut: a pattern may take
        the square of a line's length."""
        lines = printed[-_MOST_PRINTED:].split("\n")
        text = "\n".join(line[:_MOST_LINE] for line in lines)
        return next((f for f in self.failures if re.search(f.pattern, text)), None)


def filled(text: str, words: Mapping[str, str]) -> str:
    """The text with every name in braces that is known replaced by its word."""
    return _NAMED.sub(lambda found: words.get(found[1], found[0]), text)


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset, by the name that `--agent` knows."""
    folder = files("overnight.agents.programs") / "presets"
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): Preset.model_validate(
            tomllib.loads((folder / name).read_text(encoding="utf-8")), strict=False
        )
        for name in found
    }
