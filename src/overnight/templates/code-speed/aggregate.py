"""What a web server's log says about each route. This is the file to make faster.

`aggregate(log)` takes the bytes of a log and returns {"malformed": lines, "routes": {route: row}},
where a row is [requests, errors, bytes, visitors, busiest minute, mean ms, p95 ms]. What each of
these means, to the last digit, is said by reference.py.
"""

from __future__ import annotations

import io
import re
from bisect import insort
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

# What is remembered of the lines before, in entries.
MINUTES_REMEMBERED = 0  # one of: 0, 64, 1024, 16384
ROUTES_REMEMBERED = 0  # one of: 0, 64, 1024, 16384
# How times are kept.
LATENCIES = "sorted"  # one of: sorted, unsorted
ARITHMETIC = "decimal"  # one of: decimal, integer
# How the log is taken apart.
BLOCK = 2048  # 256..1048576 log, in bytes

LINE = re.compile(
    rb'(?P<host>\S+) - (?P<user>\S+) \[(?P<when>[^\]]*)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    rb"(?P<status>\d{3}) (?P<size>\d+|-) (?P<seconds>\d+\.\d{6})"
)
REQUEST = re.compile(rb"(?P<method>[A-Z]+) (?P<target>/\S*) HTTP/\d\.\d")


class Route:
    """The numbers of one route while the log is read."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.size = 0
        self.visitors: set[bytes] = set()
        self.minutes: dict[int, int] = {}
        self.total: Decimal | int = 0
        self.latencies: list[Decimal | int] = []

    def add(self, line: re.Match[bytes], minute: int) -> None:
        """Count one request."""
        self.requests += 1
        self.errors += line["status"].startswith(b"5")
        self.size += 0 if line["size"] == b"-" else int(line["size"])
        self.visitors.add(line["host"])
        self.minutes[minute] = self.minutes.get(minute, 0) + 1
        latency = milliseconds(line["seconds"])
        self.total += latency
        if LATENCIES == "sorted":
            insort(self.latencies, latency)
        else:
            self.latencies.append(latency)

    def row(self) -> list[int | str]:
        """The finished numbers."""
        rank = -(-95 * self.requests // 100)
        return [
            self.requests,
            self.errors,
            self.size,
            len(self.visitors),
            max(self.minutes.values()),
            rounded(Decimal(self.total) / self.requests),
            rounded(sorted(self.latencies)[rank - 1]),
        ]


def milliseconds(text: bytes) -> Decimal | int:
    """A time in seconds with six decimals, in ms; as an integer it is in thousandths of that."""
    if ARITHMETIC == "integer":
        return int(text.replace(b".", b""))
    return Decimal(text.decode()) * 1000


def rounded(value: Decimal | int) -> str:
    """Milliseconds with two decimals, halves away from zero."""
    exact = Decimal(value) / 1000 if ARITHMETIC == "integer" else Decimal(value)
    return str(exact.quantize(Decimal("0.01"), ROUND_HALF_UP))


def minute_of(when: bytes) -> int | None:
    """Minutes since 1970 in UTC; None when this is no time."""
    try:
        moment = datetime.strptime(when.decode(), "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        return None
    return int(moment.astimezone(UTC).timestamp()) // 60


def route_of(request: bytes) -> str | None:
    """Method and path, numbers in it replaced; None when this is no request."""
    match = REQUEST.fullmatch(request)
    if match is None:
        return None
    path = match["target"].decode("latin-1").split("?")[0]
    parts = [":id" if part.isascii() and part.isdigit() else part for part in path.split("/")]
    return match["method"].decode() + " " + "/".join(parts)


def remembered(
    function: Callable[[bytes], int | str | None], size: int
) -> Callable[[bytes], int | str | None]:
    """The function with its latest answers remembered."""
    return lru_cache(size)(function) if size else function


def lines_of(log: bytes) -> Iterator[bytes]:
    """The lines, without their ends."""
    stream = io.BytesIO(log)
    rest = b""
    while block := stream.read(BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def aggregate(log: bytes) -> dict[str, object]:
    """The whole table of a log."""
    minute, route = (
        remembered(minute_of, MINUTES_REMEMBERED),
        remembered(route_of, ROUTES_REMEMBERED),
    )
    routes: dict[str, Route] = {}
    malformed = 0
    for text in lines_of(log):
        line = LINE.fullmatch(text)
        name = route(line["request"]) if line else None
        when = minute(line["when"]) if line else None
        if name is None or when is None:
            malformed += 1
            continue
        routes.setdefault(name, Route()).add(line, when)
    return {"malformed": malformed, "routes": {name: one.row() for name, one in routes.items()}}
