"""What an agent program prints of itself: its tokens, its dollars, its conversation, its words.

The output is JSON, as one document or a line each, in every program's own shape; a preset says
where to look. It is untrusted: what is not as expected was not said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field, JsonValue

from overnight.arena.settings import Table
from overnight.core.usage import Usage

_MOST = 10**12
"""What no sum comes to."""
_MOST_LINES = 100_000
"""The last of them are read."""


class Part(Table):
    """Which events to look at, and where in them. A path has dots, and `*` for every key or
    place: `usage.*.inputTokens`. Several paths, and all events that are chosen, are summed."""

    file: str | None = None
    """Where the events are, a glob below the agent's private home; None: in what it prints."""
    where: Mapping[str, str] = {}
    """Path → the value that an event must have there."""
    last: bool = False
    """Whether only the last of them counts."""
    unique: str | None = None
    """Path of what tells events apart: of two alike the first counts."""
    tokens_in: tuple[str, ...] = ()
    tokens_cached: tuple[str, ...] = ()
    tokens_out: tuple[str, ...] = ()
    dollars: tuple[str, ...] = ()

    def used(self, text: str, form: str) -> Usage:
        """What the text tells, in the format json or jsonl; unknown where it does not."""
        events = list(_events(text, form))
        chosen = list(_chosen(events, self.where, self.unique))[-1 if self.last else 0 :]
        counts = [
            _sum(chosen, paths) for paths in (self.tokens_in, self.tokens_cached, self.tokens_out)
        ]
        read, cached, written = (None if count is None else int(count) for count in counts)
        return Usage(read, cached, written, _sum(chosen, self.dollars))


class Said(Table):
    """Where the words are that it ends with."""

    where: Mapping[str, str] = {}
    path: str


class Output(Part):
    """How a program's output is read."""

    format: Literal["json", "jsonl"]
    cumulative: bool = False
    """Whether a conversation that goes on counts from its beginning."""
    partial: Part | None = None
    """What to read as long as there is nothing of the rest, or when it was ended early."""
    said: Said | None = Field(default=None)

    def last_words(self, text: str) -> str:
        """What it said last, as far as it tells that apart from the rest."""
        if self.said is None:
            return ""
        events = list(_chosen(list(_events(text, self.format)), self.said.where, None))
        words = [one for event in events for one in values_at(event, self.said.path)]
        return next((one for one in reversed(words) if isinstance(one, str) and one.strip()), "")


def first_text(printed: str, path: str) -> str | None:
    """The first text at a path in lines of JSON."""
    found = (one for event in _events(printed, "jsonl") for one in values_at(event, path))
    return next((one for one in found if isinstance(one, str) and one), None)


def values_at(data: JsonValue, path: str) -> Iterator[JsonValue]:
    """All values at a dotted path."""
    key, _, rest = path.partition(".")
    inner: list[JsonValue] = []
    if key == "*":
        inner = [*data.values()] if isinstance(data, dict) else _listed(data)
    elif isinstance(data, dict) and key in data:
        inner = [data[key]]
    for one in inner:
        if rest:
            yield from values_at(one, rest)
        else:
            yield one


def _events(text: str, form: str) -> Iterator[JsonValue]:
    for line in [text] if form == "json" else text.splitlines()[-_MOST_LINES:]:
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue  # cut off, or no event at all


def _chosen(
    events: Sequence[JsonValue], where: Mapping[str, str], unique: str | None
) -> Iterator[JsonValue]:
    seen: set[str] = set()
    for event in events:
        if all(list(values_at(event, key)) == [value] for key, value in where.items()):
            mark = str(list(values_at(event, unique))) if unique else str(len(seen))
            if mark not in seen:
                seen.add(mark)
                yield event


def _sum(events: Sequence[JsonValue], paths: Sequence[str]) -> float | None:
    found = [one for event in events for path in paths for one in values_at(event, path)]
    numbers = [one for one in found if isinstance(one, int | float) and 0 <= one < _MOST]
    return sum(numbers) if numbers else None


def _listed(data: JsonValue) -> list[JsonValue]:
    return data if isinstance(data, list) else []
