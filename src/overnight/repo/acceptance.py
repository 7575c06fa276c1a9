"""What of a checkout may become a candidate, and why the rest may not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from overnight.repo.git import printable

MOST_FILE_BYTES = 50_000_000
"""A larger file is refused in a candidate, and so are changed files that have more together: they
would stay in the repository for ever."""
MOST_LISTED = 100
"""So many dropped or refused paths are named; of the rest, only how many there are."""
PathFilter = Callable[[str], bool]
FindSecret = Callable[[bytes], str | None]
"""What of a person's stands there and belongs into no commit, by name; None: nothing."""
FindAddedSecret = Callable[[str, bytes], str | None]
"""The same for a path and its content."""


def no_secrets(content: bytes) -> str | None:
    """Where there are no secrets to be found."""
    return None


def added_secrets(
    find_secret: FindSecret, before: Callable[[str], bytes | None]
) -> FindAddedSecret:
    """The search for what was not there already, by the content that a path had before."""

    def found(path: str, content: bytes) -> str | None:
        name = find_secret(os.fsencode(path)) or find_secret(content)
        there = before(path) if name else None
        return None if there and find_secret(there) == name else name

    return found


@dataclass(frozen=True)
class Collected:
    """What became of an agent's changes."""

    commit: str | None
    """None: nothing editable was changed, or something was refused."""
    dropped: tuple[str, ...] = ()
    """Changed paths that are not editable, relative to the arena; ignored files are not named."""
    refused: tuple[str, ...] = ()
    """Why the changes cannot be taken as they are, a sentence each."""


def printable_names(names: Iterable[str]) -> tuple[str, ...]:
    """At most MOST_LISTED of the names, as text that can be printed."""
    every = [printable(name) for name in names]
    more = len(every) - MOST_LISTED
    return (*every[:MOST_LISTED], f"and {more} more") if more > 0 else tuple(every)


def unreadable(top: Path) -> Iterator[str]:
    """What would stop git from reading a checkout: FIFOs, and folders that cannot be listed."""
    waiting = [top]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            yield f"{os.path.relpath(place, top)[:200]} cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != ".git":
                    waiting.append(Path(entry.path))
            elif not entry.is_file() and stat.S_ISFIFO(os.lstat(entry.path).st_mode):
                yield f"{os.path.relpath(entry.path, top)} is a FIFO"


def has_matching_files(top: Path, path: str, matches: PathFilter) -> bool:
    """Whether the path is a nested repository (git says so by a last slash) with such files."""
    if not path.endswith("/"):
        return False
    places = (Path(place, name) for place, _, names in os.walk(top / path) for name in names)
    return any(matches(place.relative_to(top).as_posix()) for place in places)


def refusals(
    top: Path, prefix: str, paths: Iterable[str], find_secret: FindAddedSecret
) -> Iterator[str]:
    """Why paths of a checkout cannot be taken as they are."""
    arena, size = os.path.realpath(top / prefix), 0
    for path in paths:
        links = [above for above in PurePosixPath(path).parents if (top / above).is_symlink()]
        wrong = f"lies behind the link {links[-1]}" if links else _wrong_with(top / path, arena)
        if path.endswith("/"):
            wrong = "is a git repository of its own"
        if not wrong and (name := find_secret(path, _content(top / path))):
            wrong = f"holds the value of {name}, which belongs into no commit: read the variable"
        if wrong:
            yield f"{path.removeprefix(prefix)} {wrong}"
        elif (top / path).is_file():
            size += (top / path).lstat().st_size
    if size > MOST_FILE_BYTES:
        yield f"the changed files have {size:,} bytes together, more than {MOST_FILE_BYTES:,}"


def _content(place: Path) -> bytes:
    """What a commit would hold of a path that can be taken; nothing of one that was removed."""
    if place.is_symlink():
        return os.fsencode(os.readlink(place))
    return place.read_bytes() if place.is_file() else b""


def _wrong_with(place: Path, arena: str) -> str | None:
    try:
        found = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None  # removed, which is a change like any other
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISLNK(found.st_mode):
        # An absolute link would lead into this very checkout, which is soon gone.
        inside = Path(os.path.realpath(place)).is_relative_to(arena)
        outward = not inside or os.path.isabs(os.readlink(place))
        return "is a link that leads out of the arena" if outward else None
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_size > MOST_FILE_BYTES:
        return f"has {found.st_size:,} bytes, more than {MOST_FILE_BYTES:,}"
    return None if os.access(place, os.R_OK) else "cannot be read"
