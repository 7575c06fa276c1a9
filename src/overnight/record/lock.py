"""The lock of a campaign: one driver at a time, released by the kernel when its owner dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.errors import CampaignBusy

_BUSY = (
    "campaign {tag} is already running, in process {owner}. Look at it with `overnight status`, "
    "stop it with `overnight stop`, or begin another with --tag NAME."
)


class CampaignLock:
    """Held from creation until `release`, or until this process ends, however it ends.

    Raises CampaignBusy when another process holds it.
    """

    def __init__(self, path: Path, busy: str = _BUSY) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+")
        if not self._acquired():
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise CampaignBusy(busy.format(tag=path.name, owner=owner))
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def _acquired(self) -> bool:
        # A few attempts: `driver_of` in another process holds a shared lock for an instant.
        for _ in range(5):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.05)
        return False

    def release(self) -> None:
        """Let the next driver in."""
        self._file.close()

    def __enter__(self) -> CampaignLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def driver_of(path: Path) -> int | None:
    """Process id of the campaign's living driver, or None when nobody holds the lock."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        owner = path.read_text().strip()
        return int(owner) if owner.isdigit() else -1
    return None


DOCTOR = "doctor"
"""The tag under which `overnight doctor` has its folders, lock and processes."""


def family_of(arena: Arena, tag: str) -> str:
    """The mark by which the processes of this campaign are found."""
    return f"{arena.root}:{tag}"


def lock_path(arena: Arena, tag: str) -> Path:
    """The file whose lock the campaign's driver holds."""
    return arena.state / "locks" / tag
