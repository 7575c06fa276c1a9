"""Measures how many bytes and files a stage has below its folders.

The supervisor imports this file at its start, so it imports only what loads fast.
"""

import os
import time

SHARE = 0.02
"""Share of one processor core that the meter may use."""
_SHORTEST_PAUSE = 0.2
MOST_FILES = 100_000
"""Most files and folders that a stage may have below its folders."""


class DiskMeter:
    """Counts the content of folders from time to time; `over` is true once there is too much."""

    def __init__(self, folders: "list[str]", most_bytes: int) -> None:
        self.over = False
        self._folders = folders
        self._most_bytes = most_bytes
        self._next = 0.0

    def look(self, now: "float | None" = None) -> None:
        """Count, unless the last count was too recent. With `now` None, count in any case."""
        if not self._folders or (now is not None and now < self._next):
            return
        began = time.monotonic()
        self.over = self.over or self._count()
        ended = time.monotonic()
        self._next = ended + max(_SHORTEST_PAUSE, (ended - began) / SHARE)

    def _count(self) -> bool:
        held = files = 0
        queue = [*self._folders]
        while queue:
            try:
                with os.scandir(queue.pop()) as entries:
                    for entry in entries:
                        held += _blocks(entry)
                        files += 1
                        if held > self._most_bytes or files > MOST_FILES:
                            return True
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(entry.path)
            except OSError:
                continue  # removed since, or made unreadable on purpose
        return False


def _blocks(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
