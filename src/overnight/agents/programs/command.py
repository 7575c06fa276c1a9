"""Any program as an agent: it reads the brief, edits files in the worktree, and exits."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from overnight.agents.base import Reader, TableAgent, Workbench
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.stage import (
    MOST_ARGUMENT,
    brief_path,
    ended_how,
    program_stage,
    require_reach,
    run_program,
    with_brief,
)
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import exception_line, one_line, tail
from overnight.stage.stage import StageEnd


@dataclass(frozen=True)
class CommandAgent(TableAgent):
    """Runs a shell line for every proposal, confined, for at most `timeout` seconds."""

    unreported: ClassVar[Sequence[str]] = ("dollars", "tokens")

    def __post_init__(self) -> None:
        """Raises UsageError for a `{prompt}` that cannot be replaced."""
        with_brief(self.name, self._line)

    @property
    def reader(self) -> Reader:
        return Reader(min(self.table.brief, MOST_ARGUMENT) if self._argument else self.table.brief)

    @property
    def _line(self) -> str:
        return self.table.command or ""

    @property
    def _argument(self) -> bool:
        """Whether the brief is an argument, rather than standard input."""
        return "{prompt}" in self._line

    def propose(self, bench: Workbench) -> Idea | None:
        line = with_brief(self.name, self._line)
        if not self._argument:
            line = f"( {line}\n) < {shlex.quote(str(brief_path(bench)))}"
        spec = program_stage(self.table, bench, line)
        result = run_program(self.name, spec, bench.stopping)
        idea = take_idea(bench.folder, f"{self.name}, experiment {bench.n}")
        if result.end is StageEnd.DEADLINE:
            raise AgentError(
                f"{self.name} was still working after {round(spec.budget_seconds, 1):g} s and was "
                "ended",
                Trouble.HUNG,
            )
        failed = result.end is not StageEnd.EXITED or result.exit_code
        if failed and not bench.stopping.is_set():
            require_reach(self.name, self.table, bench, spec, result)
            last = tail(bench.transcript, 10)
            raised = exception_line(last)
            how = ended_how(result) + (f", {one_line(raised)}" if raised else "")
            raise AgentError(f"{self.name} {how}\n{last}")
        return idea
