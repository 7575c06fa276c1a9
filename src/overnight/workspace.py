"""Checkouts and candidates: every tree that overnight makes.

Trees are made in a private git directory below the state folder, which has no hooks, no filters
and none of the person's configuration; its objects go straight into the person's repository,
where refs/overnight/… keep them reachable. Of the person's repository only refs under
refs/overnight/ and the branch overnight/<tag> are ever written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from overnight.errors import WorkspaceError
from overnight.git import OLDEST, git, person_environment, quiet_environment, version
from overnight.refs import Refs

MOST_FILE_BYTES = 50_000_000
"""A larger file is refused in a candidate: it would stay in the repository for ever."""
_GITLINK = "160000"
Predicate = Callable[[str], bool]


@dataclass(frozen=True)
class Candidate:
    """What became of an agent's changes."""

    commit: str | None
    """None: nothing editable was changed, or something was refused."""
    dropped: tuple[str, ...] = ()
    """Changed paths that are not editable, relative to the arena."""
    refused: tuple[str, ...] = ()
    """Why an editable path cannot be taken, a sentence each."""


class Stale(WorkspaceError):
    """A change does not fit onto the incumbent any more."""


def is_in_repository(folder: Path) -> bool:
    """Whether the folder, which need not exist yet, lies in a git working tree."""
    while not folder.exists():
        folder = folder.parent
    words = ["rev-parse", "--is-inside-work-tree"]
    done = git(words, folder, person_environment(), accepted=(0, 128))
    return done.stdout.strip() == b"true" or b"dubious" in done.stderr


def apply_patch(folder: Path, patch: bytes) -> None:
    """Apply a diff, with paths relative to this folder or to its repository's top, to the files of
    a checkout that `Workspace.checkout` made. Raises WorkspaceError when it does not fit."""
    words = ["apply", "--whitespace=nowarn", "-"]
    alone = quiet_environment(GIT_CEILING_DIRECTORIES=str(folder.parent))
    try:
        git(words, folder, alone, patch)
    except WorkspaceError:
        if (folder / ".git").exists():
            raise
        git(words, folder, quiet_environment(), patch)


class Workspace:
    """The repository around an arena. Safe to use from several threads."""

    def __init__(self, root: Path, state: Path, top: Path, common: Path, hashing: str) -> None:
        self.root = root
        self.top = top
        self.prefix = "" if root == top else root.relative_to(top).as_posix() + "/"
        self.warnings: tuple[str, ...] = ()
        """What the person should know of this repository."""
        self._private = state / "git"
        self._objects = common / "objects"
        self._common = common
        self._hashing = hashing
        self.refs = Refs(top, hashing)
        self._trees: dict[str, str] = {}

    @classmethod
    def open(cls, root: Path, state: Path) -> Workspace:
        """The repository around the arena at `root`; a detached HEAD is fine.

        Raises WorkspaceError for no repository, a bare one, one of another user, one without a
        commit; each with what to do.
        """
        root = root.resolve()
        if (have := version(root)) < OLDEST:
            raise WorkspaceError(f"git is {have}; overnight needs {OLDEST} or newer")
        if not is_in_repository(root):
            raise WorkspaceError(
                f"{root} is in no git repository. Make it one: cd '{root}' && git init && "
                "git add --all && git commit -m 'An arena'"
            )
        words = ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir"]
        lines = git([*words, "--show-object-format"], root, person_environment()).stdout
        top, common, hashing = lines.decode().split("\n")[:3]
        workspace = cls(root, state, Path(top), Path(common), hashing)
        workspace.head()
        workspace._make_private()
        workspace.warnings = tuple(workspace._oddities())
        return workspace

    @staticmethod
    def create_repository(folder: Path) -> None:
        """Make this folder a repository of its own with everything in it as the first commit."""
        env = person_environment()
        identity: list[str] = []
        if not git(["config", "user.email"], folder.parent, env, accepted=(0, 1)).stdout.strip():
            identity = ["-c", "user.name=overnight", "-c", "user.email=overnight@localhost"]
        git(["init", "--quiet", "--initial-branch=main"], folder, env)
        git(["add", "--all"], folder, env)
        words = ["-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "An arena"]
        git([*identity, *words], folder, env)

    # -- reading

    def head(self) -> str:
        """The commit that is checked out. Raises WorkspaceError on an unborn branch."""
        words = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]
        done = git(words, self.root, person_environment(), accepted=(0, 1, 128))
        if done.returncode:
            raise WorkspaceError(
                f"the repository at {self.top} has no commit yet; a campaign starts from one: "
                "git add --all && git commit -m 'An arena'"
            )
        return done.stdout.decode().strip()

    def uncommitted(self, wanted: Predicate) -> list[str]:
        """Paths of the arena whose working copy differs from HEAD."""
        words = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", "."]
        # The person's own files in their own configuration; without locks nothing is written.
        output = git(words, self.root, person_environment()).stdout
        paths = (record[3:] for record in _records(output))
        return [path for path in self._inside(paths) if wanted(path)]

    def read(self, commit: str, path: str) -> bytes | None:
        """A file of the arena in a commit; None when it is not there."""
        words = ["cat-file", "blob", f"{commit}:{self.prefix}{path}"]
        done = git(words, self.top, self._plumbing(), accepted=(0, 128))
        return done.stdout if done.returncode == 0 else None

    def files(self, commit: str, wanted: Predicate) -> dict[str, str]:
        """Path → blob of the arena's files in a commit."""
        return {path: blob for path, _, blob in self._entries(commit) if wanted(path)}

    def diff(self, old: str, new: str) -> str:
        """The difference of two commits as a patch that `git apply` takes."""
        words = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", old, new]
        return git(words, self.top, self._plumbing()).stdout.decode(errors="replace")

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains everything of `old`."""
        words = ["merge-base", "--is-ancestor", old, new]
        return git(words, self.top, self._plumbing(), accepted=(0, 1)).returncode == 0

    # -- checkouts and candidates

    def checkout(self, commit: str, folder: Path, own_git: bool = False) -> Path:
        """A commit's whole tree in a new folder; returns the arena's folder in it.

        With `own_git` it also gets a git directory of its own: an agent may commit, stash or
        configure there, and reaches nothing of the person's.
        """
        folder.mkdir(parents=True)
        git(["read-tree", "--reset", "-u", commit], folder, self._env(folder))
        if own_git:
            self._give_git(folder, commit)
        else:
            self._index(folder).unlink()
        (folder / self.prefix).mkdir(exist_ok=True)
        return folder / self.prefix

    def commit(self, parent: str, folder: Path, editable: Predicate, message: str) -> Candidate:
        """The parent's tree plus the editable changes in a checkout made with `own_git`."""
        words = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
        output = git(words, folder, self._env(folder)).stdout
        # The second column is the folder against the index; the first compares with a HEAD that
        # the private directory does not have.
        changed = [record[3:] for record in _records(output) if record[1] != " "]
        within = set(self._inside(changed))
        outside = [path for path in changed if path.removeprefix(self.prefix) not in within]
        taken = sorted(path for path in within if editable(path))
        dropped = tuple(sorted([*outside, *(path for path in within if not editable(path))]))
        if refused := tuple(_refusals(folder / self.prefix, taken)):
            return Candidate(None, dropped, refused)
        if not taken:
            return Candidate(None, dropped)
        tree = self._tree_with(folder, taken)
        if tree == self._tree(parent):
            return Candidate(None, dropped)
        commit = self._commit_tree(tree, parent, message)
        self._trees = {parent: self._tree(parent), commit: tree}
        return Candidate(commit, dropped)

    def adopt(self, caller: Path, folder: Path, parent: str, editable: Predicate) -> None:
        """Bring what differs from HEAD in the editable files of another checkout of this
        repository (`caller`: the arena's folder there) into an `own_git` checkout of `parent`.

        Raises Stale when the two conflict, WorkspaceError when that is no such checkout.
        """
        theirs = Workspace.open(caller, self._private.parent)
        if theirs._common.resolve() != self._common.resolve() or theirs.prefix != self.prefix:
            raise WorkspaceError(f"{caller} is no checkout of the repository at {self.top}")
        head = theirs.head()
        git(["read-tree", head], theirs.top, self._env(theirs.top))
        tracked = theirs.files(head, editable)
        present = (p.relative_to(caller).as_posix() for p in _walk(caller))
        paths = sorted({*tracked, *filter(editable, present)})
        if refused := list(_refusals(caller, paths)):
            raise WorkspaceError("; ".join(refused))
        tree = self._tree_with(theirs.top, paths)
        self._index(theirs.top).unlink()
        if head != parent:
            tree = self._merged(parent, self._commit_tree(tree, head, "a working copy"))
        top = _above(folder, self.prefix)
        aside = self._index(top).with_suffix(".aside")
        shutil.copyfile(self._index(top), aside)
        env = self._env(top) | {"GIT_INDEX_FILE": str(aside)}
        git(["read-tree", "--reset", "-u", tree], top, env)
        aside.unlink()

    def reword(self, commit: str, message: str) -> str:
        """The same tree and parent under another message; doing it again gives the same commit."""
        raw = git(["cat-file", "commit", commit], self.top, self._plumbing()).stdout
        header = raw.partition(b"\n\n")[0]
        words = ["hash-object", "-t", "commit", "-w", "--stdin"]
        made = git(words, self.top, self._plumbing(), header + b"\n\n" + message.encode())
        return made.stdout.decode().strip()

    def remove(self, folder: Path) -> None:
        """Delete a folder that `checkout` made, or one of such; links are never followed."""
        for index in (self._index(folder), self._index(folder / "tree")):
            index.unlink(missing_ok=True)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder, onerror=_unlock)

    # -- the private side

    def _make_private(self) -> None:
        """The private git directory, made when it is not there."""
        if (self._private / "ready").exists():
            return
        self._private.mkdir(parents=True, exist_ok=True)
        words = ["init", "--quiet", "--bare", "--template=", f"--object-format={self._hashing}"]
        git([*words, str(self._private)], self._private, quiet_environment())
        for name in ("info", "indexes"):
            (self._private / name).mkdir(exist_ok=True)
        # Attributes of the tree that would run programs or change bytes are taken back here.
        (self._private / "info" / "attributes").write_text("* -filter -ident -export-subst\n")
        (self._private / "ready").touch()

    def _plumbing(self) -> dict[str, str]:
        if (self._common / "shallow").exists():
            shutil.copyfile(self._common / "shallow", self._private / "shallow")
        return quiet_environment(
            GIT_DIR=str(self._private), GIT_OBJECT_DIRECTORY=str(self._objects)
        )

    def _env(self, folder: Path) -> dict[str, str]:
        variables = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(self._index(folder))}
        return self._plumbing() | variables

    def _index(self, folder: Path) -> Path:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
        return self._private / "indexes" / name

    def _tree_with(self, folder: Path, paths: Iterable[str]) -> str:
        """The index of a checkout with these paths as they are in its folder, as a tree."""
        names = b"".join(os.fsencode(self.prefix + path) + b"\0" for path in paths)
        words = ["add", "--all", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"]
        git(words, folder, self._env(folder), names)
        return git(["write-tree"], folder, self._env(folder)).stdout.decode().strip()

    def _tree(self, commit: str) -> str:
        if commit in self._trees:
            return self._trees[commit]
        words = ["rev-parse", f"{commit}^{{tree}}"]
        return git(words, self.top, self._plumbing()).stdout.decode().strip()

    def _commit_tree(self, tree: str, parent: str, message: str) -> str:
        words = ["commit-tree", "--no-gpg-sign", "-p", parent, "-F", "-", tree]
        return git(words, self.top, self._plumbing(), message.encode()).stdout.decode().strip()

    def _merged(self, parent: str, theirs: str) -> str:
        words = ["merge-tree", "--write-tree", "--name-only", parent, theirs]
        done = git(words, self.top, self._plumbing(), accepted=(0, 1))
        lines = done.stdout.decode(errors="replace").split("\n")
        if done.returncode:
            names = ", ".join(line for line in lines[1 : lines.index("")] if line)
            raise Stale(f"the change conflicts with the incumbent in {names}")
        return lines[0]

    def _give_git(self, folder: Path, commit: str) -> None:
        """A self-contained .git: written by hand, since `git init` would cost a process."""
        own = folder / ".git"
        (own / "objects" / "info").mkdir(parents=True)
        (own / "refs" / "heads").mkdir(parents=True)
        (own / "objects" / "info" / "alternates").write_bytes(os.fsencode(self._objects) + b"\n")
        (own / "HEAD").write_text("ref: refs/heads/incumbent\n")
        (own / "refs" / "heads" / "incumbent").write_text(commit + "\n")
        sha256 = self._hashing == "sha256"
        config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
        config += "[user]\n\tname = agent\n\temail = agent@localhost\n"
        if sha256:
            config += "[extensions]\n\tobjectFormat = sha256\n"
        (own / "config").write_text(config)
        shutil.copyfile(self._index(folder), own / "index")
        if (self._common / "shallow").exists():
            shutil.copyfile(self._common / "shallow", own / "shallow")

    def _entries(self, commit: str) -> Iterator[tuple[str, str, str]]:
        """Path, mode and object of everything of the arena in a commit."""
        words = ["ls-tree", "-r", "-z", "--full-tree", commit]
        for record in _records(git(words, self.top, self._plumbing()).stdout):
            about, _, path = record.partition("\t")
            mode, _, blob = about.split(" ")
            for inner in self._inside([path]):
                yield inner, mode, blob

    def _inside(self, paths: Iterable[str]) -> Iterator[str]:
        """Of paths relative to the top those below the arena, relative to the arena."""
        for path in paths:
            if path.startswith(self.prefix):
                yield path[len(self.prefix) :]

    def _oddities(self) -> Iterator[str]:
        for path, mode, _ in self._entries(self.head()):
            if mode == _GITLINK:
                yield f"{path} is a submodule: its folder is empty in every checkout"
            elif path.endswith(".gitattributes") and b"filter=lfs" in (
                self.read(self.head(), path) or b""
            ):
                yield f"{path} uses git-lfs: no filter runs, checkouts hold pointer files"


def _records(output: bytes) -> list[str]:
    return [os.fsdecode(record) for record in output.split(b"\0") if record]


def _above(folder: Path, prefix: str) -> Path:
    return folder.parents[prefix.count("/") - 1] if prefix else folder


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".overnight")]
        yield from (Path(place, name) for name in names)


def _refusals(arena: Path, paths: Iterable[str]) -> Iterator[str]:
    """Why editable paths cannot be taken as they are."""
    for path in paths:
        place = arena / path
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed, which is a change like any other
        if stat.S_ISLNK(found.st_mode):
            if not place.resolve().is_relative_to(arena.resolve()):
                yield f"{path} is a link that leads out of the arena"
        elif path.endswith("/"):
            yield f"{path} is a git repository of its own"
        elif not stat.S_ISREG(found.st_mode):
            yield f"{path} is no regular file"
        elif found.st_size > MOST_FILE_BYTES:
            yield f"{path} has {found.st_size:,} bytes, more than {MOST_FILE_BYTES:,}"


def _unlock(act: Callable[[str], object], path: str, error: object) -> None:
    """A candidate may have left folders without permissions: give them back, then try again."""
    for place in (os.path.dirname(path), path):
        if not os.path.islink(place):
            os.chmod(place, 0o700)
    act(path)
