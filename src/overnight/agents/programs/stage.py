"""What agents that are programs share: how one is started and confined."""

from __future__ import annotations

from pathlib import Path

from overnight.agents.base import Workbench
from overnight.arena.settings import AgentTable
from overnight.measure.reach import agent_confinement, expanded, make_home
from overnight.measure.stages import stage_environment
from overnight.record.notes import NAME
from overnight.sandbox.named import sandbox_named
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageSpec

_MOST_PROCESSES = 4000


def brief_path(bench: Workbench) -> Path:
    """The brief as a file, for a program that would rather read it there."""
    return bench.transcript.with_name("brief.md")


def program_stage(table: AgentTable, bench: Workbench, command: str) -> StageSpec:
    """The stage that runs a shell line in the worktree: confined where there is a sandbox, with the
    agent's own variables and a private home, within its time limit, what the campaign leaves of its
    time, and the limits of its processes and files. What it prints is the transcript.

    Raises UsageError when the sandbox that was asked for does not work here.
    """
    env = _environment(table, bench)
    confinement, sandbox = None, sandbox_named(bench.sandbox)
    data = expanded(table.data, bench.arena.root)
    env["HOME"] = str(make_home(sandbox, bench.place / "home", data))
    if sandbox:
        confinement = agent_confinement(sandbox, bench.arena, bench.place, bench.folder, table, env)
    return StageSpec(
        command,
        bench.folder,
        env,
        bench.transcript,
        bench.transcript,
        table.within(bench.allowance).timeout,
        processes=_MOST_PROCESSES,
        disk_folders=[bench.place],
        confinement=confinement,
        redactions=Secrets.of_agent(table).redactions,
        family=bench.family,
    )


def _environment(table: AgentTable, bench: Workbench) -> dict[str, str]:
    """An allow-list, and the variables that arena.toml names for this agent alone."""
    return {
        **stage_environment(bench.arena, bench.place / "tmp", table.env),
        "OVERNIGHT_BRIEF": str(brief_path(bench)),
        "OVERNIGHT_EXPERIMENT": str(bench.n),
        "OVERNIGHT_NOTES": str(bench.arena.state / NAME),
    }
