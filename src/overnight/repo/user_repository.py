"""The user's repository, read with the user's own configuration."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from overnight.core.errors import WorkspaceError
from overnight.repo.git import OLDEST, failure_message, git, records, user_environment, version

COMMIT = "git add --all && git commit -m 'An arena'"
"""The shell line that commits an arena with its program."""


def is_in_repository(folder: Path) -> bool:
    """Whether the folder is in a git working tree. The folder need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    args = ["rev-parse", "--is-inside-work-tree"]
    done = git(args, folder, user_environment(), accepted=(0, 128))
    return done.stdout.strip() == b"true" or b"dubious" in done.stderr


def locate(root: Path) -> tuple[Path, Path, str]:
    """The top of the working tree around a folder, its git directory, and its object format.

    Raises WorkspaceError, which says what to do, if there is no repository, or it is bare or
    belongs to another user.
    """
    if (have := version(root)) < OLDEST:
        old, needed = (".".join(map(str, numbers)) for numbers in (have, OLDEST))
        raise WorkspaceError(f"git {old} is too old: install git {needed} or newer")
    args = ["rev-parse", "--path-format=absolute", "--show-object-format"]
    args += ["--show-toplevel", "--git-common-dir"]
    done = git(args, root, user_environment(), accepted=(0, 128))
    if done.returncode:
        raise WorkspaceError(_no_working_tree(args, root, done.stderr))
    hashing, *places = os.fsdecode(done.stdout).splitlines()
    if len(places) != 2:
        raise WorkspaceError(f"{root}: the name of a folder contains a line break: rename it")
    return Path(places[0]), Path(places[1]), hashing


def head(root: Path) -> str:
    """The commit that is checked out. Raises WorkspaceError if there is no commit yet."""
    args = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]
    done = git(args, root, user_environment(), accepted=(0, 1, 128))
    if done.returncode:
        raise WorkspaceError(
            f"the repository around {root} has no commit yet. A campaign starts from one: {COMMIT}"
        )
    return done.stdout.decode().strip()


def uncommitted(root: Path) -> list[str]:
    """Paths below `root` whose working copy differs from HEAD, without files that git ignores;
    relative to the repository's top.

    Writes nothing and runs no filter: a file that has a filter and was touched since git last read
    it counts as different.
    """
    args = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
    args += ["--ignore-submodules=dirty", "--", "."]
    output = git(args, root, _environment_without_filters(root)).stdout
    return list(dict.fromkeys(record[3:] for record in records(output)))


def create_repository(folder: Path) -> None:
    """Make this folder a git repository; its first commit contains everything in it."""
    env = user_environment()
    identity: list[str] = []
    if not git(["config", "user.email"], folder.parent, env, accepted=(0, 1)).stdout.strip():
        identity = ["-c", "user.name=overnight", "-c", "user.email=overnight@localhost"]
    git(["init", "--quiet", "--initial-branch=main"], folder, env)
    git(["add", "--all"], folder, env)
    args = ["-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "An arena"]
    git([*identity, *args], folder, env)


def _environment_without_filters(root: Path) -> dict[str, str]:
    env = user_environment()
    args = ["config", "-z", "--name-only", "--get-regexp", r"^filter\."]
    keys = records(git(args, root, env, accepted=(0, 1)).stdout)
    for n, key in enumerate(keys):
        env[f"GIT_CONFIG_KEY_{n}"] = key
        env[f"GIT_CONFIG_VALUE_{n}"] = "false" if key.endswith(".required") else ""
    return env | {"GIT_CONFIG_COUNT": str(len(keys))}


def _no_working_tree(args: list[str], root: Path, stderr: bytes) -> str:
    """Why there is no working tree, and what to do."""
    if b"not a git repository" in stderr:
        return (
            f"{root} is not in a git repository. Create one: cd {shlex.quote(str(root))} && "
            f"git init && {COMMIT}"
        )
    if b"must be run in a work tree" in stderr:
        return (
            f"{root} is in a bare repository, which has no files to work with. "
            f"Clone it (git clone {shlex.quote(str(root))} FOLDER) and run overnight in the clone"
        )
    return failure_message(args, root, stderr)
