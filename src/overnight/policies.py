"""What each stage of an arena may reach."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from overnight.arena import Arena
from overnight.gpus import Gpu, installed
from overnight.sandbox import Confinement, Policy, Sandbox
from overnight.sandboxes.runtime import runtime_paths

PRIVATE = ("out", "tmp", "home")
"""The folders beside a checkout: what a run leaves, its temporary files, its home."""


def overnight_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Machine-wide state and caches: `OVERNIGHT_HOME`, or the user's cache folder."""
    if home := environment.get("OVERNIGHT_HOME"):
        return Path(home).expanduser().resolve()
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "overnight"


def expanded(paths: Sequence[str], folder: Path) -> list[Path]:
    """Paths of arena.toml as absolute ones: `~`, `$OVERNIGHT_HOME` and relative to a folder. One
    after `@` is a file that lists further paths, a line each."""
    home = str(overnight_home())
    found = []
    for path in paths:
        named = os.path.expandvars(path.removeprefix("@").replace("$OVERNIGHT_HOME", home))
        place = folder / Path(named).expanduser()
        if not path.startswith("@"):
            found.append(place)
        elif place.exists():
            found += [folder / line for line in place.read_text().splitlines() if line]
    return found


def home_folder(arena: Arena, place: Path) -> Path:
    """What HOME is for a run: a private folder; or the name of the person's own, with nothing in
    it but the declared data, when some of that lies there and programs will look for it."""
    own = Path.home()
    declared = expanded(arena.data, arena.root)
    return own if any(path.is_relative_to(own) for path in declared) else place / "home"


def run_confinement(
    sandbox: Sandbox,
    arena: Arena,
    place: Path,
    folder: Path,
    env: Mapping[str, str],
    cards: Sequence[Gpu],
) -> Confinement:
    """For whatever executes a candidate's code: its checkout and the declared data to read, the
    private folders to write, and nothing else of this machine."""
    policy = Policy(
        cwd=folder,
        own=[place / "tree"],
        temporary=place / "tmp",
        home=place / "home",
        readable=readable(arena, env),
        writable=[place / "out"],
        hidden=hidden(arena, folder),
        network=arena.run.network,
        gpus=[card.minor for card in cards],
        file_bytes=arena.run.disk,
    )
    return Confinement(sandbox, policy)


def candidate_confinement(
    sandbox: Sandbox,
    arena: Arena,
    private: Path,
    folder: Path,
    own: Sequence[Path],
    env: Mapping[str, str],
) -> Confinement:
    """For a candidate's code that a referee asks: as in its run, but what the run left can only
    be read, and there is no network whatever the arena grants the run."""
    policy = Policy(
        cwd=folder,
        own=own,
        temporary=private / "tmp",
        home=private / "home",
        readable=[*readable(arena, env), Path(__file__).parents[1]],
        hidden=hidden(arena, folder),
        gpus=[card.minor for card in installed() if card.uuid in env["CUDA_VISIBLE_DEVICES"]],
        file_bytes=arena.run.disk,
    )
    return Confinement(sandbox, policy)


def readable(arena: Arena, env: Mapping[str, str]) -> list[Path]:
    """The runtime and the arena's declared data."""
    system = runtime_paths(env, arena.run.network, gpus=bool(arena.run.gpus))
    return [*system, *expanded(arena.data, arena.root)]


def hidden(arena: Arena, folder: Path) -> list[Path]:
    """What the referee alone may read, wherever it lies, and all of overnight's own state."""
    places = [*expanded(arena.hidden, folder), *expanded(arena.hidden, arena.root)]
    return list(dict.fromkeys([*places, arena.state]))
