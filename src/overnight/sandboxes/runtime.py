"""What any program needs to start: the system's own folders and the language's installation.

Nothing below a home folder is part of it but installations that were asked for by PATH: the bin
folder's own prefix (a virtual environment, a pyenv or nvm version), never the home folder itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
SETTINGS = (
    "alternatives", "fonts", "gai.conf", "group", "host.conf", "java-11-openjdk",
    "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "localtime", "magic", "mime.types",
    "nsswitch.conf", "passwd", "pki/tls/certs", "pki/ca-trust/extracted", "protocols", "services",
    "ssl/certs", "ssl/openssl.cnf", "timezone", "OpenCL",
)  # fmt: skip
"""Below /etc."""
_NETWORK = ("hosts", "resolv.conf")
_KERNEL = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_GPU = ("/proc/driver/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/module/nvidia", "/sys/class")
_MARKS = ("pyvenv.cfg", "conda-meta", "lib/node_modules")
"""What tells an installation from a folder of loose programs such as ~/.local/bin."""


def runtime_paths(env: Mapping[str, str], network: bool, gpus: bool) -> list[Path]:
    """Existing paths, links left as they are, that a run with this environment may read."""
    names = [*_SYSTEM, *_KERNEL, *(f"/etc/{name}" for name in SETTINGS)]
    if network:
        names += [f"/etc/{name}" for name in _NETWORK]
    if gpus:
        names += _GPU
    return [*_existing(tuple(names)), *_installations(env.get("PATH", ""), str(Path.home()))]


@lru_cache(maxsize=8)
def _existing(names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(path for name in names if (path := Path(name)).exists())


@lru_cache(maxsize=8)
def _installations(search: str, home: str) -> tuple[Path, ...]:
    """The installations that PATH leads to, and this program's own Python."""
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
        # What a loose program is a link to: a tool's own environment somewhere else.
        for program in folder.iterdir():
            real = program.resolve()
            if program.is_symlink() and real.parent.name == "bin" and real.is_file():
                yield from _own_prefix(real, home)
    else:
        yield prefix
        python = (folder / "python").resolve()
        if python.is_file():
            yield from _own_prefix(python, home)


def program_paths(program: Path) -> list[Path]:
    """What a program of the person's needs beside its executable: the package that it is a link
    into, and the interpreter of that."""
    real, home = program.resolve(), Path.home()
    packages = [folder for folder in real.parents if folder.name == "node_modules"]
    if packages:
        found = packages[-1:]
    elif real.parent.name == "bin":
        python = (real.parent / "python").resolve()
        found = [*_own_prefix(real, home), *(_own_prefix(python, home) if python.is_file() else ())]
    else:
        found = [real if home.is_relative_to(real.parent) else real.parent]
    return [path for path in found if not _covered(path)]


def _own_prefix(program: Path, home: Path) -> Iterator[Path]:
    prefix = program.parents[1]
    if prefix != home / ".local" and not home.is_relative_to(prefix):
        yield prefix
    else:
        yield program


def _covered(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _SYSTEM)
