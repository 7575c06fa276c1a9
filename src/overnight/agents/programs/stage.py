"""How an agent program is started and confined."""

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
    """The brief as a file."""
    return bench.transcript.with_name("brief.md")


def program_stage(table: AgentTable, bench: Workbench, command: str) -> StageSpec:
    """The stage that runs a shell line in the worktree: confined, with the variables and data that
    the table names, a private home, and limits on time, processes and disk. Its output is the
    transcript, without secrets.

    Raises UsageError when the sandbox that the arena names does not work here.
    """
    env = _environment(table, bench)
    confinement, sandbox = None, sandbox_named(bench.sandbox)
    data = expanded(table.data, bench.arena.root)
    env["HOME"] = str(make_home(sandbox, bench.private / "home", data))
    if sandbox:
        confinement = agent_confinement(
            sandbox, bench.arena, bench.private, bench.folder, table, env
        )
    return StageSpec(
        command,
        bench.folder,
        env,
        bench.transcript,
        bench.transcript,
        table.within(bench.allowance).timeout,
        processes=_MOST_PROCESSES,
        disk_folders=[bench.private],
        confinement=confinement,
        redactions=Secrets.of_agent(table).redactions,
        family=bench.family,
    )


def _environment(table: AgentTable, bench: Workbench) -> dict[str, str]:
    """A fixed list of variables, and those that arena.toml names for this agent."""
    return {
        **stage_environment(bench.arena, bench.private / "tmp", table.env),
        "OVERNIGHT_BRIEF": str(brief_path(bench)),
        "OVERNIGHT_EXPERIMENT": str(bench.n),
        "OVERNIGHT_NOTES": str(bench.arena.state / NAME),
    }
