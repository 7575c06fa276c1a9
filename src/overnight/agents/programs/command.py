"""Any program as an agent: it reads the brief, edits files in the worktree, and exits."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from overnight.agents.base import TableAgent, Workbench
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.stage import brief_path, program_stage, require_reach
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import exception_line, one_line, tail
from overnight.stage.stage import StageEnd, run_stage


@dataclass(frozen=True)
class CommandAgent(TableAgent):
    """Runs a shell line for every proposal, confined, for at most `timeout` seconds."""

    unreported: ClassVar[Sequence[str]] = ("dollars", "tokens")

    def propose(self, bench: Workbench) -> Idea | None:
        line = self.table.command
        assert line is not None
        if "{prompt}" in line:
            line = line.replace("{prompt}", shlex.quote(bench.brief))
        else:
            line = f"( {line}\n) < {shlex.quote(str(brief_path(bench)))}"
        spec = program_stage(self.table, bench, line)
        result = run_stage(spec, bench.stopping)
        idea = take_idea(bench.folder, f"{self.name}, experiment {bench.n}")
        if result.end is StageEnd.DEADLINE:
            raise AgentError(
                f"{self.name} was still working after {round(spec.budget_seconds, 1):g} s and was "
                "ended",
                Trouble.HUNG,
            )
        if result.exit_code != 0 and not bench.stopping.is_set():
            require_reach(self.name, self.table, bench, spec, result)
            last = tail(bench.transcript, 10)
            raised = exception_line(last)
            how = f"exit code {result.exit_code}" + (f", {one_line(raised)}" if raised else "")
            raise AgentError(f"{self.name} ended with {how}\n{last}")
        return idea
