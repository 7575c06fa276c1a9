"""Which changes in a checkout may become a candidate, and why others are refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from overnight.repo.git import printable

MOST_FILE_BYTES = 50_000_000
"""Limit of each changed file and of all together: they stay in the repository for ever."""
MOST_LISTED = 100
"""Most dropped or refused paths that are listed; the rest is only counted."""
PathFilter = Callable[[str], bool]
FindSecret = Callable[[bytes], str | None]
"""Name of the first secret in `content`, or None."""
FindAddedSecret = Callable[[str, bytes], str | None]
"""Name of the first secret that a change adds to a path or its content, or None."""


def no_secrets(content: bytes) -> str | None:
    """A FindSecret that finds none."""
    return None


def added_secrets(
    find_secret: FindSecret, before: Callable[[str], bytes | None]
) -> FindAddedSecret:
    """Find secrets that a path did not already contain. `before`: its content before the change."""

    def found(path: str, content: bytes) -> str | None:
        name = find_secret(os.fsencode(path)) or find_secret(content)
        old = before(path) if name else None
        return None if old and find_secret(old) == name else name

    return found


@dataclass(frozen=True)
class Collected:
    """What was collected of an agent's changes."""

    commit: str | None
    """The candidate. None: no editable file was changed, or a change was refused."""
    dropped: tuple[str, ...] = ()
    """Changed paths that are not editable, relative to the arena; without files git ignores."""
    refused: tuple[str, ...] = ()
    """Why the changes cannot be a candidate, one sentence each."""


def printable_names(names: Iterable[str]) -> tuple[str, ...]:
    """At most MOST_LISTED of the names as printable text, and how many more there are."""
    every = [printable(name) for name in names]
    more = len(every) - MOST_LISTED
    return (*every[:MOST_LISTED], f"and {more} more") if more > 0 else tuple(every)


def unreadable(top: Path) -> Iterator[str]:
    """What git cannot read in a checkout: FIFOs, and folders that cannot be listed."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield f"{os.path.relpath(folder, top)[:200]} cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != ".git":
                    waiting.append(Path(entry.path))
            elif not entry.is_file() and stat.S_ISFIFO(os.lstat(entry.path).st_mode):
                yield f"{os.path.relpath(entry.path, top)} is a FIFO"


def match_inside(top: Path, path: str, matches: PathFilter) -> bool:
    """Whether the path is a nested repository (git marks it with a final slash) that contains
    matching files."""
    if not path.endswith("/"):
        return False
    files = (Path(folder, name) for folder, _, names in os.walk(top / path) for name in names)
    return any(matches(file.relative_to(top).as_posix()) for file in files)


def refusals(
    top: Path, prefix: str, paths: Iterable[str], find_secret: FindAddedSecret
) -> Iterator[str]:
    """Why these paths of a checkout cannot be in a candidate, one sentence per problem."""
    arena, size = os.path.realpath(top / prefix), 0
    for path in paths:
        links = [above for above in PurePosixPath(path).parents if (top / above).is_symlink()]
        wrong = f"lies behind the link {links[-1]}" if links else _wrong_with(top / path, arena)
        if path.endswith("/"):
            wrong = "is a git repository of its own"
        if not wrong and (name := find_secret(path, _content(top / path))):
            wrong = f"holds the value of {name}: read the variable, do not commit it"
        if wrong:
            yield f"{path.removeprefix(prefix)} {wrong}"
        elif (top / path).is_file():
            size += (top / path).lstat().st_size
    if size > MOST_FILE_BYTES:
        yield f"the changed files have {size:,} bytes together, more than {MOST_FILE_BYTES:,}"


def _content(path: Path) -> bytes:
    """What a commit would contain for a path; empty for one that was removed."""
    if path.is_symlink():
        return os.fsencode(os.readlink(path))
    return path.read_bytes() if path.is_file() else b""


def _wrong_with(path: Path, arena: str) -> str | None:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None  # removing a file is a change like any other
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISLNK(found.st_mode):
        # An absolute link would point into this checkout, which is deleted soon.
        inside = Path(os.path.realpath(path)).is_relative_to(arena)
        outward = not inside or os.path.isabs(os.readlink(path))
        return "is a link that leads out of the arena" if outward else None
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_size > MOST_FILE_BYTES:
        return f"has {found.st_size:,} bytes, more than {MOST_FILE_BYTES:,}"
    return None if os.access(path, os.R_OK) else "cannot be read"
