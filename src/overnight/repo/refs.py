"""overnight's refs in the user's repository, and the campaign's branch."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from overnight.core.errors import WorkspaceError
from overnight.repo.git import git, printable, quiet_environment


class Refs:
    """Writes refs/overnight/<tag>/<n> and refs/heads/overnight/<tag>, and no other ref."""

    def __init__(self, top: Path, hashing: str) -> None:
        self._top = top
        self._null_id = "0" * (64 if hashing == "sha256" else 40)
        self._writing = threading.Lock()

    def record(self, tag: str, n: int, commit: str) -> None:
        """Set refs/overnight/<tag>/<n>, which keeps a candidate reachable."""
        self._update_ref(f"refs/overnight/{tag}/{n}", commit)

    def recorded(self, tag: str) -> dict[int, str]:
        """Number → commit of the campaign's candidates."""
        args = ["for-each-ref", "--format=%(refname:lstrip=3) %(objectname)"]
        output = self._in_repository(*args, f"refs/overnight/{tag}/").stdout.decode()
        pairs = (line.split(" ") for line in output.splitlines())
        return {int(n): commit for n, commit in pairs if n.isdigit()}

    def forget(self, tag: str, n: int) -> None:
        """Delete the ref of a candidate that is not in the ledger."""
        self._update_ref(f"refs/overnight/{tag}/{n}")

    def branch(self, tag: str) -> str | None:
        """The tip of overnight/<tag>; None if there is no such branch."""
        return self._commit(f"refs/heads/overnight/{tag}")

    def move_branch(self, tag: str, to: str, expected: str | None) -> None:
        """Move overnight/<tag> from `expected` (None: create it) to `to`.

        Raises WorkspaceError, without moving it, if it is elsewhere or checked out.
        """
        name = f"refs/heads/overnight/{tag}"
        if checkout := self._checkout_of(name):
            step = "switch to another branch there"
            if not os.path.exists(checkout):
                step = "that folder is gone, so run `git worktree prune`"
            raise WorkspaceError(
                f"branch overnight/{tag} is checked out in {checkout}; moving it would disturb "
                f"that checkout. It should be at {to[:10]}: {step}, and the next run moves it."
            )
        try:
            self._update_ref(name, to, expected or self._null_id)
        except WorkspaceError as error:
            if self._commit("refs/heads/overnight") is None:
                raise
            raise WorkspaceError(
                f"branch overnight/{tag} cannot be made, because {self._top} has a branch named "
                "overnight and git cannot have both. Rename yours with `git branch -m overnight "
                "another-name`, then run the same command again."
            ) from error

    def _checkout_of(self, name: str) -> str | None:
        """The folder of the worktree, perhaps gone, in which this branch is checked out."""
        listing = self._in_repository("worktree", "list", "--porcelain").stdout
        for record in os.fsdecode(listing).split("\n\n"):
            folder, *about = record.split("\n")
            if f"branch {name}" in about:
                return printable(folder.removeprefix("worktree "))
        return None

    def _commit(self, name: str) -> str | None:
        args = ["rev-parse", "--verify", "--quiet", name]
        done = git(args, self._top, _environment(), accepted=(0, 1))
        return done.stdout.decode().strip() or None

    def _in_repository(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        return git(args, self._top, _environment())

    def _update_ref(self, name: str, to: str | None = None, expected: str | None = None) -> None:
        args = ["update-ref", name, to] if to else ["update-ref", "-d", name]
        with self._writing:
            self._in_repository(*args, *([expected] if expected else []))


def _environment() -> dict[str, str]:
    # git checked the repository's owner when the workspace was opened.
    count = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    return quiet_environment(GIT_CONFIG_VALUE_0="*", **count)
