"""The arena's setup: trusted preparation, once per machine and version of the protected files."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.errors import MeasurementImpossible
from overnight.measure.job import Job, places
from overnight.measure.reach import overnight_home
from overnight.measure.stages import last_words, open_place, referee_digest, stage_environment
from overnight.record.log_folders import campaign_logs
from overnight.repo.workspace import Workspace
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageSpec, run_stage


def run_setup(arena: Arena, workspace: Workspace, job: Job, stopping: threading.Event) -> None:
    """Run the setup in a checkout of the job's base commit, unless this machine has run it before.

    `stopping`, once set, ends it. Raises MeasurementImpossible with its last words when it fails.
    """
    if arena.setup is None or not needs_setup(arena, workspace, job.base):
        return
    for target in arena.linked_data().values():
        target.mkdir(parents=True, exist_ok=True)
    log, place = setup_log(arena, job.tag), places(arena, job.tag) / "setup"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = open_place(arena, workspace, place, job.base)
        env = stage_environment(arena, place / "tmp", arena.run.env)
        command, timeout = arena.setup.command, arena.setup.timeout
        known, family = Secrets.of(arena.run.env).redactions, job.family(arena)
        spec = StageSpec(command, folder, env, log, log, timeout, family=family, redactions=known)
        result = run_stage(spec, stopping)
    finally:
        workspace.remove(place)
    if result.end is StageEnd.STOPPED:
        return
    if result.end is not StageEnd.EXITED or result.exit_code != 0:
        raise MeasurementImpossible(
            f"the setup failed: `{command}`, {last_words(result, log)}\nIts log is {log}"
        )
    mark = _mark(arena, workspace, job.base)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(command + "\n")


def setup_log(arena: Arena, tag: str) -> Path:
    """The log of this campaign's setup."""
    return campaign_logs(arena, tag) / "setup.log"


def needs_setup(arena: Arena, workspace: Workspace, base: str) -> bool:
    """Whether the arena has a setup that this machine has not run yet."""
    return arena.setup is not None and not _mark(arena, workspace, base).exists()


def _mark(arena: Arena, workspace: Workspace, base: str) -> Path:
    assert arena.setup is not None
    # Data inside the arena's folder is prepared for this folder only.
    place = str(arena.root) if arena.linked_data() else ""
    content = json.dumps([arena.setup.command, place, referee_digest(arena, workspace, base)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return overnight_home() / "setup" / digest
