"""Files that an agent left beside its change: read as text, or removed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def plain_text(path: Path, most: int, *, end: bool = False) -> str | None:
    """The first `most` bytes of a file, or with `end` the last, as text; None if it is not a
    readable regular file. Links are not followed."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            if end:
                file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return None  # treated as if the agent had left nothing


def take_away(path: Path) -> None:
    """Remove a file of any kind, so that no candidate contains it. Folders stay."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()
