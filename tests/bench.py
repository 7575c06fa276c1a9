"""A repository for tests, its workspace with checkouts, and what of it must stay as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from overnight.repo.acceptance import Collected
from overnight.repo.workspace import Workspace
from toy import git


def editable(path: str) -> bool:
    return path == "train.py" or path.startswith("model/")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def repository(folder: Path, files: dict[str, str] | None = None, *words: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main", *words)
    write(folder, {"train.py": "x = 1\n", "prepare.py": "y = 2\n", **(files or {})})
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


class Bench:
    """A workspace and its checkouts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace.open(root, root / ".overnight")
        self.head = self.workspace.head()
        self._number = 0

    def checkout(self, commit: str | None = None) -> tuple[Path, Path]:
        """The checkout's top, and the arena's folder in it."""
        self._number += 1
        place = self.root / ".overnight" / "worktrees" / str(self._number)
        return place, self.workspace.checkout(commit or self.head, place, own_git=True)

    def commit(self, place: Path, parent: str | None = None) -> Collected:
        return self.workspace.commit(parent or self.head, place, editable, "try")

    def changed(self, files: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        """The candidate's commit after these files were written, and what was dropped."""
        place, folder = self.checkout()
        write(folder, files)
        made = self.commit(place)
        assert made.commit is not None and not made.refused, made
        return made.commit, made.dropped

    def tree(self, commit: str) -> dict[str, str]:
        lines = git(self.root, "ls-tree", "-r", "-z", commit).split("\0")
        return {line.split("\t")[1]: line.split(" ")[0] for line in lines if line}


def fingerprint(folder: Path) -> dict[str, object]:
    """Everything of a person's repository that must stay as it is."""
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if n != ".overnight" and Path(place, n) != folder / ".git"]
        for name in names:
            path = Path(place, name)
            status = path.lstat()
            body = os.readlink(path) if path.is_symlink() else path.read_bytes()
            files[str(path)] = (status.st_mode, status.st_mtime_ns, body)
    own = folder / ".git"
    watched = [own / name for name in ("index", "HEAD", "config", "refs/stash", "logs/HEAD")]
    return {
        "files": files,
        "git": {p.name: hashlib.sha1(p.read_bytes()).hexdigest() for p in watched if p.exists()},
        "refs": [r for r in git(folder, "for-each-ref").splitlines() if "overnight" not in r],
        "worktrees": git(folder, "worktree", "list", "--porcelain"),
    }
