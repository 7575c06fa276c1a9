"""A conversation that goes on from one experiment to the next: the agent's home, and its name.

The home is the agent's own work, so it is moved as a whole and never looked into; what cannot be
used goes into the proposal's folder, which is removed with all that is in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from overnight.agents.base import Workbench
from overnight.core.usage import Usage

_MOST_TURNS = 20
_MOST_CONTEXT = 0.5
"""A conversation that takes more of what its model can hold is begun anew."""


class Conversation(BaseModel):
    """What is remembered of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    session: str
    """Its name, given by the agent."""
    turns: int = 1
    used: Usage = Usage()
    """By all of it, as its program counts."""

    def has_room(self, context: float | None) -> bool:
        """Whether it may go on, by the share of the model's context that is taken, if known."""
        return self.turns < _MOST_TURNS and (context is None or context <= _MOST_CONTEXT)


class Kept:
    """Where the conversation of one agent in one campaign waits for the next experiment."""

    def __init__(self, name: str, bench: Workbench) -> None:
        campaign = bench.place.parent.name
        self._folder = bench.arena.state / "sessions" / campaign / f"agent-{quote(name, safe='')}"
        self._file = self._folder / "conversation.json"
        self._home = bench.place / "home"
        self._place = bench.place

    def take(self, data: Sequence[Path]) -> Conversation | None:
        """Put the kept home in the place of the new one; the conversation it belongs to, if any.
        It is not kept any longer: a proposal that fails is the end of it."""
        conversation = self._read()
        self._file.unlink(missing_ok=True)
        if not (self._folder / "home").is_dir():
            return None
        if conversation is None or _is_crooked(self._folder / "home", data):
            (self._folder / "home").rename(self._place / "forgotten")
            return None
        (self._folder / "home").rename(self._home)
        return conversation

    def keep(self, conversation: Conversation) -> None:
        """Keep the home with its conversation for the next experiment."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._home.rename(self._folder / "home")
        self._file.write_text(conversation.model_dump_json(), encoding="utf-8")

    def _read(self) -> Conversation | None:
        with suppress(FileNotFoundError, ValidationError):
            return Conversation.model_validate_json(self._file.read_bytes())
        return None


def _is_crooked(home: Path, data: Sequence[Path]) -> bool:
    """Whether a link that the agent left stands where overnight links the declared data, or would
    lead it out of this home on the way there."""
    own, real = Path.home(), os.path.realpath(home)
    for path in data:
        if path.is_relative_to(own):
            link = Path(home, path.relative_to(own))
            straight = Path(real, path.relative_to(own)).parent
            if os.path.realpath(link.parent) != str(straight):
                return True
            if link.is_symlink() and os.path.realpath(link) != os.path.realpath(path):
                return True
    return False
