"""A conversation that continues from one experiment to the next: its id, and the agent's home.

The home was written by the agent, so it is moved as a whole and never read. A home that cannot be
used is moved into the proposal's folder, which is removed afterwards.
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
from overnight.sandbox.runtime import home_folder

_MOST_PROPOSALS = 20
_MOST_CONTEXT = 0.5
"""The fraction of the model's context window above which a conversation starts anew."""


class Conversation(BaseModel):
    """What is kept of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    session: str
    """The agent's id for it."""
    proposals: int = 1
    used: Usage = Usage()
    """In total so far, by the program's own count."""

    def has_room(self, context: float | None) -> bool:
        """Whether it may continue. `context`: the fraction of the context window in use, if
        known."""
        return self.proposals < _MOST_PROPOSALS and (context is None or context <= _MOST_CONTEXT)


class ConversationStore:
    """Keeps the conversation of one agent in one campaign between experiments."""

    def __init__(self, name: str, bench: Workbench) -> None:
        campaign = bench.private.parent.name
        self._folder = bench.arena.state / "sessions" / campaign / f"agent-{quote(name, safe='')}"
        self._file = self._folder / "conversation.json"
        self._kept_home = self._folder / "home"
        self._private = bench.private

    def take(self, data: Sequence[Path]) -> Conversation | None:
        """Move the kept home to where the proposal's home belongs, and return its conversation, if
        there is one. The store is empty then: a proposal that fails ends the conversation.
        `data`: paths that the agent may read."""
        conversation = self._read()
        self._file.unlink(missing_ok=True)
        if not self._kept_home.is_dir():
            return None
        if conversation is None or _leads_elsewhere(self._kept_home, data):
            self._kept_home.rename(self._private / "discarded")
            return None
        self._kept_home.rename(self._private / "home")
        return conversation

    def keep(self, conversation: Conversation) -> None:
        """Keep the proposal's home and its conversation for the next experiment. A home that cannot
        be kept, because the agent removed it, ends the conversation."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._private / "home").rename(self._kept_home)
            self._file.write_text(conversation.model_dump_json(), encoding="utf-8")

    def _read(self) -> Conversation | None:
        with suppress(FileNotFoundError, ValidationError):
            return Conversation.model_validate_json(self._file.read_bytes())
        return None


def _leads_elsewhere(home: Path, data: Sequence[Path]) -> bool:
    """Whether a link that the agent left would lead overnight out of this home when it links the
    declared data into it, or stands in the place of such a link."""
    own, real = home_folder(), os.path.realpath(home)
    for path in data:
        if path.is_relative_to(own):
            link = Path(home, path.relative_to(own))
            straight = Path(real, path.relative_to(own)).parent
            if os.path.realpath(link.parent) != str(straight):
                return True
            if link.is_symlink() and os.path.realpath(link) != os.path.realpath(path):
                return True
    return False
