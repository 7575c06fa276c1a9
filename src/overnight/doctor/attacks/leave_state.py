"""Leave something for the next experiment: in /tmp, /dev/shm, the home folder, the checkout.

again: private folders are empty at the start of every run and gone at its end.
"""

import os

folders = ("/tmp", "/var/tmp", "/dev/shm", DOCTOR["home"], os.environ["HOME"], ".", "/")
paths = [os.path.join(folder, DOCTOR["mark"]) for folder in folders]
# First all looks, then all tries: two of the names may lead to one place.
for path in paths:
    if os.path.exists(path):
        through(f"{path} is still there")
for path in paths:
    try:
        with open(path, "w"):
            pass
    except OSError as error:
        refused(f"{path}: {error.strerror}")
