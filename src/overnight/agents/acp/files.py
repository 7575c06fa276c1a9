"""The files of an agent's worktree, read and written on its behalf by a process with more rights.

The agent may swap a file for a link at any moment, so no link is ever followed: each folder on the
way is opened from the one before. What is hidden from the agent is hidden here too.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from overnight.agents.base import Workbench
from overnight.agents.programs.idea_file import IDEA_FILE
from overnight.measure.reach import hidden
from overnight.record.notes import LEFT

MOST_BYTES = 2_000_000
"""Of one file, read or written."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """What was asked for is not allowed or cannot be done; the message is for the agent."""


class Worktree:
    """What an agent may read and write through overnight: paths absolute, or relative to the
    arena's folder."""

    def __init__(self, bench: Workbench) -> None:
        self._arena = bench.arena
        self._top = bench.place / "tree"
        self._folder = bench.folder
        # An agent that asks for its working folder may hear the place that a link leads to.
        self._tops = (self._top, Path(os.path.realpath(self._top)))
        secrets = hidden(bench.arena, bench.folder)
        ends = [*secrets, *(Path(os.path.realpath(path)) for path in secrets)]
        self._hidden = [place for path in ends if (place := self._place(str(path)))]

    def holds(self, path: str) -> bool:
        """Whether the path lies in the worktree and is not hidden from the agent."""
        place = self._place(path)
        return place is not None and not self._is_hidden(place)

    def is_editable(self, path: str) -> bool:
        """Whether a change of this path could become part of the candidate, or is a word for
        overnight."""
        place, prefix = self._place(path), self._folder.relative_to(self._top)
        if place is None or not place.is_relative_to(prefix):
            return False
        inner = place.relative_to(prefix).as_posix()
        return inner in (IDEA_FILE, LEFT) or self._arena.is_editable(inner)

    def read(self, path: str, line: int | None = None, limit: int | None = None) -> str:
        """The text of a file from a line on (from 1), at most `limit` lines. Raises Refused."""
        place = self._place(path)
        if place is None:
            raise Refused(f"{path} is outside of the worktree {self._top}")
        if self._is_hidden(place):
            raise Refused(f"{path} is hidden from agents")
        text = self._text(place, path)
        if line is None and limit is None:
            return text
        first = max(line or 1, 1) - 1
        lines = text.splitlines(keepends=True)[first:]
        return "".join(lines if limit is None else lines[:limit])

    def write(self, path: str, text: str) -> None:
        """Put a text in the place of an editable file, at once or not at all. Raises Refused."""
        place = self._place(path)
        if place is None or not self.is_editable(path):
            raise Refused(
                f"{path} is not editable; only {', '.join(self._arena.editable)} may change"
            )
        data = text.encode("utf-8", "replace")
        if len(data) > MOST_BYTES:
            raise Refused(f"{path}: {len(data):,} bytes are more than the {MOST_BYTES:,} allowed")
        try:
            with self._parent(place, make=True) as folder:
                _replace(folder, place.name, data)
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}") from error

    def _text(self, place: PurePosixPath, path: str) -> str:
        # Not blocking: a named pipe would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with self._parent(place) as folder:
                file = os.open(place.name, flags, dir_fd=folder)
            with open(file, "rb") as opened:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise Refused(f"{path} is not a regular file")
                data = opened.read(MOST_BYTES + 1)
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > MOST_BYTES:
            raise Refused(f"{path} has more than the {MOST_BYTES:,} bytes that are handed out")
        return data.decode("utf-8", "replace")

    def _place(self, path: str) -> PurePosixPath | None:
        """Where in the worktree a path lies, by its words alone; None: outside of it."""
        try:
            if b"\0" in os.fsencode(path):
                return None
        except UnicodeEncodeError:
            return None  # half a character: no file has such a name
        whole = Path(os.path.normpath(self._folder / path))
        for top in self._tops:
            if whole.is_relative_to(top):
                return PurePosixPath(whole.relative_to(top))
        return None

    def _is_hidden(self, place: PurePosixPath) -> bool:
        return any(place.is_relative_to(secret) for secret in self._hidden)

    @contextmanager
    def _parent(self, place: PurePosixPath, make: bool = False) -> Iterator[int]:
        """The folder of a file, opened; with `make`, made where it is not there."""
        folder = os.open(self._top, _FOLDER)
        try:
            for part in place.parts[:-1]:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _replace(folder: int, name: str, data: bytes) -> None:
    """A new file in the place of whatever has the name, so that no link to the old one is written
    through. It keeps the old one's permissions."""
    mode = 0o644
    with suppress(FileNotFoundError):
        old = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mode = stat.S_IMODE(old.st_mode) & 0o777 if stat.S_ISREG(old.st_mode) else mode
    fresh = f".overnight-{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        raise
