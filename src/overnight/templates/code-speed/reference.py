"""What `aggregate` has to return, written to be right rather than fast. Nobody may change it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

LINE = re.compile(rb'(\S+) - (\S+) \[([^\]]*)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) (\d+\.\d{6})')
"""host, user, time, request, status, bytes sent, seconds; a line is malformed unless all of it
matches, its time is one, and its request is `METHOD /target HTTP/n.n`."""
REQUEST = re.compile(rb"([A-Z]+) (/\S*) HTTP/\d\.\d")

Row = list[int | str]


def table(log: bytes) -> dict[str, object]:
    """{"malformed": lines, "routes": {route: row}}; the end of the last line may be missing."""
    found: dict[str, list[tuple[bytes, int, int, int, Fraction]]] = defaultdict(list)
    malformed = 0
    lines = log.split(b"\n")
    for text in lines[:-1] if lines[-1] == b"" else lines:
        line = LINE.fullmatch(text)
        request = REQUEST.fullmatch(line[4]) if line else None
        minute = minute_of(line[3]) if line else None
        if line is None or request is None or minute is None:
            malformed += 1
            continue
        size = 0 if line[6] == b"-" else int(line[6])
        taken = Fraction(line[7].decode()) * 1000
        found[route_of(request)].append((line[1], int(line[5]), size, minute, taken))
    return {"malformed": malformed, "routes": {name: row(seen) for name, seen in found.items()}}


def row(seen: list[tuple[bytes, int, int, int, Fraction]]) -> Row:
    """Requests, errors (status 500 to 599), bytes, distinct hosts, requests in the busiest minute,
    mean and 95th percentile (nearest rank) of the time in ms."""
    hosts, statuses, sizes, minutes, times = zip(*seen, strict=True)
    rank = math.ceil(Fraction(95, 100) * len(seen))
    return [
        len(seen),
        sum(500 <= status <= 599 for status in statuses),
        sum(sizes),
        len(set(hosts)),
        max(Counter(minutes).values()),
        rounded(sum(times, Fraction(0)) / len(seen)),
        rounded(sorted(times)[rank - 1]),
    ]


def rounded(value: Fraction) -> str:
    """Two decimals, halves away from zero."""
    hundredths = math.floor(value * 100 + Fraction(1, 2))
    return str((Decimal(hundredths) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP))


def minute_of(when: bytes) -> int | None:
    """Minutes since 1970 in UTC of `12/Mar/2026:09:30:00 +0100`."""
    try:
        return int(datetime.strptime(when.decode(), "%d/%b/%Y:%H:%M:%S %z").timestamp()) // 60
    except ValueError:
        return None


def route_of(request: re.Match[bytes]) -> str:
    """`GET /items/:id`: the method and the path, without the query, each number replaced."""
    parts = request[2].decode("latin-1").split("?")[0].split("/")
    named = [":id" if re.fullmatch("[0-9]+", part) else part for part in parts]
    return f"{request[1].decode()} {'/'.join(named)}"


def as_text(result: object) -> bytes:
    """A table as JSON in which routes are sorted: equal tables are equal texts."""
    return json.dumps(result, sort_keys=True).encode()


def difference(answer: bytes, right: bytes) -> str | None:
    """The first thing that is wrong in an answer, both as `as_text` gives them; None if nothing."""
    if answer == right:
        return None
    try:
        found = json.loads(answer)
        got, want = found["routes"], json.loads(right)["routes"]
        if wrong := [name for name in want if got.get(name) != want[name]]:
            return f"{wrong[0]!r} is {got.get(wrong[0])!r:.200}, and should be {want[wrong[0]]!r}"
        if extra := sorted(set(got) - set(want)):
            return f"it has a route that is not in the log: {extra[0]!r:.200}"
        return f"malformed is {found.get('malformed')!r:.50} of {json.loads(right)['malformed']}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"it is no table: {answer[:80]!r}"
