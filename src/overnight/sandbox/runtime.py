"""What any program needs to start: the system's folders and the language installations on PATH.

Below a home folder only installations on PATH are included: the parent of their bin folder (a
virtual environment, a pyenv or nvm version), never the home folder itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from overnight.core.errors import UsageError

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
SETTINGS = (
    "alternatives", "fonts", "gai.conf", "group", "host.conf", "java-11-openjdk",
    "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "localtime", "magic", "mime.types",
    "nsswitch.conf", "passwd", "pki/tls/certs", "pki/ca-trust/extracted", "protocols", "services",
    "ssl/certs", "ssl/openssl.cnf", "timezone", "OpenCL",
)  # fmt: skip
"""Paths below /etc."""
_NETWORK = ("hosts", "resolv.conf")
_KERNEL = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_GPU = ("/proc/driver/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/module/nvidia", "/sys/class")
_MARKS = ("pyvenv.cfg", "conda-meta", "lib/node_modules")
"""Signs of an installation, as opposed to a folder of loose programs such as ~/.local/bin."""

_MOST_LINKS = 40
"""Most links in one path: the kernel follows no more."""


def home_folder() -> Path:
    """The user's home folder. Raises UsageError if there is none."""
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError(
            f"the variable HOME is not set, and user {os.getuid()} has no home folder in "
            "/etc/passwd. Set HOME to a folder, then run the same command again"
        ) from None


def runtime_paths(env: Mapping[str, str], network: bool, gpus: bool) -> list[Path]:
    """Existing paths that a run with this environment may read; links are not resolved."""
    names = [*_SYSTEM, *_KERNEL, *(f"/etc/{name}" for name in SETTINGS)]
    if network:
        names += [f"/etc/{name}" for name in _NETWORK]
    if gpus:
        names += _GPU
    return [*_existing(tuple(names)), *_installations(env.get("PATH", ""), str(home_folder()))]


@lru_cache(maxsize=8)
def _existing(names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(path for name in names if (path := Path(name)).exists())


@lru_cache(maxsize=8)
def _installations(search: str, home: str) -> tuple[Path, ...]:
    """The installations on PATH, and overnight's own Python."""
    found: dict[Path, None] = {}
    for folder in search.split(os.pathsep):
        if os.path.isabs(folder) and os.path.isdir(folder):
            for path in _installation(Path(folder), Path(home)):
                found[path] = None
    for prefix in (sys.prefix, sys.base_prefix):
        found[Path(prefix)] = None
    for site in Path(home, ".local", "lib").glob("python3*"):
        found[site] = None
    return tuple(path for path in found if not _covered(path))


def _installation(folder: Path, home: Path) -> Iterator[Path]:
    prefix = folder.parent
    marked = any((prefix / name).exists() for name in _MARKS)
    loose = home.is_relative_to(prefix) or (prefix.is_relative_to(home) and not marked)
    if loose:
        yield folder
        # A loose program may be a link into the tool's own environment elsewhere.
        for program in folder.iterdir():
            real = program.resolve()
            if program.is_symlink() and real.parent.name == "bin" and real.is_file():
                yield from program_paths(program)
    else:
        yield prefix
        yield from _interpreter(folder)


def program_paths(program: Path) -> list[Path]:
    """What one of the user's programs needs to start: its installation, its interpreter, and every
    link on the way to them. None of these paths lies below another."""
    found = {*_by_every_name(program), *_interpreter(program.resolve().parent)}
    return [path for path in sorted(found) if not _covered(path) and found.isdisjoint(path.parents)]


def _interpreter(folder: Path) -> Iterator[Path]:
    python = folder / "python"
    if folder.name == "bin" and os.path.isfile(python):
        yield from _by_every_name(python)


def _by_every_name(program: Path) -> Iterator[Path]:
    """The folder of a program's installation by each path that leads there; the link alone where a
    path does not lead through that folder."""
    whole = _installation_of(program.resolve())
    for name in _names(program):
        yield next((folder for folder in name.parents if folder.resolve() == whole), name)


def _installation_of(program: Path) -> Path:
    """The outermost node_modules or the installation folder; the program alone where that would
    be a home folder."""
    packages = [folder for folder in program.parents if folder.name == "node_modules"]
    if packages:
        return packages[-1]
    folder = program.parents[1] if program.parent.name == "bin" else program.parent
    homes = (home_folder(), home_folder().resolve())
    if any(folder == home / ".local" or home.is_relative_to(folder) for home in homes):
        return program
    return folder


def _names(path: Path) -> Iterator[Path]:
    """The path itself, then the path after resolving each symbolic link along it."""
    path = path.absolute()
    yield path
    resolved, rest = Path(path.anchor), [*reversed(path.parts[1:])]
    links = 0
    while rest and links < _MOST_LINKS:
        resolved = resolved.parent if rest[-1] == ".." else resolved / rest[-1]
        rest.pop()
        if resolved.is_symlink():
            links += 1
            rest += reversed(resolved.readlink().parts)
            resolved = resolved.parent
            yield Path(os.path.normpath(resolved.joinpath(*reversed(rest))))


def _covered(path: Path) -> bool:
    settings = (f"/etc/{name}" for name in SETTINGS)
    return any(path.is_relative_to(folder) for folder in (*_SYSTEM, *settings))
