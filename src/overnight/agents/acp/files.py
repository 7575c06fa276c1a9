"""The files of an agent's worktree, read and written for it by a process with more rights.

The agent may swap a file for a link at any moment, so no link is followed: each folder on the way
is opened relative to the one before. What is hidden from the agent is hidden here too.
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
    """The request is not allowed or cannot be done; the message goes to the agent."""


class Worktree:
    """What an agent may read and write through overnight. Paths are absolute, or relative to the
    arena's folder."""

    def __init__(self, bench: Workbench) -> None:
        self._arena = bench.arena
        self._top = bench.private / "tree"
        self._folder = bench.folder
        # An agent that asks for its working folder may get the target of a link.
        self._tops = (self._top, Path(os.path.realpath(self._top)))
        secrets = hidden(bench.arena, bench.folder)
        secrets += [Path(os.path.realpath(path)) for path in secrets]
        self._hidden = [inner for path in secrets if (inner := self._inside(str(path)))]

    def holds(self, path: str) -> bool:
        """Whether the path lies in the worktree and is not hidden from the agent."""
        inner = self._inside(path)
        return inner is not None and not self._is_hidden(inner)

    def is_editable(self, path: str) -> bool:
        """Whether a change of this path can become part of the candidate, or is a file for
        overnight, such as the idea."""
        inner, prefix = self._inside(path), self._folder.relative_to(self._top)
        if inner is None or not inner.is_relative_to(prefix):
            return False
        name = inner.relative_to(prefix).as_posix()
        return name in (IDEA_FILE, LEFT) or self._arena.is_editable(name)

    def read(self, path: str, line: int | None = None, limit: int | None = None) -> str:
        """The text of a file, from line number `line` (1 is the first) and for at most `limit`
        lines. Raises Refused."""
        inner = self._inside(path)
        if inner is None:
            raise Refused(f"{path} is outside of the worktree {self._top}")
        if self._is_hidden(inner):
            raise Refused(f"{path} is hidden from agents")
        text = self._text(inner, path)
        if line is None and limit is None:
            return text
        first = max(line or 1, 1) - 1
        lines = text.splitlines(keepends=True)[first:]
        return "".join(lines if limit is None else lines[:limit])

    def write(self, path: str, text: str) -> None:
        """Replace an editable file, whole or not at all. Raises Refused."""
        inner = self._inside(path)
        if inner is None or not self.is_editable(path):
            raise Refused(
                f"{path} is not editable; only {', '.join(self._arena.editable)} may change"
            )
        data = text.encode("utf-8", "replace")
        if len(data) > MOST_BYTES:
            raise Refused(f"{path}: {len(data):,} bytes are more than the {MOST_BYTES:,} allowed")
        try:
            with self._parent(inner, make=True) as folder:
                _replace(folder, inner.name, data)
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}") from error

    def _text(self, inner: PurePosixPath, path: str) -> str:
        # O_NONBLOCK: opening a named pipe would wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with self._parent(inner) as folder:
                file = os.open(inner.name, flags, dir_fd=folder)
            with open(file, "rb") as opened:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise Refused(f"{path} is not a regular file")
                data = opened.read(MOST_BYTES + 1)
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > MOST_BYTES:
            raise Refused(f"{path} has more than {MOST_BYTES:,} bytes, which is the limit")
        return data.decode("utf-8", "replace")

    def _inside(self, path: str) -> PurePosixPath | None:
        """The path relative to the worktree, without a look at the disk; None: outside of it."""
        try:
            if b"\0" in os.fsencode(path):
                return None
        except UnicodeEncodeError:
            return None  # half a surrogate pair: no file has such a name
        whole = Path(os.path.normpath(self._folder / path))
        for top in self._tops:
            if whole.is_relative_to(top):
                return PurePosixPath(whole.relative_to(top))
        return None

    def _is_hidden(self, inner: PurePosixPath) -> bool:
        return any(inner.is_relative_to(secret) for secret in self._hidden)

    @contextmanager
    def _parent(self, inner: PurePosixPath, make: bool = False) -> Iterator[int]:
        """A descriptor of a file's folder; with `make`, the folder is created if missing."""
        folder = os.open(self._top, _FOLDER)
        try:
            for part in inner.parts[:-1]:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                next_ = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = next_
            yield folder
        finally:
            os.close(folder)


def _replace(folder: int, name: str, data: bytes) -> None:
    """Put a new file in the place of the old one, with its permissions, so that nothing is written
    through a link."""
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
