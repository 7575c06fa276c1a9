"""Ctrl-C, SIGTERM, a closed terminal: one sentence and exit code 130, never a traceback.

While a command works, KeyboardInterrupt unwinds it. Before, after and during imports the process
exits at once: the next start resumes everything, and a library that is being imported may swallow
the exception. So does a second signal, which would interrupt the unwinding, unless it comes with
the first: programs that pass signals on send two. cli.py imports this file first, so it imports
only what loads fast (`_signal`, because `signal` loads `enum`).
"""

from __future__ import annotations

import atexit
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
else:
    import _signal

EXIT_CODE = 130
WORDS = "interrupted; run the same command again"
_TOGETHER_SECONDS = 0.5
_working = False
_interrupted = 0.0
"""When a command at work was interrupted, by time.monotonic(); 0: it was not."""


def listen() -> None:
    """Handle these signals from now on, unless the parent process has them ignored."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _heard)
            # Registered first, so called last: while Python shuts down, the default action would
            # kill the process without a message.
            atexit.register(_signal.signal, number, _signal.SIG_IGN)


def working(now: bool) -> None:
    """Set whether a command is at work, which an interrupt then unwinds."""
    global _working
    _working = now


def _heard(number: int, frame: FrameType | None) -> None:
    global _interrupted
    if _interrupted and time.monotonic() - _interrupted < _TOGETHER_SECONDS:
        return
    if _working and not _interrupted and not _loading(frame):
        _interrupted = time.monotonic()
        raise KeyboardInterrupt
    leave()


def leave() -> None:
    """Print the sentence and exit at once."""
    try:
        os.write(2, f"overnight: {WORDS}\n".encode())
    finally:  # the terminal may be gone
        os._exit(EXIT_CODE)


def _loading(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
