"""Files that an agent left beside its change: read as text, or taken away."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def plain_text(place: Path, most: int) -> str | None:
    """The first `most` bytes of a file that an agent left beside its change, as text; None when
    there is no plain file that can be read. A link is not followed."""
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return None
        with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return None  # what cannot be read was not said


def take_away(place: Path) -> None:
    """Remove such a file, whatever it is, so that it is in no candidate; a folder stays."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
