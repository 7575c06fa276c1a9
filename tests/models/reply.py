"""What a script may answer, and the message that a wire format makes bytes of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Usage:
    """The tokens that a reply reports. `cached` is a part of `tokens_in`."""

    tokens_in: int = 1000
    tokens_out: int = 50
    cached: int = 800


@dataclass(frozen=True)
class Say:
    """The model says something and is done."""

    text: str
    usage: Usage = Usage()


@dataclass(frozen=True)
class Edit:
    """Whole lines of a file are replaced, with whatever tools the program offers."""

    file: str
    """Absolute, or relative to the folder that the program works in."""
    old: str
    new: str
    usage: Usage = Usage()


@dataclass(frozen=True)
class Run:
    """A shell line is run with the program's own tool for it."""

    line: str
    usage: Usage = Usage()


@dataclass(frozen=True)
class Refuse:
    """An error instead of a reply: 401, 429 with `retry-after`, 500, 529; or 200, with a body that
    is no reply."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """None: what such a server says in this wire format."""


@dataclass(frozen=True)
class Hang:
    """Nothing for so many seconds; then the connection closes."""

    seconds: float


@dataclass(frozen=True)
class Garble:
    """A body that breaks off and is no JSON."""


@dataclass(frozen=True)
class Drop:
    """The connection closes without an answer."""


Words = Say | Edit | Run
Reply = Words | Refuse | Hang | Garble | Drop


@dataclass(frozen=True)
class Call:
    """One use of a tool. `text` instead of arguments: a tool that takes free text."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True)
class Message:
    """One answer of the model: a text, and at most one use of a tool."""

    text: str
    call: Call | None
    usage: Usage
    model: str
    id: str
