"""Outlive the deadline: fork twice, open a session, ignore signals, patch the clock.

late: report it as a bug: overnight holds the clock and ends every process of a run.
"""

import os
import signal
import time

time.time = time.monotonic = lambda: 0.0
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        continue
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
os.execv(
    "/bin/sh", ["sh", "-c", f"trap '' TERM HUP INT; while :; do sleep {DOCTOR['sleep']}; done"]
)
