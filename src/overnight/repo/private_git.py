"""The private git directory in which overnight makes every tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from overnight.core.errors import WorkspaceError
from overnight.repo.git import git, quiet_environment

# Overrides attributes in a tree that run programs or change bytes (line endings excepted).
_ATTRIBUTES = "* -filter -ident -export-subst !working-tree-encoding\n"


class PrivateGit:
    """overnight's own git directory in the state folder: no hooks, no filters, no configuration.

    Objects are written to the user's repository (`common` is its git directory), which is
    otherwise untouched. The index of each checkout is kept here.
    """

    def __init__(self, state: Path, common: Path, hashing: str) -> None:
        self.objects = common / "objects"
        self._path = path = state / "git"
        try:
            _ignore(state)
            if not path.exists():
                self._make(hashing)
            self._link_shallow(common / "shallow")
        except OSError as error:
            raise WorkspaceError(
                f"the folder {state} cannot be written: {error.strerror}. overnight keeps its "
                "record there: check its permissions and the free space, then run again"
            ) from error

    def run(
        self,
        *args: str,
        at: Path | None = None,
        data: bytes | None = None,
        accepted: tuple[int, ...] = (0,),
        index: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git on the checkout `at`, with that checkout's index unless `index` is given.

        Raises WorkspaceError if it fails.
        """
        env = quiet_environment(GIT_DIR=str(self._path), GIT_OBJECT_DIRECTORY=str(self.objects))
        if at is not None:
            env["GIT_WORK_TREE"] = str(at)
            env["GIT_INDEX_FILE"] = str(index or self.index(at))
        return git(args, at or self._path, env, data, accepted)

    def index(self, folder: Path) -> Path:
        """Path of the index of the checkout in this folder; outside it, so that nobody there can
        change it."""
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
        return self._path / "indexes" / name

    def forget(self, folder: Path) -> None:
        """Delete the folder's index, and the lock that a killed git may have left."""
        index = self.index(folder)
        index.unlink(missing_ok=True)
        index.with_name(index.name + ".lock").unlink(missing_ok=True)

    def _make(self, hashing: str) -> None:
        made = Path(tempfile.mkdtemp(prefix="git-", dir=self._path.parent))
        args = ["init", "--quiet", "--bare", "--template=", f"--object-format={hashing}"]
        git([*args, str(made)], made, quiet_environment())
        for name in ("info", "indexes"):
            (made / name).mkdir(exist_ok=True)
        (made / "info" / "attributes").write_text(_ATTRIBUTES)
        try:
            made.rename(self._path)
        except OSError:
            shutil.rmtree(made)
            if not self._path.exists():  # else another process made it first
                raise

    def _link_shallow(self, shallow: Path) -> None:
        """Link to the file that says where a shallow clone ends, so that deepening it is noticed.
        The file need not exist."""
        link = self._path / "shallow"
        if not (link.is_symlink() and link.readlink() == shallow):
            fresh = Path(tempfile.mkdtemp(dir=self._path)) / "shallow"
            fresh.symlink_to(shallow)
            fresh.replace(link)
            fresh.parent.rmdir()


def _ignore(state: Path) -> None:
    """Make the state folder with a .gitignore, so that `git add --all` never adds it."""
    state.mkdir(parents=True, exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
