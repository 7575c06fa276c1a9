"""Leave files for the next experiment: in /tmp, /dev/shm, the home folder, the checkout.

again: close it with a sandbox: a run then writes only to private folders, which are deleted.
"""

import os

folders = ("/tmp", "/var/tmp", "/dev/shm", DOCTOR["home"], os.environ["HOME"], ".", "/")
paths = [os.path.join(folder, DOCTOR["mark"]) for folder in folders]
# Look everywhere first, then write: two of the paths may lead to one folder.
for path in paths:
    if os.path.exists(path):
        through(f"{path} is still there")
for path in paths:
    try:
        with open(path, "w"):
            pass
    except OSError as error:
        refused(f"{path}: {error.strerror}")
