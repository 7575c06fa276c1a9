"""Read the hidden paths: by name, through a link, through /proc, from inherited descriptors.

close it by listing every place of the data under `hidden`, none of it under `data`.
"""

import os

for place in DOCTOR["hidden"]:
    link = os.path.join(os.environ["OVERNIGHT_OUT"], "a-link")
    os.path.lexists(link) and os.unlink(link)
    os.symlink(place, link)
    for path in (place, link, f"/proc/self/root{place}", f"/proc/{DOCTOR['pid']}/root{place}"):
        try:
            found = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
            (through if found else refused)(f"{path} could be read")
        except OSError as error:
            refused(f"{path}: {error.strerror}")
for fd in range(3, 64):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
        if target.startswith("/") and not target.startswith(("/proc", "/dev")):
            through(f"descriptor {fd} was inherited: {target}")
    except OSError:
        continue
