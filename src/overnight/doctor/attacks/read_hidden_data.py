"""Read the hidden paths: by name, through a link, through /proc, from inherited descriptors.

close it by listing every path of the data under `hidden`, and none under `data`.
"""

import os


def files(path):
    if not os.path.isdir(path):
        return [path]
    os.listdir(path)  # raises if refused; names alone are not content
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names][:50]


for hidden in DOCTOR["hidden"]:
    link = os.path.join(os.environ["OVERNIGHT_OUT"], "a-link")
    os.path.lexists(link) and os.unlink(link)
    os.symlink(hidden, link)
    for path in (hidden, link, f"/proc/self/root{hidden}", f"/proc/{DOCTOR['pid']}/root{hidden}"):
        try:
            read = [file for file in files(path) if open(file, "rb").read(1)]
            (through if read else refused)(f"{path} could be read: {read[:1]}")
        except OSError as error:
            refused(f"{path}: {error.strerror}")
for fd in range(3, 64):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
        if target.startswith("/") and not target.startswith(("/proc", "/dev")):
            through(f"descriptor {fd} was inherited: {target}")
    except OSError:
        continue
