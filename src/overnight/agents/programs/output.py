"""What an agent program reports in its output: tokens, dollars, its session id, its last message.

The output is JSON, one document or one a line, in a shape that differs by program; a preset says
where to look. It is untrusted: values of the wrong type or size are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field, JsonValue

from overnight.arena.settings import Table
from overnight.core.usage import Usage

_MOST = 10**12
"""Larger numbers of tokens or dollars are ignored."""
_MOST_LINES = 100_000
"""Only the last lines are read."""


class Part(Table):
    """Which events to read, and where in them. A path has dots, and `*` for every key or index:
    `usage.*.inputTokens`. The values at all paths of all chosen events are summed."""

    file: str | None = None
    """The file of events, a glob below the agent's private home; None: its output."""
    where: Mapping[str, str] = {}
    """Path → the value that an event must have there."""
    last: bool = False
    """Whether only the last chosen event counts."""
    unique: str | None = None
    """Path of an event's id: of several events with the same id the first counts."""
    tokens_in: tuple[str, ...] = ()
    tokens_cached: tuple[str, ...] = ()
    tokens_out: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    """Read and written together. What was not read counts as written, where that is more than
    `tokens_out`, which may leave out thoughts."""
    dollars: tuple[str, ...] = ()

    def used(self, text: str, form: str) -> Usage:
        """The usage that the text reports; unknown where it reports none. `form`: json or jsonl."""
        events = list(_events(text, form))
        chosen = list(_chosen(events, self.where, self.unique))[-1 if self.last else 0 :]
        paths = (self.tokens_in, self.tokens_cached, self.tokens_out, self.tokens)
        counts = [_sum(chosen, one) for one in paths]
        read, cached, written, all_ = (None if count is None else int(count) for count in counts)
        if read is not None and all_ is not None:
            written = max(written or 0, all_ - read)
        return Usage(read, cached, written, _sum(chosen, self.dollars))


class Said(Table):
    """Where the agent's messages are."""

    where: Mapping[str, str] = {}
    path: str


class Output(Part):
    """How a program's output is read."""

    format: Literal["json", "jsonl"]
    cumulative: bool = False
    """Whether a conversation that continues counts from its beginning."""
    partial: Part | None = None
    """What to read while the program works, and when it was ended early."""
    said: Said | None = Field(default=None)

    def last_message(self, text: str) -> str:
        """The agent's last message; empty where the output does not mark it."""
        if self.said is None:
            return ""
        events = list(_chosen(list(_events(text, self.format)), self.said.where, None))
        found = [value for event in events for value in values_at(event, self.said.path)]
        return next((one for one in reversed(found) if isinstance(one, str) and one.strip()), "")


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
    for line in [text] if form == "json" else text.split("\n")[-_MOST_LINES:]:
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue  # cut off, or not an event


def _chosen(
    events: Sequence[JsonValue], where: Mapping[str, str], unique: str | None
) -> Iterator[JsonValue]:
    seen: set[str] = set()
    for event in events:
        if all(list(values_at(event, key)) == [value] for key, value in where.items()):
            id_ = str(list(values_at(event, unique))) if unique else str(len(seen))
            if id_ not in seen:
                seen.add(id_)
                yield event


def _sum(events: Sequence[JsonValue], paths: Sequence[str]) -> float | None:
    found = [one for event in events for path in paths for one in values_at(event, path)]
    numbers = [one for one in found if isinstance(one, int | float) and 0 <= one < _MOST]
    return sum(numbers) if numbers else None


def _listed(data: JsonValue) -> list[JsonValue]:
    return data if isinstance(data, list) else []
