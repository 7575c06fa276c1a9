"""Read keys: from its own environment, other processes' and the home folder.

close it by removing names from run.env, and paths in your home folder from `data`.
"""

import os

if DOCTOR["key"] in os.environ:
    through(f"{DOCTOR['key']} is in the environment")
try:
    others = [name for name in os.listdir("/proc") if name.isdigit()]
except OSError as error:
    refused(f"/proc: {error.strerror}")
    others = []
for pid in {str(DOCTOR["pid"]), str(os.getppid()), "1", *others}:
    try:
        if DOCTOR["key"].encode() in open(f"/proc/{pid}/environ", "rb").read():
            through(f"the environment of process {pid} could be read")
    except OSError as error:
        refused(f"process {pid}: {error.strerror}")
for path in filter(None, (DOCTOR["canary"], "/etc/shadow")):
    try:
        through(f"{path} could be read: {len(open(path, 'rb').read())} bytes")
    except OSError as error:
        refused(f"{path}: {error.strerror}")
