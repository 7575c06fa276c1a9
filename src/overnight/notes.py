"""notes.md: what agents and people learned, kept for the agents that come after them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from overnight.errors import LedgerError, UsageError
from overnight.message import one_line

MOST_NOTE_CHARACTERS = 2000
"""A longer note is refused: the brief has room for many short ones, not for one long one."""
_PATIENCE_SECONDS = 10.0


def add_note(path: Path, words: str, who: str) -> str:
    """Append a dated note to the file, made when it is missing; returns what was written.

    Its first line begins with `- `, the date (UTC) and who says it; the others are indented, so
    that no note can look like two or like a heading. One writer at a time, in one write.

    Raises UsageError when there are no words or more than MOST_NOTE_CHARACTERS, LedgerError when
    the file is no regular one, is held by somebody else, or cannot be written.
    """
    lines = [cleaned for line in words.splitlines() if (cleaned := one_line(line, len(line) + 1))]
    if not lines:
        raise UsageError("the note is empty: say what was learned, in a sentence or two")
    if (size := sum(map(len, lines))) > MOST_NOTE_CHARACTERS:
        raise UsageError(
            f"the note has {size:,} characters, more than {MOST_NOTE_CHARACTERS:,}: say it "
            "shorter, or in several notes; nothing was written"
        )
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    note = "\n  ".join([f"- {when} {one_line(who, 60)}: {lines[0]}", *lines[1:]])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path) as file:
            os.write(file, (_gap(file) + note + "\n").encode(errors="replace"))
            os.fsync(file)
    except OSError as error:
        words_of_it = error.strerror or str(error)
        raise LedgerError(
            f"{path} cannot be written ({words_of_it}): it must be a plain file that you may write "
            "to, with room on its disk; then give the note again"
        ) from error
    return note


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """The file, opened for appending and locked: the one that has the name once it is locked, for
    whoever rewrites it puts another in its place."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        file = os.open(path, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no plain file")
            if _locked(file) and _is(file, path):
                yield file
                return
        finally:
            os.close(file)
        if time.monotonic() > until:
            raise LedgerError(
                f"{path} has been locked by another process for {_PATIENCE_SECONDS:g} s: end that "
                "one, then give the note again"
            )
        time.sleep(0.02)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def _gap(file: int) -> str:
    """What parts the note from a last line that somebody left without an end."""
    size = os.fstat(file).st_size
    return "\n" if size and os.pread(file, 1, size - 1) != b"\n" else ""
