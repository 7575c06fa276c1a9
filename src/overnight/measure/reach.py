"""What a run, a referee or an agent may read, write and connect to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable
from overnight.measure.gpus import Gpu
from overnight.record.notes import ARCHIVE, NAME
from overnight.sandbox.base import Confinement, Policy, Sandbox
from overnight.sandbox.runtime import home_folder, runtime_paths

PRIVATE = ("out", "tmp", "home")
"""Folders beside a checkout: for the files that a run leaves, its temporary files, its home."""

_FOR_AGENTS = (NAME, ARCHIVE, "results.tsv")
"""State that agents may read. Not the ledger, which holds the results of final exams."""
_MOST_PROTECTED = 100


def overnight_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of machine-wide state and caches: `OVERNIGHT_HOME`, or in the user's cache folder."""
    if home := environment.get("OVERNIGHT_HOME"):
        return Path(home).expanduser().resolve()
    if cache := environment.get("XDG_CACHE_HOME"):
        return Path(cache).expanduser() / "overnight"
    return home_folder() / ".cache" / "overnight"


def expanded(paths: Sequence[str], folder: Path) -> list[Path]:
    """Paths of arena.toml made absolute: `~` and `$OVERNIGHT_HOME` are expanded, relative ones
    start at `folder`. `@FILE` stands for the paths that FILE lists, one a line."""
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
    """Prepare a private home in an empty folder and return the value of HOME. It links to the
    declared data that lies in the user's own home, so that programs find it."""
    own = home_folder()
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
    """For a stage that executes a candidate: it may read its checkout and the declared data, write
    its private folders, and reach nothing else of this machine."""
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
    """For a candidate's process that a referee asks: as for the run, but without network, and what
    the run left is read-only."""
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
    """For an agent's program: it may write its worktree, apart from the protected files, and its
    private folders, and read the notes and the results."""
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
            # Where hidden files are tracked, git objects would show them.
            *(() if tracked else map(Path, objects)),
        ],
        writable=[top],
        protected=_protected(arena, folder),
        hidden=hidden(arena, folder),
        network=table.network,
    )
    return Confinement(sandbox, policy)


def _protected(arena: Arena, folder: Path) -> list[Path]:
    """The files that are not editable, made read-only so that an agent notices at once. None when
    there are too many: then only its dropped changes tell."""
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
    """A warning for each hidden path that does not exist after the setup, perhaps misspelled."""
    return [
        f"hidden: {path} is not there, so nothing is hidden by it; is it misspelled?"
        for path in arena.secrets
        if not any(place.exists() for place in expanded([path], arena.root))
    ]


def readable(arena: Arena, env: Mapping[str, str]) -> list[Path]:
    """The system, the language's installation and the arena's declared data."""
    system = runtime_paths(env, arena.run.network, gpus=bool(arena.run.gpus))
    return [*system, *expanded(arena.data, arena.root)]


def hidden(arena: Arena, folder: Path) -> list[Path]:
    """The paths that only a referee may read, and all of overnight's own state."""
    places = [*expanded(arena.secrets, folder), *expanded(arena.secrets, arena.root)]
    ledger = [arena.ledger_place] if isinstance(arena.ledger_place, Path) else []
    return list(dict.fromkeys([*places, arena.state, *ledger]))
