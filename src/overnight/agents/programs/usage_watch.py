"""What an agent program has used by its own report, and whether that reaches its limits."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from overnight.agents.base import Workbench
from overnight.agents.llm.litellm_setup import price_of
from overnight.agents.programs.conversation import Conversation
from overnight.agents.programs.output import first_text
from overnight.agents.programs.preset import Preset
from overnight.arena.settings import AgentTable
from overnight.core.files import plain_text
from overnight.core.usage import Usage

_MOST_BYTES = 10_000_000
"""The last bytes of a file, which hold the newest report."""
_MOST_FILES = 20
_LOOK_SECONDS = 2.0
"""Between two looks while the program runs."""
_PAUSE_PER_LOOK = 20
"""A look that takes 1 s is followed by a pause of at least 20 s."""


class UsageWatch:
    """Watches one proposal; `reached` is the stage's watch while the program runs."""

    def __init__(
        self, table: AgentTable, preset: Preset, bench: Workbench, before: Conversation | None
    ) -> None:
        self._output = preset.output
        self._session = preset.session
        self._model = table.model
        self._transcript = bench.transcript
        self._before = before
        self._home = bench.private / "home"
        self._dollars, self._tokens = table.dollars, table.tokens
        if self._dollars is not None:
            self._priced(Usage(0, 0, 1))  # LiteLLM's prices take seconds to load
        self._next_look = time.monotonic() + _LOOK_SECONDS
        self._already = self._partial()
        self.limit = ""
        """Which limit is reached: "900 of 800 tokens"."""

    def reached(self, _: float) -> bool:
        """Whether a limit is reached."""
        if self._dollars is None and self._tokens is None:
            return False
        if (begun := time.monotonic()) >= self._next_look:
            self._compare(self._used() if self._dollars is None else self.usage())
            now = time.monotonic()
            self._next_look = now + max(_LOOK_SECONDS, _PAUSE_PER_LOOK * (now - begun))
        return bool(self.limit)

    def look(self) -> Usage:
        """The usage so far, compared with the limits."""
        usage = self.usage()
        self._compare(usage)
        return usage

    def _compare(self, usage: Usage) -> None:
        tokens = (usage.tokens_in or 0) + (usage.tokens_out or 0)
        if self._tokens is not None and tokens >= self._tokens:
            self.limit = f"{tokens:,} of {self._tokens:,} tokens"
        if self._dollars is not None and (usage.dollars or 0.0) >= self._dollars:
            self.limit = f"{usage.dollars:.3g} of {self._dollars:.3g} dollars"

    def printed(self) -> str:
        """The program's output."""
        return _end_of(self._transcript)

    def last_message(self) -> str:
        """The agent's last message; empty where the output does not mark it."""
        return self._output.last_message(self._text(self._output.file))

    def usage(self) -> Usage:
        """By the program's own report, dollars else by LiteLLM's prices; unknown where neither
        says."""
        used = self._used()
        # A program that knows no price reports 0 dollars.
        return used if used.dollars else replace(used, dollars=self._priced(used))

    def _used(self) -> Usage:
        used = self._whole()
        if used == Usage():
            used = _since(self._partial(), self._already)
        elif self._output.cumulative and self._before:
            used = _since(used, self._before.used)
        return used

    def _priced(self, used: Usage) -> float | None:
        return price_of(self._model, used) if self._model and used.tokens_out else None

    def conversation(self) -> Conversation | None:
        """The conversation to continue in the next proposal; None when the program was ended, or
        the conversation has no room left."""
        session = first_text(self.printed(), self._session) if self._session else None
        used = self._whole()
        # JSON can spell half a surrogate pair, which cannot be written to a file.
        if not (session and session.isprintable()) or used == Usage():
            return None
        proposals = self._before.proposals + 1 if self._before else 1
        found = Conversation(session=session, proposals=proposals, used=used)
        return found if found.has_room(None) else None

    def _whole(self) -> Usage:
        """What the program reports at its end."""
        return self._output.used(self._text(self._output.file), self._output.format)

    def _partial(self) -> Usage:
        """What the program reports while it works."""
        part = self._output.partial
        return part.used(self._text(part.file), "jsonl") if part else Usage()

    def _text(self, glob: str | None) -> str:
        if glob is None:
            return self.printed()
        # A link that the agent left must not lead out of its home.
        home = os.path.realpath(self._home)
        inside = (
            file
            for file in self._home.glob(glob)
            if Path(os.path.realpath(file)).is_relative_to(home)
        )
        newest = sorted(inside, key=_changed)[-_MOST_FILES:]
        return "\n".join(_end_of(file) for file in newest)


def _end_of(file: Path) -> str:
    return plain_text(file, _MOST_BYTES, end=True) or ""


def _changed(file: Path) -> tuple[float, str]:
    """When a file was last changed; a file that is gone comes first."""
    try:
        return file.lstat().st_mtime, file.name
    except OSError:
        return 0.0, file.name


def _since(total: Usage, before: Usage) -> Usage:
    """The difference, at least 0 each; unknown where the total is."""
    pairs = zip(vars(total).values(), vars(before).values(), strict=True)
    return Usage(*(None if now is None else max(now - (then or 0), 0) for now, then in pairs))
