"""How much a stage has written: the bytes and files below some folders.

The supervisor imports this file alone, while a stage runs, so it loads nothing else.
"""

import os
import time

SHARE = 0.02
"""Share of one core that looking may use."""
_SHORTEST_PAUSE = 0.2


class DiskMeter:
    """Looks at folders now and then; `over` is true once they hold more than they may."""

    def __init__(self, folders: "list[str]", most_bytes: int, most_files: int) -> None:
        self.over = False
        self._folders = folders
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._next = 0.0

    def look(self, now: "float | None" = None) -> None:
        """Look, unless the last look was too short a while ago; `now` None looks in any case."""
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
                        if held > self._most_bytes or files > self._most_files:
                            return True
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(entry.path)
            except OSError:
                continue  # removed meanwhile, or made unreadable to spite the meter
        return False


def _blocks(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
