"""bubblewrap: private namespaces for files, processes, network, users and shared memory."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from overnight.sandbox.base import Policy, devices, set_limits
from overnight.sandbox.filter import machine_problem, seccomp_program
from overnight.sandbox.runtime import home_folder

_PROGRAM = "bwrap"
_PREFIX = "overnight-sandbox-"
_YOUNG_SECONDS = 60.0
"""Grace period: a folder exists for a moment before its owner has locked it."""
_SETTINGS = Path("/etc")
_RESOLVER = _SETTINGS / "resolv.conf"
"""The only setting that changes while the machine runs, with every network it joins."""
_SHARED_MEMORY_BYTES = 2 << 30
_FILTER_FD = 9
# The shell sets the limits, opens the filter on its descriptor, and then becomes bubblewrap.
_START = f'filter=$1; shift; exec "$@" {_FILTER_FD}<"$filter"'


class BubblewrapSandbox:
    """The process sees a file system, a process table and a network made for it alone."""

    name = "bubblewrap"
    replaces_home = os.path.expanduser("~") != "/"
    layers = 2
    install = "apt install bubblewrap (or your system's equivalent)"

    def problem(self) -> str | None:
        return _problem(os.environ.get("PATH", ""))

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        start = set_limits(policy) + _START
        args = ["/bin/sh", "-c", start, "sandbox", _filter_file(bool(policy.gpus))]
        args += [_PROGRAM, *_NAMESPACES, "--seccomp", str(_FILTER_FD)]
        if policy.network:
            args.append("--share-net")
        return [*args, *_view(policy), "--chdir", str(policy.cwd), "--", *command]

    def restrictions(self, policy: Policy) -> dict[str, object]:
        return {}


_NAMESPACES = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--new-session",
    "--die-with-parent", "--hostname", "overnight",
)  # fmt: skip


def _view(policy: Policy) -> list[str]:
    """Arguments that build the file system the command sees; later mounts cover earlier ones."""
    args = ["--proc", "/proc", "--dev", "/dev"]
    args += ["--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"]
    for device in set(devices(policy.gpus)).difference(devices(())):  # --dev provides the rest
        args += ["--dev-bind-try", device, device]
    for folder in ("/tmp", "/var/tmp"):
        args += ["--bind", str(policy.temporary), folder]
    if BubblewrapSandbox.replaces_home:
        args += ["--bind", str(policy.home), str(home_folder())]
    settings = {path for path in policy.readable if path.is_relative_to(_SETTINGS)}
    others = [path for path in policy.readable if path not in settings]
    args += ["--ro-bind", _settings_folder(settings, others), str(_SETTINGS)]
    if _RESOLVER in settings:
        args += ["--ro-bind-try", os.path.realpath(_RESOLVER), str(_RESOLVER)]
    mounts = _Mounts(args)
    for path in _outer_first(others):
        mounts.add("--ro-bind", path)
    hidden = _outer_first(policy.hidden)
    masks = [path for path in hidden if mounts.mask(path)]
    for path in _outer_first(policy.own):
        mounts.add("--ro-bind", path, again=True)
    for path in (policy.temporary, policy.home, *_outer_first(policy.writable)):
        mounts.add("--bind", path, again=True)
    for path in _outer_first(policy.protected):
        mounts.add("--ro-bind", path, again=True)
    within = [*policy.own, *policy.writable]
    inner = [path for path in hidden if any(path.is_relative_to(other) for other in within)]
    masks += [path for path in inner if mounts.mask(path)]
    # The kernel lets root write /proc/sys even without capabilities, so mount it read-only.
    for covered in (*masks, "/proc", "/dev", "/"):
        args += ["--remount-ro", str(covered)]
    return args


def _outer_first(paths: Collection[Path]) -> list[Path]:
    return sorted(dict.fromkeys(paths), key=lambda path: len(path.parts))


class _Mounts:
    """Collects mount arguments; a path below one that is already mounted needs none."""

    def __init__(self, args: list[str]) -> None:
        self._args = args
        self._seen: set[Path] = set()

    def add(self, how: str, path: Path, again: bool = False) -> None:
        """Mount the resolved path at its own location; a path with links becomes a link to it."""
        real = Path(os.path.realpath(path))
        if not real.exists():
            return
        if again or not self._sees(real):
            self._args += [how, str(real), str(real)]
        self._seen.add(real)
        if real != path and not self._sees(path):
            self._args += ["--symlink", str(real), str(path)]
            self._seen.add(path)

    def mask(self, path: Path) -> bool:
        """Cover a hidden path, if visible, with an empty folder or file. True for a folder."""
        real = Path(os.path.realpath(path))
        if not self._sees(real) or not real.exists():
            return False
        if real.is_dir():
            self._args += ["--tmpfs", str(real)]
            return True
        self._args += ["--ro-bind", "/dev/null", str(real)]
        return False

    def _sees(self, path: Path) -> bool:
        return any(folder in self._seen for folder in (path, *path.parents))


def _settings_folder(settings: Collection[Path], others: Collection[Path]) -> str:
    """A folder with copies of the granted paths below /etc. One mount instead of twenty saves
    2 ms per start. `others`: what else is mounted."""
    key = repr((sorted(map(str, settings)), sorted(map(str, others))))
    folder = Path(_folder(), hashlib.sha256(key.encode()).hexdigest()[:16])
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(dir=_folder()))
        mounted = tuple(f"{path}/" for path in (*settings, *map(os.path.realpath, others)))
        for path in _outer_first(settings):
            target = fresh / path.relative_to(_SETTINGS)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path == _RESOLVER:
                target.touch()  # the real file is mounted here
            elif path.is_dir():
                _copy_folder(path, target, mounted)
            else:
                _copy(path, target, mounted)
        with suppress(OSError):  # another thread made the same folder first
            fresh.rename(folder)
    return str(folder)


def _copy_folder(path: Path, target: Path, mounted: tuple[str, ...]) -> None:
    target.mkdir(exist_ok=True)
    with os.scandir(path) as entries:
        for entry in entries:
            copy = _copy_folder if entry.is_dir(follow_symlinks=False) else _copy
            copy(path / entry.name, target / entry.name, mounted)


def _copy(path: Path, target: Path, mounted: tuple[str, ...]) -> None:
    """Copy a file, or a link to something mounted. Of any other file that a link leads to, such as
    one below /run, the content is copied."""
    if os.path.lexists(target):
        return  # granted twice
    if path.is_symlink():
        goal = os.path.normpath(path.parent / path.readlink())
        if not f"{goal}/".startswith(mounted):
            goal = os.path.realpath(path)
        if f"{goal}/".startswith(mounted):
            target.symlink_to(goal)
            return
    if os.path.isfile(path):
        shutil.copy(path, target)


def _filter_file(memory_files: bool) -> str:
    """Path of the seccomp filter; bubblewrap reads it from a file descriptor."""
    path = Path(_folder(), f"filter-{int(memory_files)}")
    if not path.exists():
        descriptor, fresh = tempfile.mkstemp(dir=_folder())
        with open(descriptor, "wb") as file:
            file.write(seccomp_program("any", memory_files))
        os.replace(fresh, path)  # whole at once: other threads may start a sandbox now
    return str(path)


@cache
def _folder() -> str:
    """This process's folder for the files that bubblewrap reads; removed at exit."""
    # Not in /tmp: long-running machines clean it from time to time.
    shared = Path("/dev/shm")
    parent = shared if shared.is_dir() else Path(tempfile.gettempdir())
    _sweep(parent)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # held until this process ends
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(parent: Path) -> None:
    """Remove the folders of killed processes: those that nobody has locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, in use, or already removed
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


@cache
def _problem(search: str) -> str | None:
    if shutil.which(_PROGRAM, path=search) is None:
        return "the program bwrap is not on PATH"
    if problem := machine_problem():
        return problem
    args = [_PROGRAM, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()
        return said.splitlines()[-1] if said else "bwrap fails without a message"
    return None
