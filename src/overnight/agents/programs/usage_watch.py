"""What a run of an agent program has used by its own report, and whether that is its share."""

from __future__ import annotations

import time
from dataclasses import replace

from overnight.agents.base import Workbench
from overnight.agents.llm.litellm_setup import price_of
from overnight.agents.programs.conversation import Conversation
from overnight.agents.programs.output import first_text
from overnight.agents.programs.preset import Preset
from overnight.arena.settings import AgentTable
from overnight.core.files import plain_text
from overnight.core.usage import Usage

_MOST_BYTES = 10_000_000
_MOST_FILES = 20
_LOOK_SECONDS = 2.0
"""Between two looks while it runs."""
_RARELY = 20
"""So many times as long as a look took passes until the next one."""


class Account:
    """Of one proposal. While the program runs it is the stage's watch."""

    def __init__(
        self, table: AgentTable, preset: Preset, bench: Workbench, before: Conversation | None
    ) -> None:
        self._output = preset.output
        self._session = preset.session
        self._model = table.model
        self._transcript = bench.transcript
        self._before = before
        self._home = bench.place / "home"
        self._dollars, self._tokens = table.dollars, table.tokens
        if self._dollars is not None:
            self._priced(Usage(0, 0, 1))  # the table of prices takes seconds to load
        self._next_look = time.monotonic() + _LOOK_SECONDS
        self._already = self._partial()
        self.over = ""
        """Which share is used up, in words."""

    def reached(self, _: float) -> bool:
        """Whether the share is used up."""
        if self._dollars is None and self._tokens is None:
            return False
        if (begun := time.monotonic()) >= self._next_look:
            self._hold_against_share(self._used() if self._dollars is None else self.usage())
            now = time.monotonic()
            self._next_look = now + max(_LOOK_SECONDS, _RARELY * (now - begun))
        return bool(self.over)

    def look(self) -> Usage:
        """What it has used so far."""
        usage = self.usage()
        self._hold_against_share(usage)
        return usage

    def _hold_against_share(self, usage: Usage) -> None:
        tokens = (usage.tokens_in or 0) + (usage.tokens_out or 0)
        if self._tokens is not None and tokens >= self._tokens:
            self.over = f"{tokens:,} of {self._tokens:,} tokens"
        if self._dollars is not None and (usage.dollars or 0.0) >= self._dollars:
            self.over = f"{usage.dollars:.3g} of {self._dollars:.3g} dollars"

    def printed(self) -> str:
        """All that it printed."""
        return plain_text(self._transcript, _MOST_BYTES) or ""

    def last_words(self) -> str:
        """What it said last; empty where its output does not tell."""
        return self._output.last_words(self._text(self._output.file))

    def usage(self) -> Usage:
        """By its own report, its dollars else by LiteLLM's prices; unknown where neither says."""
        used = self._used()
        # Those who know no price say 0.
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
        """What could go on in the next proposal, when it ended by itself and may go on."""
        name = first_text(self.printed(), self._session) if self._session else None
        turns, used = self._before.turns + 1 if self._before else 1, self._whole()
        # A lone half of a character, which JSON can spell, cannot be written down.
        if not (name and name.isprintable()) or used == Usage():
            return None
        going = Conversation(session=name, turns=turns, used=used)
        return going if going.has_room(None) else None

    def _whole(self) -> Usage:
        """What it reports at its end."""
        return self._output.used(self._text(self._output.file), self._output.format)

    def _partial(self) -> Usage:
        """What it reports while it works."""
        part = self._output.partial
        return part.used(self._text(part.file), "jsonl") if part else Usage()

    def _text(self, glob: str | None) -> str:
        if glob is None:
            return self.printed()
        # No link that the agent left leads out of its home.
        home = self._home.resolve()
        inside = (file for file in self._home.glob(glob) if file.resolve().is_relative_to(home))
        files = sorted(inside)[:_MOST_FILES]
        return "\n".join(plain_text(file, _MOST_BYTES) or "" for file in files)


def _since(total: Usage, before: Usage) -> Usage:
    """What came on top."""
    pairs = zip(vars(total).values(), vars(before).values(), strict=True)
    return Usage(*(None if now is None else max(now - (then or 0), 0) for now, then in pairs))
