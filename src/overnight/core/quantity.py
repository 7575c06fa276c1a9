"""Durations, sizes and amounts as people write them: `5m`, `1h30m`, `8GB`, `$3.20`."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1} | {
    f"{letter}{i}B": (1024 if i else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for i in ("", "i")
}
_LARGE = ((9, "G"), (6, "M"), (3, "k"))
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)")


def parse_duration(text: object) -> float:
    """Seconds of `90s`, `5m`, `1h30m`, `250ms`. ValueError for anything else and for zero."""
    expected = 'expected a duration with its unit, such as "90s", "5m" or "1h30m"'
    if not isinstance(text, str) or not (parts := _PART.findall(text)):
        raise ValueError(expected)
    if _PART.sub("", text.strip()):
        raise ValueError(expected)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError("expected a duration above zero")
    return seconds


def parse_size(text: object) -> int:
    """Bytes of `8GB` (10⁹), `512MiB` (2²⁰). ValueError for anything else and for zero."""
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if not match:
        raise ValueError('expected a size with its unit, such as "8GB" or "512MiB"')
    size = int(float(match[1]) * _BYTES[match[2]])
    if size <= 0:
        raise ValueError("expected a size above zero")
    return size


def format_duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s`, `7 h 12 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_dollars(amount: float) -> str:
    """`$0`, `$0.0043`, `$3.20`, `$1,204`."""
    if amount < 0.1:
        places = 1 - math.floor(math.log10(amount)) if amount > 0 else 0
        return f"${amount:.{places}f}"
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"


def format_count(count: int) -> str:
    """`3,200`, `120k`, `1.2M`, `34.5G`: three digits from 100,000 on."""
    if count < 100_000:
        return f"{count:,}"
    rounded = float(f"{count:.3g}")
    power, letter = next(one for one in _LARGE if rounded >= 10 ** one[0])
    return f"{rounded / 10**power:g}{letter}"


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
