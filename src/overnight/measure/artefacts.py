"""The files that a run left, as the referee gets them: regular files only, within limits.

A run may leave links that lead out of its folder, endless pipes, devices, sockets, sparse files of
a terabyte, folders a thousand levels deep. Nothing is opened or followed: files are moved, by
descriptors of their folders, into a new folder that only overnight has written to.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

DEEPEST = 32
_MOST_NAMED = 5


@dataclass
class Artefacts:
    """What was taken over, and what was left out."""

    files: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    """The first few names, each with a reason."""
    refused: str = ""
    """Why the run cannot be scored; empty when it can."""

    def leave_out(self, name: str, reason: str) -> None:
        """Note a file that the referee does not get."""
        if len(self.left_out) < _MOST_NAMED:
            self.left_out.append(f"{name!a} ({reason})")


def take_over(source: Path, target: Path, most_bytes: int, most_files: int) -> Artefacts:
    """Move the regular files below `source` to a new folder `target`, read-only.

    No process may write to `source` any more. Raises OSError when the machine is at fault.
    """
    found = Artefacts()
    target.mkdir(parents=True)
    source.chmod(0o700)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    here, there = os.open(source, flags), os.open(target, flags)
    try:
        _Mover(found, most_bytes, most_files).move(here, there, "", 0)
    finally:
        os.close(here)
        os.close(there)
    return found


class _Mover:
    def __init__(self, found: Artefacts, most_bytes: int, most_files: int) -> None:
        self._found = found
        self._most_bytes = most_bytes
        self._most_files = most_files

    def move(self, here: int, there: int, path: str, depth: int) -> None:
        """Move one folder, given by descriptors, and all below it."""
        for name in sorted(os.listdir(here)):
            if self._found.refused:
                return
            inner = f"{path}/{name}" if path else name
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if reason := _unwanted(name, status, depth):
                self._found.leave_out(inner, reason)
            elif stat.S_ISDIR(status.st_mode):
                self._folder(here, there, name, inner, depth)
            else:
                self._file(here, there, name, inner, status)
        os.fchmod(there, 0o555)

    def _folder(self, here: int, there: int, name: str, path: str, depth: int) -> None:
        os.chmod(name, 0o700, dir_fd=here)
        os.mkdir(name, 0o700, dir_fd=there)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        inner, target = os.open(name, flags, dir_fd=here), os.open(name, flags, dir_fd=there)
        try:
            self.move(inner, target, path, depth + 1)
        finally:
            os.close(inner)
            os.close(target)

    def _file(self, here: int, there: int, name: str, path: str, status: os.stat_result) -> None:
        found = self._found
        found.files += 1
        found.bytes += status.st_size
        if found.files > self._most_files:
            found.refused = f"the run left more than {self._most_files:,} files"
        elif found.bytes > self._most_bytes:
            most = self._most_bytes / 1e6
            found.refused = f"the run left more than {most:,.0f} MB ({path[:200]!r} and others)"
        elif status.st_nlink == 1:
            os.rename(name, name, src_dir_fd=here, dst_dir_fd=there)
            os.chmod(name, 0o444, dir_fd=there)
        else:  # a hard link: a new mode would apply to the file elsewhere too
            _copy(here, there, name)


def _unwanted(name: str, status: os.stat_result, depth: int) -> str:
    try:
        printable = name.encode().decode().isprintable()
    except UnicodeError:
        printable = False
    if not printable:
        return "its name has unprintable characters"
    if depth >= DEEPEST:
        return f"more than {DEEPEST} folders deep"
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return ""
    kinds = {
        stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def _copy(here: int, there: int, name: str) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=here)
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=there)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        shutil.copyfileobj(reader, writer)
