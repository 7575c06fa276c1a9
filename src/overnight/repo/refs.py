"""overnight's refs in the user's repository, and the campaign's branch."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from overnight.core.errors import WorkspaceError
from overnight.repo.git import git, quiet_environment


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
        args = ["rev-parse", "--verify", "--quiet", f"refs/heads/overnight/{tag}"]
        done = git(args, self._top, _environment(), accepted=(0, 1))
        return done.stdout.decode().strip() or None

    def move_branch(self, tag: str, to: str, expected: str | None) -> None:
        """Move overnight/<tag> from `expected` (None: create it) to `to`.

        Raises WorkspaceError, without moving it, if it is elsewhere or checked out.
        """
        name = f"refs/heads/overnight/{tag}"
        listing = self._in_repository("worktree", "list", "--porcelain").stdout.decode()
        if f"branch {name}\n" in listing:
            raise WorkspaceError(
                f"branch overnight/{tag} is checked out; moving it would disturb that checkout. It "
                f"should be at {to[:10]}: switch to another branch, and the next run moves it."
            )
        self._update_ref(name, to, expected or self._null_id)

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
