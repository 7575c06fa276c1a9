"""What a stage printed, read so that it can be shown: its last lines, its last exception."""

from __future__ import annotations

import os
import re
from pathlib import Path


def tail(path: Path, lines: int, max_bytes: int = 65536) -> str:
    """The last lines of a log, at most `max_bytes` of them, safe to print on a terminal.

    Control characters and invalid UTF-8 are replaced; of a line that was overwritten with
    carriage returns the last state is given. A log that does not exist is empty.
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
    """The line of the last Python traceback that names the exception; None without one."""
    found = None
    inside = False
    for line in text.splitlines():
        if line.startswith(("Traceback (most recent call last)", '  File "')):
            inside = True
        elif inside and re.match(r"[A-Za-z_][\w.]*(:|$)", line):
            found, inside = line, False
    return found


_ESCAPES = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*"
"""Whole sequences that a terminal obeys: what is left of one without its ESC is litter."""


_CONTROLS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"


_UNPRINTABLE = re.compile(f"(?:{_ESCAPES}|{_CONTROLS})+")


def one_line(text: str, most: int = 200) -> str:
    """The text without control characters or line breaks, at most `most` characters long."""
    line = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
