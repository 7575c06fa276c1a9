"""Read the ledger, other experiments' folders and the repository's git directory.

close it with a sandbox: it grants a run none of these.
"""

import os

for path in (DOCTOR["state"], os.path.join(DOCTOR["state"], "ledger.db"), DOCTOR["git"]):
    try:
        names = os.listdir(path) if os.path.isdir(path) else [open(path, "rb").read(1)]
        # Only the path to its own folders is visible.
        others = [name for name in names if name != "worktrees"]
        (through if any(others) else refused)(f"{path} could be read: {others[:3]}")
    except OSError as error:
        refused(f"{path}: {error.strerror}")
