"""Overwrite the scorer, arena.toml, program.md, results.tsv, the ledger, and git's files.

close it with a sandbox: without one, a run has your rights.
"""

import os

state, arena = DOCTOR["state"], DOCTOR["arena"]
targets = [os.path.join(arena, name) for name in ("arena.toml", "program.md", "score.py")]
targets += [os.path.join(state, name) for name in ("ledger.db", "results.tsv", "notes.md")]
targets += [os.path.join(DOCTOR["git"], name) for name in ("HEAD", "config", "hooks/post-commit")]
for path in [*targets, "arena.toml", "program.md"]:
    try:
        with open(path, "ab") as file:
            # In a private folder this makes a new, empty file, which does no harm.
            (through if file.tell() else refused)(f"{path} could be opened for writing")
    except OSError as error:
        refused(f"{path}: {error.strerror}")
known = {arena: "arena.toml", state: ".gitignore", DOCTOR["git"]: "config"}
for folder, name in known.items():
    path = os.path.join(folder, "planted-by-doctor")
    try:
        with open(path, "x"):
            real = os.path.getsize(os.path.join(folder, name)) > 0
            (through if real else refused)(f"{path} was made")
        os.unlink(path)
    except OSError as error:
        refused(f"{path}: {error.strerror}")
