"""Runs the git program without hooks, filters or anybody's configuration."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from overnight.core.errors import WorkspaceError

OLDEST = (2, 34)
_QUIET = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "overnight",
    "GIT_AUTHOR_EMAIL": "overnight@localhost",
    "GIT_COMMITTER_NAME": "overnight",
    "GIT_COMMITTER_EMAIL": "overnight@localhost",
}
_NO_PROGRAMS = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false")


def user_environment() -> dict[str, str]:
    """Environment in which git reads the user's configuration, but no GIT_* variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def quiet_environment(**variables: str) -> dict[str, str]:
    """Environment in which git reads nobody's configuration."""
    # No HOME: git reads ~/.config/git/attributes and ignore in spite of GIT_CONFIG_GLOBAL.
    kept = {k: v for k, v in user_environment().items() if k not in ("HOME", "XDG_CONFIG_HOME")}
    return kept | _QUIET | variables


def git(
    args: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    data: bytes | None = None,
    accepted: tuple[int, ...] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder. `data` goes to its standard input. Raises WorkspaceError with git's
    message if its exit code is not in `accepted`."""
    command = ["git", *_NO_PROGRAMS, *args]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        if not folder.exists():
            raise WorkspaceError(f"the folder {folder} does not exist") from error
        oldest = ".".join(map(str, OLDEST))
        raise WorkspaceError(f"git is not on PATH: install git {oldest} or newer") from error
    if done.returncode not in accepted:
        raise WorkspaceError(failure_message(args, folder, done.stderr))
    return done


def failure_message(args: Sequence[str], folder: Path, stderr: bytes) -> str:
    """What failed, in which folder, git's own message, and the next step if one is known."""
    said = printable(stderr.strip())
    if "dubious ownership" in said:
        owned = re.search(r"repository at '(.*)'", said)
        repository = owned[1] if owned else folder
        return (
            f"{repository} belongs to another user, and git refuses to work in it. If you trust "
            f"it: git config --global --add safe.directory '{repository}'"
        )
    hint = ""
    if "No space left" in said:
        hint = " The disk is full: free some space, then run the same command again."
    elif re.search(r"[Rr]ead-only file system|[Pp]ermission", said):
        hint = " The repository cannot be written: check its permissions."
    return f"git {args[0]} failed in {folder}: {said or 'without a message'}.{hint}"


def printable(name: str | bytes) -> str:
    """A path, or git's output, as text that can be printed and stored, whatever its bytes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def records(output: bytes) -> list[str]:
    """The paths, or other records, in the output of a git command with -z."""
    return [os.fsdecode(record) for record in output.split(b"\0") if record]


def version(folder: Path) -> tuple[int, ...]:
    """git's version, such as (2, 39)."""
    text = git(["version"], folder, quiet_environment()).stdout.decode()
    numbers = next(word for word in text.split() if word[0].isdigit()).split(".")
    return tuple(int(number) for number in numbers[:2])


def apply_patch(folder: Path, patch: bytes) -> None:
    """Apply a diff to a fresh checkout. `folder` is the arena's folder in it; the diff's paths are
    relative to that folder or to the repository's top. Raises WorkspaceError if it does not fit."""
    args = ["apply", "--whitespace=nowarn", "-"]
    try:
        # Outside a repository, paths are relative to the folder; inside one, git silently skips
        # paths outside the folder.
        git(args, folder, quiet_environment(GIT_CEILING_DIRECTORIES=str(folder.parent)), patch)
    except WorkspaceError as error:
        tops = (above for above in folder.parents if (above / ".git").exists())
        top = None if (folder / ".git").exists() else next(tops, None)
        if top is None:
            raise
        try:
            git(args, top, quiet_environment(), patch)
        except WorkspaceError as again:
            raise WorkspaceError(f"{error} {again}") from again
