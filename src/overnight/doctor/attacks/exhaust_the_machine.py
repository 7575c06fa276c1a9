"""Exhaust file descriptors and processes.

late: close it with a sandbox, which limits file descriptors, and with run.processes.
"""

import os

held = []
try:
    while len(held) < 100_000:
        held.append(os.open("/dev/null", os.O_RDONLY))
    through("100,000 descriptors could be opened")
except OSError as error:
    refused(f"descriptors: {error.strerror}")
for fd in held:
    os.close(fd)
for _ in range(3000):
    try:
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", DOCTOR["sleep"]])
    except OSError as error:
        refused(f"processes: {error.strerror}")
        break
try:
    os.execv("/bin/sleep", ["sleep", DOCTOR["sleep"]])
except OSError as error:
    refused(f"another program: {error.strerror}")
