"""Any program as an agent: it reads the brief, edits files in the worktree, and exits."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Reader, Workbench
from overnight.agents.idea import take_idea
from overnight.errors import AgentError
from overnight.experiment import Idea
from overnight.measure import stage_environment
from overnight.notes import NAME
from overnight.policies import agent_confinement, expanded, make_home
from overnight.printed import tail
from overnight.sandboxes.named import sandbox_named
from overnight.stage import StageEnd, StageSpec, run_stage
from overnight.tables import AgentTable

_MOST_PROCESSES = 4000


@dataclass
class CommandAgent:
    """Runs a shell line for every proposal, confined, within a time limit in seconds."""

    name: str
    table: AgentTable

    @property
    def reader(self) -> Reader:
        return Reader(self.table.brief)

    def propose(self, bench: Workbench) -> Idea | None:
        brief = bench.transcript.with_name("brief.md")
        line = self.table.command
        assert line is not None
        if "{prompt}" in line:
            line = line.replace("{prompt}", shlex.quote(bench.brief))
        else:
            line = f"( {line}\n) < {shlex.quote(str(brief))}"
        env = self._environment(bench, brief)
        confinement, sandbox = None, sandbox_named(bench.sandbox)
        data = expanded(self.table.data, bench.arena.root)
        env["HOME"] = str(make_home(sandbox, bench.place / "home", data))
        if sandbox:
            confinement = agent_confinement(
                sandbox, bench.arena, bench.place, bench.folder, self.table, env
            )
        spec = StageSpec(
            line,
            bench.folder,
            env,
            bench.transcript,
            bench.transcript,
            self.table.timeout,
            processes=_MOST_PROCESSES,
            disk_folders=[bench.place],
            confinement=confinement,
            family=bench.family,
        )
        result = run_stage(spec, bench.stopping)
        idea = take_idea(bench.folder, f"{self.name}, experiment {bench.n}")
        if result.end is StageEnd.DEADLINE:
            raise AgentError(
                f"{self.name} was still working after {self.table.timeout:g} s and was ended"
            )
        if result.exit_code != 0 and not bench.stopping.is_set():
            words = tail(bench.transcript, 10)
            raise AgentError(f"{self.name} ended with exit code {result.exit_code}\n{words}")
        return idea

    def _environment(self, bench: Workbench, brief: Path) -> dict[str, str]:
        """An allow-list, and the variables that arena.toml names for this agent alone."""
        return {
            **stage_environment(bench.arena, bench.place / "tmp", self.table.env),
            "OVERNIGHT_BRIEF": str(brief),
            "OVERNIGHT_EXPERIMENT": str(bench.n),
            "OVERNIGHT_NOTES": str(bench.arena.state / NAME),
        }
