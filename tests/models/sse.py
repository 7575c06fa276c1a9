"""Server-sent events: JSON texts as the lines of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def events(said: Iterable[Mapping[str, Any]], named: bool = False, end: str = "") -> bytes:
    """The events one after another; `named` ones say their type, `end` comes last as it is."""
    lines = []
    for event in said:
        name = f"event: {event['type']}\n" if named else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return ("".join(lines) + (f"data: {end}\n\n" if end else "")).encode()
