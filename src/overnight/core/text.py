"""Text that can be shown safely: the last lines of a log, its last exception, one line."""

from __future__ import annotations

import os
import re
from pathlib import Path


def tail(path: Path, lines: int, max_bytes: int = 65536) -> str:
    """The last lines of a log, at most `max_bytes`, safe to print on a terminal.

    Control characters and invalid UTF-8 are replaced. Of a line that was overwritten with
    carriage returns, the last state is returned. A missing log counts as empty.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            text = file.read(max_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    found = text.rstrip().split("\n")
    if size > max_bytes and len(found) > 1:
        del found[0]
    last = found[-lines:] if lines > 0 else []
    return "\n".join(_printable(line.rstrip("\r").rpartition("\r")[2]) for line in last)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in line)


def exception_line(text: str) -> str | None:
    """The line that names the exception in the last Python traceback; None without one."""
    found = None
    inside = False
    for line in text.splitlines():
        if line.startswith(("Traceback (most recent call last)", '  File "')):
            inside = True
        elif inside and re.match(r"[A-Za-z_][\w.]*(:|$)", line):
            found, inside = line, False
    return found


_ESCAPES = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*"
"""Whole terminal escape sequences: without its ESC, the rest of one would remain as garbage."""


CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""A control character other than a tab, or one that changes the direction of text."""


_UNPRINTABLE = re.compile(f"(?:{_ESCAPES}|{CONTROL.pattern})+")


def one_line(text: str, most: int = 200) -> str:
    """The text without control characters or line breaks, at most `most` characters long."""
    line = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def counted(number: int, noun: str) -> str:
    """`1 win`, `2 wins`, `2,000 experiments`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
