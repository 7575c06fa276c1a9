"""Signal, trace, limit or pin the process that measures.

close it with a sandbox: without one, all of your processes are within reach.
"""

import ctypes
import os
import resource

for pid in {DOCTOR["pid"], os.getppid()} - {0, 1, os.getpid()}:
    tries = {
        "signalled": lambda: os.kill(pid, 0),
        "limited": lambda: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)),
        "pinned": lambda: os.sched_setaffinity(pid, os.sched_getaffinity(0)),
    }
    for name, act in tries.items():
        try:
            act()
            if pid == DOCTOR["pid"]:
                through(f"process {pid} could be {name}")
        except (AttributeError, OSError, ValueError) as error:
            refused(f"{name}: {error}")
if ctypes.CDLL(None).ptrace(16, DOCTOR["pid"], 0, 0) == 0:
    through("overnight could be traced")
