"""bubblewrap: namespaces of its own for files, processes, network, users and shared memory."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from overnight.sandbox.base import Policy, devices
from overnight.sandbox.filter import known_machine, seccomp_program

_PROGRAM = "bwrap"
_PREFIX = "overnight-sandbox-"
_YOUNG_SECONDS = 60.0
"""A folder may be younger than its lock."""
_SETTINGS = "/etc"
_SHARED_MEMORY_BYTES = 2 << 30
_FILTER_FD = 9
# The limits and the filter's descriptor are set by the shell, which bubblewrap then replaces.
_START = (
    'ulimit -c 0; ulimit -n "$2"; ulimit -f "$3"; filter=$1; shift 3; '
    f'exec "$@" {_FILTER_FD}<"$filter"'
)
_BLOCK = 512


class BubblewrapSandbox:
    """A process that sees a file system, a process table and a network made for it alone."""

    name = "bubblewrap"
    replaces_home = Path.home() != Path("/")
    layers = 2
    install = "apt install bubblewrap (or your system's equivalent)"

    def problem(self) -> str | None:
        return _problem(os.environ.get("PATH", ""))

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        limits = [str(policy.open_files), str(-(-policy.file_bytes // _BLOCK))]
        args = ["/bin/sh", "-c", _START, "sandbox", _filter_file(bool(policy.gpus)), *limits]
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
    """The file system as the command sees it: later mounts cover earlier ones."""
    args = ["--proc", "/proc", "--dev", "/dev"]
    args += ["--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"]
    for device in set(devices(policy.gpus)).difference(devices(())):  # the others --dev brings
        args += ["--dev-bind-try", device, device]
    for place in ("/tmp", "/var/tmp"):
        args += ["--bind", str(policy.temporary), place]
    if BubblewrapSandbox.replaces_home:
        args += ["--bind", str(policy.home), str(Path.home())]
    settings = [path for path in policy.readable if path.is_relative_to(_SETTINGS)]
    args += ["--ro-bind", _settings_folder(settings), _SETTINGS]
    mounts = _Mounts(args)
    for path in _outer_first([path for path in policy.readable if path not in settings]):
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
    inner = [path for path in hidden if any(path.is_relative_to(place) for place in within)]
    masks += [path for path in inner if mounts.mask(path)]
    # The kernel lets root write settings below /proc/sys, even a root without capabilities.
    for covered in (*masks, "/proc", "/dev", "/"):
        args += ["--remount-ro", str(covered)]
    return args


def _outer_first(paths: Sequence[Path]) -> list[Path]:
    return sorted(dict.fromkeys(paths), key=lambda path: len(path.parts))


class _Mounts:
    """Words for bubblewrap; a path whose folder is mounted already needs none."""

    def __init__(self, args: list[str]) -> None:
        self._args = args
        self._seen: set[Path] = set()

    def add(self, how: str, path: Path, again: bool = False) -> None:
        """Mount what a path leads to where it is, and keep the path leading there."""
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
        """Put nothing in the place of a hidden path that would be seen; whether it is a folder."""
        real = Path(os.path.realpath(path))
        if not self._sees(real) or not real.exists():
            return False
        if real.is_dir():
            self._args += ["--tmpfs", str(real)]
            return True
        self._args += ["--ro-bind", "/dev/null", str(real)]
        return False

    def _sees(self, path: Path) -> bool:
        return any(place in self._seen for place in (path, *path.parents))


def _settings_folder(paths: Sequence[Path]) -> str:
    """A copy of what is granted below /etc: each mount costs a tenth of a millisecond, and of
    these there are twenty."""
    name = hashlib.sha256(repr(sorted(paths)).encode()).hexdigest()[:16]
    folder = Path(_folder(), name)
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(dir=_folder()))
        for path in paths:
            target = fresh / path.relative_to(_SETTINGS)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy(path, target, follow_symlinks=False)
        with suppress(OSError):  # another thread was faster, and made the same
            fresh.rename(folder)
    return str(folder)


def _filter_file(memory_files: bool) -> str:
    """The filter as a file: bubblewrap reads it from a descriptor."""
    path = Path(_folder(), f"filter-{int(memory_files)}")
    if not path.exists():
        path.write_bytes(seccomp_program("any", memory_files))
    return str(path)


@cache
def _folder() -> str:
    """This process's own folder for what it hands to bubblewrap."""
    # Not in /tmp, which is cleared now and then on a machine that runs for long.
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() else Path(tempfile.gettempdir())
    _sweep(place)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # held until this process ends
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(place: Path) -> None:
    """Remove the folders of processes that were killed: nobody holds their lock."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, in use, or removed meanwhile
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
    if not known_machine():
        return f"its system calls on {os.uname().machine} are not known here"
    args = [_PROGRAM, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it fails here"
    return None
