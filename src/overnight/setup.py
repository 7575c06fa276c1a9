"""The arena's setup: trusted preparation, once per machine and version of its protected files."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

from overnight.arena import PROGRAM, Arena
from overnight.errors import MeasurementImpossible
from overnight.measure import open_place, overnight_home, stage_environment
from overnight.stage import StageEnd, StageSpec, run_stage, tail
from overnight.workspace import Workspace


def is_ready(arena: Arena, workspace: Workspace, base: str) -> bool:
    """Whether this machine has run this version of the setup."""
    return arena.setup is None or _mark(arena, workspace, base).exists()


def run_setup(arena: Arena, workspace: Workspace, base: str, family: str) -> None:
    """Run the setup in a checkout of the base commit, unless it has been run before.

    Raises MeasurementImpossible with its last words when it fails.
    """
    if arena.setup is None or is_ready(arena, workspace, base):
        return
    place = arena.state / "worktrees" / "setup"
    workspace.remove(place)
    logs = arena.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for target in arena.linked_data().values():
        target.mkdir(parents=True, exist_ok=True)
    folder = open_place(arena, workspace, place, base)
    log = logs / "setup.log"
    env = stage_environment(arena, place / "tmp")
    spec = StageSpec(arena.setup.command, folder, env, log, log, arena.setup.timeout, family=family)
    result = run_stage(spec, threading.Event())
    workspace.remove(place)
    if result.end is not StageEnd.EXITED or result.exit_code != 0:
        raise MeasurementImpossible(
            f"the setup `{arena.setup.command}` failed ({result.end}, exit code "
            f"{result.exit_code}). Its log is {log}; the last lines:\n{tail(log, 15)}"
        )
    mark = _mark(arena, workspace, base)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(arena.setup.command + "\n")


def _mark(arena: Arena, workspace: Workspace, base: str) -> Path:
    protected = workspace.files(base, lambda p: not arena.is_editable(p) and p != PROGRAM)
    assert arena.setup is not None
    # Data inside the arena's folder was prepared for that folder alone.
    place = str(arena.root) if arena.linked_data() else ""
    content = json.dumps([arena.setup.command, place, sorted(protected.items())])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return overnight_home() / "setup" / digest
