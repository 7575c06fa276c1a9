"""What each stage of an arena may reach."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.measure.gpus import Gpu
from overnight.record.notes import ARCHIVE, NAME
from overnight.sandbox.base import Confinement, Policy, Sandbox
from overnight.sandbox.runtime import runtime_paths

PRIVATE = ("out", "tmp", "home")
"""The folders beside a checkout: what a run leaves, its temporary files, its home."""

_FOR_AGENTS = (NAME, ARCHIVE, "results.tsv")
"""Not the ledger: it knows what the final exams found."""
_MOST_PROTECTED = 100


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
        place = Path(os.path.normpath(folder / Path(named).expanduser()))
        if not path.startswith("@"):
            found.append(place)
        elif place.exists():
            found += [folder / line for line in place.read_text().splitlines() if line]
    return found


def make_home(sandbox: Sandbox | None, home: Path, data: Sequence[Path]) -> Path:
    """Prepare a private home, an empty folder, and return what HOME is. Programs that look for
    declared data in the person's own home find it in this one."""
    own = Path.home()
    if sandbox and sandbox.replaces_home:
        return own
    for path in data:
        if path.is_relative_to(own) and path != own:
            link = home / path.relative_to(own)
            if path.exists() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
    return home


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
    cards: Sequence[Gpu],
) -> Confinement:
    """For a candidate's code that a referee asks: as in its run, but what the run left can only
    be read, and there is no network whatever the arena grants the run."""
    policy = Policy(
        cwd=folder,
        own=own,
        temporary=private / "tmp",
        home=private / "home",
        readable=[*readable(arena, env), Path(__file__).parents[2]],
        hidden=hidden(arena, folder),
        gpus=[card.minor for card in cards],
        file_bytes=arena.run.disk,
    )
    return Confinement(sandbox, policy)


def agent_confinement(
    sandbox: Sandbox,
    arena: Arena,
    place: Path,
    folder: Path,
    table: AgentTable,
    env: Mapping[str, str],
) -> Confinement:
    """For a program that proposes a change: its worktree to write, what it may not change there
    read-only, the record and the notes to read, its own private folders."""
    top = place / "tree"
    state = [arena.state / name for name in _FOR_AGENTS]
    objects = (top / ".git" / "objects" / "info" / "alternates").read_text().splitlines()
    tracked = any(path.exists() for path in expanded(arena.secrets, folder))
    policy = Policy(
        cwd=folder,
        own=[Path(env["OVERNIGHT_BRIEF"]), *(path for path in state if path.exists())],
        temporary=place / "tmp",
        home=place / "home",
        readable=[
            *runtime_paths(env, table.network, gpus=False),
            *expanded(table.data, arena.root),
            # A commit holds what is hidden in the worktree, when that is tracked.
            *(() if tracked else map(Path, objects)),
        ],
        writable=[top],
        protected=_protected(arena, folder),
        hidden=hidden(arena, folder),
        network=table.network,
    )
    return Confinement(sandbox, policy)


def _protected(arena: Arena, folder: Path) -> list[Path]:
    """What an agent could only change in vain, so that it learns so at once. Where that is very
    much, it learns it from its dropped changes."""
    found: list[Path] = []
    queue = [folder]
    while queue and len(found) <= _MOST_PROTECTED:
        entries = [path for path in sorted(queue.pop().iterdir()) if not path.is_symlink()]
        for path in entries:
            relative = path.relative_to(folder).as_posix()
            if path.is_dir() and path.name != ".git":
                queue.append(path)
            elif path.is_file() and not arena.is_editable(relative):
                found.append(path)
    return found if len(found) <= _MOST_PROTECTED else []


def unhidden(arena: Arena) -> list[str]:
    """A warning for each hidden path that is not there, once the setup is done: misspelled, it
    hides nothing."""
    return [
        f"hidden: {path} is not there, so nothing is hidden by it; is it misspelled?"
        for path in arena.secrets
        if not any(place.exists() for place in expanded([path], arena.root))
    ]


def readable(arena: Arena, env: Mapping[str, str]) -> list[Path]:
    """The runtime and the arena's declared data."""
    system = runtime_paths(env, arena.run.network, gpus=bool(arena.run.gpus))
    return [*system, *expanded(arena.data, arena.root)]


def hidden(arena: Arena, folder: Path) -> list[Path]:
    """What a referee alone may read, wherever it lies, and all of overnight's own state."""
    places = [*expanded(arena.secrets, folder), *expanded(arena.secrets, arena.root)]
    ledger = [arena.ledger_place] if isinstance(arena.ledger_place, Path) else []
    return list(dict.fromkeys([*places, arena.state, *ledger]))
