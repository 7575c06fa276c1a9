"""The arena's setup: trusted preparation, once per machine and version of its protected files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.errors import MeasurementImpossible
from overnight.measure.reach import overnight_home
from overnight.measure.stages import (
    Task,
    last_words,
    open_place,
    referee_digest,
    stage_environment,
)
from overnight.repo.workspace import Workspace
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageSpec, run_stage


def run_setup(arena: Arena, workspace: Workspace, task: Task) -> None:
    """Run the setup in a checkout of the base commit, unless this machine has run it before.

    Raises MeasurementImpossible with its last words when it fails.
    """
    if arena.setup is None or not needs_setup(arena, workspace, task.base):
        return
    for target in arena.linked_data().values():
        target.mkdir(parents=True, exist_ok=True)
    log = task.logs / "setup.log"
    try:
        folder = open_place(arena, workspace, task.place, task.base)
        env = stage_environment(arena, task.place / "tmp", arena.run.env)
        command, timeout = arena.setup.command, arena.setup.timeout
        known = Secrets.of(arena.run.env).redactions
        spec = StageSpec(
            command, folder, env, log, log, timeout, family=task.family, redactions=known
        )
        result = run_stage(spec, task.stopping)
    finally:
        workspace.remove(task.place)
    if result.end is StageEnd.STOPPED:
        return
    if result.end is not StageEnd.EXITED or result.exit_code != 0:
        raise MeasurementImpossible(
            f"the setup failed: `{command}`, {last_words(result, log)}\nIts log is {log}"
        )
    mark = _mark(arena, workspace, task.base)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(command + "\n")


def needs_setup(arena: Arena, workspace: Workspace, base: str) -> bool:
    """Whether there is a setup that this machine has not run yet."""
    return arena.setup is not None and not _mark(arena, workspace, base).exists()


def _mark(arena: Arena, workspace: Workspace, base: str) -> Path:
    assert arena.setup is not None
    # Data inside the arena's folder was prepared for that folder alone.
    place = str(arena.root) if arena.linked_data() else ""
    content = json.dumps([arena.setup.command, place, referee_digest(arena, workspace, base)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return overnight_home() / "setup" / digest
