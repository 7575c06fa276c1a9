"""Ctrl-C and SIGTERM: at any instant one sentence and exit code 130, never a traceback.

A command that works is unwound by KeyboardInterrupt. Before, afterwards and while modules load the
process ends at once: nothing is under way that the next start would not take up, and libraries
that load may swallow an exception that is not theirs. cli.py loads this file before all others, so
it imports nothing that takes time (`_signal`: `signal` loads `enum`).
"""

from __future__ import annotations

import atexit
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
else:
    import _signal

EXIT_CODE = 130
WORDS = "interrupted; run the same command again"
_working = False


def listen() -> None:
    """Hear them from now on, where whoever started this process does not have them ignored."""
    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _heard)
            # The last of all exits, as the first that is registered: what follows is Python's own
            # end, which would let the signal kill the process without a word.
            atexit.register(_signal.signal, number, _signal.SIG_IGN)


def working(now: bool) -> None:
    """Say whether a command is at work, and is to be unwound."""
    global _working
    _working = now


def _heard(number: int, frame: FrameType | None) -> None:
    if _working and not _loading(frame):
        raise KeyboardInterrupt
    leave()


def leave() -> None:
    """End the process at once, with the sentence."""
    os.write(2, f"overnight: {WORDS}\n".encode())
    os._exit(EXIT_CODE)


def _loading(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
