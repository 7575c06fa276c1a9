"""The stages of a measurement: folders, environment and limits of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from overnight.arena.arena import PROGRAM, Arena
from overnight.core.text import exception_line, tail
from overnight.measure.gpus import GPUS, Gpu, listed
from overnight.measure.job import Job
from overnight.measure.reach import PRIVATE, expanded, make_home, overnight_home, run_confinement
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import sandbox_named
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageResult, StageSpec

_INHERITED = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
]


def stage_environment(
    arena: Arena, temporary: Path, handed: Sequence[str], **variables: str
) -> dict[str, str]:
    """The whole environment of a stage: an allow-list, what arena.toml hands through to this one,
    and the contract."""
    names = [*_INHERITED, *handed]
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        # The checkouts lie inside the user's repository: git started in one must not find it.
        "GIT_CEILING_DIRECTORIES": str(arena.state / "worktrees"),
        "OVERNIGHT_HOME": str(overnight_home()),
        **{f"OVERNIGHT_{name}": value for name, value in variables.items()},
    }


def candidate_stage(
    arena: Arena, job: Job, folder: Path, command: str, cards: Sequence[Gpu] = ()
) -> StageSpec:
    """The stage that executes a candidate's code, confined and within the run's limits. Its log is
    run.log."""
    run, place = arena.run, job.place(arena)
    env = stage_environment(
        arena,
        place / "tmp",
        run.env,
        OUT=str(place / "out"),
        BUDGET_S=f"{run.budget:g}",
        CLOCK=run.clock,
        SEED=str(job.seed),
    )
    env[GPUS] = listed(cards)
    confinement, sandbox = None, sandbox_named(job.sandbox)
    env["HOME"] = str(make_home(sandbox, place / "home", expanded(arena.data, arena.root)))
    if sandbox:
        confinement = run_confinement(sandbox, arena, place, folder, env, cards)
    log = job.logs(arena) / "run.log"
    return StageSpec(
        command,
        folder,
        env,
        log,
        log,
        run.budget,
        clock=run.clock,
        memory_bytes=run.memory,
        processes=run.processes,
        disk_folders=[place / name for name in PRIVATE],
        disk_bytes=run.disk,
        confinement=confinement,
        family=job.family(arena),
        blotted=Secrets.of(run.env).in_bytes,
    )


def open_place(arena: Arena, workspace: Workspace, place: Path, commit: str) -> Path:
    """A fresh checkout of a commit in `place/tree`, with the private folders beside it, and the
    arena's untracked data linked into it. Returns the arena's folder within."""
    for name in PRIVATE:
        (place / name).mkdir(parents=True)
    folder = workspace.checkout(commit, place / "tree")
    for path, target in arena.linked_data().items():
        link = folder / path
        if not link.exists() and target.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    return folder


def referee_digest(arena: Arena, workspace: Workspace, base: str) -> str:
    """One word for the content of every protected file, program.md left out: a person edits it."""
    key = (str(arena.root), base)
    if key not in _digests:
        files = workspace.files(base, lambda path: not arena.is_editable(path) and path != PROGRAM)
        _digests[key] = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    return _digests[key]


_digests: dict[tuple[str, str], str] = {}


def last_words(result: StageResult, log: Path) -> str:
    """How a stage ended, in a line, then the last lines it printed."""
    text = tail(log, 20)
    if result.end is StageEnd.LOST:
        ending = "its supervisor was killed"
    elif result.end is not StageEnd.EXITED:
        ending = f"ended by overnight ({result.end})"
    elif result.exit_code is not None and result.exit_code < 0:
        ending = f"killed by signal {-result.exit_code}"
    else:
        ending = f"exit code {result.exit_code}"
    if line := exception_line(text):
        ending += f", {line}"
    return f"{ending}\n{text}" if text else f"{ending}, and it printed nothing"
