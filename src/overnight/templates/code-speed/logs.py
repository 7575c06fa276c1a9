"""Makes logs of a web server: each with routes, hosts and habits of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

METHODS = ["GET"] * 12 + ["POST"] * 3 + ["PUT", "DELETE", "HEAD"]
STATUSES = [200] * 30 + [204, 301, 304, 400, 403, 404, 404, 500, 502, 503]
USERS = ["-"] * 6 + ["anna", "omar", "kim"]
BROKEN: list[Callable[[str], str]] = [
    lambda line: line[: len(line) // 2],
    lambda line: line.replace("HTTP/1.1", "HTTP/x"),
    lambda line: line.replace("[", "[31/Foo/"),
    lambda line: line + " ",
    lambda line: line.replace('"', "'"),
    lambda line: line.rsplit(" ", 1)[0] + " 0.12",
    lambda line: "",
]


def make_log(seed: int, lines: int) -> bytes:
    """A log of this many lines; the same for the same seed. One line in 200 is malformed."""
    chance = random.Random(seed)
    routes = [_route(chance) for _ in range(chance.randint(40, 120))]
    weights = [chance.paretovariate(1.2) for _ in routes]
    hosts = [_host(chance) for _ in range(lines // chance.randint(5, 40) + 1)]
    zone = timezone(timedelta(minutes=chance.choice([-480, -210, 0, 60, 120, 345])))
    start = datetime(2026, 1, 1, tzinfo=zone)
    now = start + timedelta(seconds=chance.randrange(300 * 86400))
    written = []
    for route in chance.choices(routes, weights, k=lines):
        now += timedelta(milliseconds=chance.expovariate(1 / 400))
        line = _line(chance, route, chance.choice(hosts), now)
        written.append(chance.choice(BROKEN)(line) if chance.random() < 0.005 else line)
    ending = chance.choice(["", "\n"]) if written[-1] else "\n"
    return ("\n".join(written) + ending).encode("latin-1")


def _line(chance: random.Random, route: str, host: str, now: datetime) -> str:
    method = chance.choice(METHODS)
    path = route.replace("#", str(chance.randrange(10 ** chance.randint(1, 7))))
    query = f"?q={chance.randrange(1000)}/7" if chance.random() < 0.2 else ""
    query += '&name=\\"x\\"' if chance.random() < 0.01 else ""
    status = chance.choice(STATUSES)
    size = "-" if chance.random() < 0.05 else str(int(chance.lognormvariate(8, 2)))
    # Every fifth time is in whole milliseconds, so that means end in halves often.
    seconds = chance.lognormvariate(-3, 1)
    seconds = round(seconds, 3) if chance.random() < 0.2 else seconds
    when = now.strftime("%d/%b/%Y:%H:%M:%S %z")
    request = f"{method} {path}{query} HTTP/1.1"
    return f'{host} - {chance.choice(USERS)} [{when}] "{request}" {status} {size} {seconds:.6f}'


def _route(chance: random.Random) -> str:
    parts = [
        chance.choice([_word(chance), _word(chance), "#"]) for _ in range(chance.randint(1, 4))
    ]
    return "/" + "/".join([_word(chance), *parts]) + chance.choice(["", "", "/", ".html"])


def _word(chance: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz" + chance.choice(["", "0123456789", "é²-_"])
    return "".join(chance.choices(letters, k=chance.randint(2, 9)))


def _host(chance: random.Random) -> str:
    if chance.random() < 0.1:
        return f"2001:db8::{chance.randrange(1 << 16):x}"
    return ".".join(str(chance.randrange(1, 255)) for _ in range(4))
