"""Checkouts and candidates: every tree that overnight makes.

Trees are made in a private git directory without hooks, filters or the user's configuration. In
the user's repository only objects, refs/overnight/… and the branch overnight/<tag> are written.

When a candidate is made from a checkout, the checkout's own .git, .gitattributes and links are
not obeyed. What an agent does outside its checkout is the sandbox's concern.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath

from overnight.core.errors import WorkspaceError
from overnight.repo.acceptance import (
    Collected,
    FindSecret,
    PathFilter,
    added_secrets,
    match_inside,
    no_secrets,
    printable_names,
    refusals,
    unreadable,
)
from overnight.repo.git import failure_message, printable, records
from overnight.repo.private_git import PrivateGit
from overnight.repo.refs import Refs
from overnight.repo.user_repository import head, locate, uncommitted

_GITLINK = "160000"
_HELD = 4
"""Files whose content is held."""


class Stale(WorkspaceError):
    """A change does not apply to a commit. `words`: git's message."""

    def __init__(self, onto: str, words: str) -> None:
        super().__init__(f"the change conflicts with commit {onto[:10]}: {words}")
        self.words = words


class Workspace:
    """The repository around an arena. Safe to use from several threads."""

    def __init__(self, root: Path, state: Path, top: Path, common: Path, hashing: str) -> None:
        self.root = root
        self.top = top
        self.prefix = "" if root == top else root.relative_to(top).as_posix() + "/"
        self.warnings: tuple[str, ...] = ()
        """What the user should know about this repository."""
        self.refs = Refs(top, hashing)
        self._state = state
        self._common = common
        self._hashing = hashing
        self._git = PrivateGit(state, common, hashing)
        self._trees: dict[str, str] = {}
        # A candidate and its parent are looked at several times in a row, and neither can change.
        self._entries = lru_cache(3)(self._list)
        self._contents = lru_cache(_HELD)(self._read_blob)

    @classmethod
    def open(cls, root: Path, state: Path) -> Workspace:
        """Open the repository around the arena at `root`; HEAD may be detached.

        Raises WorkspaceError, which says what to do, if there is no repository, or it is bare,
        belongs to another user, has no commit or cannot be written.
        """
        root = root.resolve()
        top, common, hashing = locate(root)
        workspace = cls(root, state.resolve(), top, common, hashing)
        workspace.warnings = tuple(workspace._oddities(workspace.head()))
        return workspace

    # -- reading

    def head(self) -> str:
        """The commit that is checked out. Raises WorkspaceError if there is no commit yet."""
        return head(self.root)

    def left_out(self, base: str) -> list[str]:
        """A warning if the working copy has changes that are not in `base`, the newest commit."""
        dirty = [path.removeprefix(self.prefix) for path in uncommitted(self.root)]
        if not dirty:
            return []
        paths = ", ".join(dirty[:5]) + (f" and {len(dirty) - 5} more" if len(dirty) > 5 else "")
        return [
            f"uncommitted changes ({paths}) are not in the baseline, which is commit {base[:10]}"
        ]

    def read(self, commit: str, path: str) -> bytes | None:
        """Content of an arena's file in a commit; None if it is not there."""
        return self._blob(f"{commit}:{self.prefix}{path}")

    def files(self, commit: str, matches: PathFilter) -> dict[str, str]:
        """Path → blob of the arena's files in a commit; without submodules."""
        in_arena, top = self._of_arena(matches), self.prefix
        entries = self._entries(commit, top)
        return {
            path.removeprefix(top): blob
            for path, mode, blob in entries
            if mode != _GITLINK and in_arena(path)
        }

    def content(self, blob: str) -> bytes:
        """What a file contains that `files` names."""
        return self._contents(blob)

    def mentioning(self, commit: str, pattern: str) -> list[str]:
        """The arena's text files in a commit that match this extended regular expression; case is
        ignored."""
        args = ["grep", "-lzIiE", "-e", pattern, commit, "--", self.prefix or "."]
        found = records(self._git.run(*args, accepted=(0, 1)).stdout)
        return [name.removeprefix(f"{commit}:{self.prefix}") for name in found]

    def diff(self, old: str, new: str) -> str:
        """The difference between two commits as a patch for `git apply`. Bytes in text files that
        are not UTF-8 are replaced."""
        args = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", old, new]
        return self._git.run(*args).stdout.decode(errors="replace")

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new` or one of its ancestors."""
        args = ["merge-base", "--is-ancestor", old, new]
        return self._git.run(*args, accepted=(0, 1)).returncode == 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process is in here for any arena of this repository."""
        directory = os.open(self._common, os.O_RDONLY)  # locked itself, so nothing is left in it
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    # -- checkouts and candidates

    def checkout(self, commit: str, folder: Path, own_git: bool = False) -> Path:
        """Check out a commit's whole tree into a new folder. Returns the arena's folder in it.

        With `own_git` it gets its own git directory, where an agent can commit, stash or configure
        without reaching the user's repository.
        """
        folder.mkdir(parents=True)
        self._git.forget(folder)
        self._git.run("read-tree", "--reset", "-u", commit, at=folder)
        if own_git:
            self._give_git(folder, commit)
        else:
            self._git.forget(folder)
        (folder / self.prefix).mkdir(parents=True, exist_ok=True)
        return folder / self.prefix

    def commit(
        self,
        parent: str,
        folder: Path,
        editable: PathFilter,
        message: str,
        find_secret: FindSecret = no_secrets,
    ) -> Collected:
        """Commit the editable changes in `folder`, a checkout of `parent` made with `own_git`.

        Refuses at editable paths: links that are absolute or lead out of the arena, paths behind a
        link, repositories, files that are not regular, unreadable, contain a secret or exceed
        MOST_FILE_BYTES. Refuses a FIFO anywhere, because git would wait for it for ever.
        """
        if blocked := tuple(unreadable(folder)):
            return Collected(None, (), printable_names(blocked))
        matches = self._of_arena(editable)
        changed = self._changes(folder)
        taken = [path for path in changed if matches(path) or match_inside(folder, path, matches)]
        others = sorted(set(changed).difference(taken))
        dropped = printable_names(os.path.relpath(path, self.prefix or ".") for path in others)
        if refused := self._refusals(folder, parent, taken, find_secret):
            return Collected(None, dropped, printable_names(refused))
        try:
            tree = self._tree_with(folder, taken)
        except _Untakable as error:
            return Collected(None, dropped, (str(error),))
        if tree == self._tree(parent):
            return Collected(None, dropped)
        commit = self._commit(tree, parent, message)
        self._trees = {parent: self._tree(parent), commit: tree}
        return Collected(commit, dropped)

    def has_changes(self, folder: Path, editable: PathFilter) -> bool:
        """Whether `commit` would take or refuse anything of this checkout, which was made with
        `own_git`. Writes nothing."""
        if any(unreadable(folder)):
            return True
        matches, changed = self._of_arena(editable), self._changes(folder)
        return any(matches(path) or match_inside(folder, path, matches) for path in changed)

    def adopt(
        self,
        caller: Path,
        folder: Path,
        parent: str,
        editable: PathFilter,
        find_secret: FindSecret = no_secrets,
    ) -> bool:
        """Copy the uncommitted editable changes of another checkout of this repository into
        `folder`, an `own_git` checkout of `parent`. `caller`: the arena's folder in the other
        checkout. Returns whether there were any.

        Raises Stale if they conflict with `parent`, WorkspaceError if `caller` is not in such a
        checkout or a change is refused.
        """
        theirs = Workspace.open(caller, self._state)
        if theirs._common.resolve() != self._common.resolve() or theirs.prefix != self.prefix:
            raise WorkspaceError(f"{caller} is not a checkout of the repository at {self.top}")
        paths = list(filter(self._of_arena(editable), uncommitted(theirs.root)))
        head = theirs.head()
        if refused := self._refusals(theirs.top, head, paths, find_secret):
            raise WorkspaceError("; ".join(refused))
        self._git.forget(theirs.top)
        self._git.run("read-tree", head, at=theirs.top)
        tree = self._tree_with(theirs.top, paths)
        if head != parent:
            tree = self._carried_over(head, tree, parent, theirs.top)
        self._git.forget(theirs.top)
        top = _above(folder, self.prefix)
        # The checkout's own index stays at the parent, so that `commit` sees the changes.
        copy = self._git.index(top).with_suffix(".copy")
        shutil.copyfile(self._git.index(top), copy)
        self._git.run("read-tree", "--reset", "-u", tree, at=top, index=copy)
        copy.unlink()
        return bool(paths)

    def without(self, commit: str, change: str, before: str, scratch: Path) -> str:
        """A commit on top of `commit` that takes back the change from `before` to `change`.
        `scratch`: a folder for a temporary checkout. Raises Stale if later changes conflict."""
        try:
            self.checkout(commit, scratch / "tree")
            tree = self._carried_over(change, self._tree(before), commit, scratch / "tree")
            return self._commit(tree, commit, f"without {change}\n")
        finally:
            self.remove(scratch)

    def reword(self, commit: str, message: str, parent: str | None = None) -> str:
        """The same tree with another message, and another parent if one is given. Repeating it
        gives the same commit."""
        header = self._git.run("cat-file", "commit", commit).stdout.partition(b"\n\n")[0]
        if parent is not None:
            header = re.sub(rb"(?m)^parent .*$", b"parent " + parent.encode(), header, count=1)
        return self._stored(header, message)

    def remove(self, folder: Path) -> None:
        """Delete a folder that `checkout` made, or one that contains such folders. Links are not
        followed. Raises WorkspaceError if it cannot be deleted."""
        for checkout in (folder, folder / "tree"):
            self._git.forget(checkout)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            _erase(folder)

    # -- the private side

    def _of_arena(self, matches: PathFilter) -> PathFilter:
        """The filter for paths relative to the repository's top."""
        prefix = self.prefix
        return lambda path: path.startswith(prefix) and matches(path[len(prefix) :])

    def _refusals(
        self, top: Path, parent: str, paths: list[str], find_secret: FindSecret
    ) -> tuple[str, ...]:
        added = added_secrets(find_secret, lambda path: self._blob(f"{parent}:{path}"))
        return tuple(refusals(top, self.prefix, paths, added))

    def _changes(self, folder: Path) -> list[str]:
        """Paths that differ from the index in a checkout, relative to its top."""
        args = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
        # Looking into a submodule would run git in a repository, with its configuration, that the
        # agent may have planted.
        output = self._git.run(*args, "--ignore-submodules=all", at=folder).stdout
        # The second column compares the folder with the index; the first compares with HEAD, which
        # the private directory does not have.
        return [record[3:] for record in records(output) if record[1] != " "]

    def _tree_with(self, folder: Path, paths: Iterable[str]) -> str:
        """The tree of a checkout's index, updated with these paths from its folder."""
        names = b"".join(os.fsencode(path) + b"\0" for path in paths)
        args = ["update-index", "--add", "--remove", "-z", "--stdin"]
        done = self._git.run(*args, at=folder, data=names, accepted=(0, 128))
        if done.returncode:
            raise _Untakable(_fault_of_change(args, folder, done.stderr))
        return self._git.run("write-tree", at=folder).stdout.decode().strip()

    def _tree(self, commit: str) -> str:
        if tree := self._trees.get(commit):
            return tree
        return self._git.run("rev-parse", f"{commit}^{{tree}}").stdout.decode().strip()

    def _commit(self, tree: str, parent: str, message: str) -> str:
        stamp = f"overnight <overnight@localhost> {int(time.time())} {time.strftime('%z')}"
        header = f"tree {tree}\nparent {parent}\nauthor {stamp}\ncommitter {stamp}"
        return self._stored(header.encode(), message)

    def _stored(self, header: bytes, message: str) -> str:
        body = message.replace("\0", "").encode(errors="replace")
        made = self._git.run(
            "hash-object", "-t", "commit", "-w", "--stdin", data=header + b"\n\n" + body
        )
        return made.stdout.decode().strip()

    def _carried_over(self, base: str, tree: str, onto: str, folder: Path) -> str:
        """The tree of `onto` with the change from `base` to `tree` applied; overwrites the index
        of `folder`. Raises Stale if the change conflicts, WorkspaceError if git fails otherwise."""
        change = self._git.run("diff", "--binary", "--full-index", "--no-renames", base, tree)
        self._git.run("read-tree", onto, at=folder)
        args = ["apply", "--cached", "--3way", "-"]
        done = self._git.run(*args, at=folder, data=change.stdout, accepted=(0, 1, 128))
        if done.returncode and change.stdout:  # git refuses an empty patch
            _fault_of_change(args, folder, done.stderr)
            raise Stale(onto, printable(done.stderr.strip()))
        return self._git.run("write-tree", at=folder).stdout.decode().strip()

    def _give_git(self, folder: Path, commit: str) -> None:
        """Make a self-contained .git by hand, which saves the process that `git init` takes."""
        own = folder / ".git"
        (own / "objects" / "info").mkdir(parents=True)
        (own / "refs").mkdir()
        alternates = own / "objects" / "info" / "alternates"
        alternates.write_bytes(os.fsencode(self._git.objects) + b"\n")
        (own / "HEAD").write_text(commit + "\n")
        sha256 = self._hashing == "sha256"
        config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
        config += "[user]\n\tname = agent\n\temail = agent@localhost\n"
        if sha256:
            config += "[extensions]\n\tobjectFormat = sha256\n"
        (own / "config").write_text(config)
        shutil.copyfile(self._git.index(folder), own / "index")
        if (self._common / "shallow").exists():
            shutil.copyfile(self._common / "shallow", own / "shallow")

    def _blob(self, name: str) -> bytes | None:
        args = ["cat-file", "blob", name]
        done = self._git.run(*args, accepted=(0, 128))
        if done.returncode == 0:
            return done.stdout
        if b"does not exist in" in done.stderr or b"exists on disk, but not in" in done.stderr:
            return None
        raise WorkspaceError(failure_message(args, self.top, done.stderr))

    def _read_blob(self, blob: str) -> bytes:
        return self._git.run("cat-file", "blob", blob).stdout

    def _list(self, commit: str, *paths: str) -> Sequence[tuple[str, str, str]]:
        """Path, mode and object id of everything at or below these paths; relative to the top."""
        args = ["ls-tree", "-r", "-z", "--full-tree", commit, "--", *filter(None, paths)]
        found = []
        for record in records(self._git.run(*args).stdout):
            about, _, path = record.partition("\t")
            mode, _, blob = about.split(" ")
            found.append((path, mode, blob))
        return found

    def _oddities(self, commit: str) -> Iterator[str]:
        """Sentences on what is missing in checkouts: submodules, results of filters."""
        above = [f"{folder}/.gitattributes" for folder in PurePosixPath(self.prefix).parents]
        attributes = [path.removeprefix("./") for path in above] if self.prefix else []
        for path, mode, _ in self._entries(commit, self.prefix, *attributes):
            if mode == _GITLINK:
                yield f"{printable(path)} is a submodule: its folder is empty in every checkout"
            elif path.split("/")[-1] == ".gitattributes":
                text = (self._blob(f"{commit}:{path}") or b"").decode(errors="replace")
                for name in sorted(set(re.findall(r"\sfilter=(\S+)", text))):
                    kind = "LFS pointers instead of" if name == "lfs" else "the unfiltered"
                    yield (
                        f"{printable(path)} has filter={name}: filters do not run for candidates, "
                        f"so their checkouts contain {kind} files"
                    )


# At the end of a line, where no name of a file that a change chose can stand.
_OF_THE_MACHINE = re.compile(
    r"(: (No space left on device|Disk quota exceeded|Read-only file system|Permission denied"
    r"|Input/output error)|\.lock': File exists\.|[Uu]nable to write new.index file)$"
    r"|^error: insufficient permission ",
    re.MULTILINE,
)


def _fault_of_change(args: Sequence[str], folder: Path, stderr: bytes) -> str:
    """Why git refused a change. Raises WorkspaceError if the machine is at fault instead."""
    problem = failure_message(args, folder, stderr)
    if _OF_THE_MACHINE.search(printable(stderr.strip())):
        raise WorkspaceError(problem)
    return problem


class _Untakable(WorkspaceError):
    """git does not accept a path: the candidate's fault, not the machine's."""


def _above(folder: Path, prefix: str) -> Path:
    return folder.parents[prefix.count("/") - 1] if prefix else folder


def _erase(folder: Path) -> None:
    """Delete a folder regardless of its permissions and depth."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        # Both programs stay below the folder, follow no links and work at any depth.
        for args in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            done = subprocess.run([*args, "--", folder], capture_output=True, check=False)
        if folder.exists():
            said = done.stderr.decode(errors="replace").strip()
            raise WorkspaceError(f"{folder} cannot be deleted: {said}") from None
