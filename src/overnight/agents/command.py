"""Any program as an agent: it reads the brief, edits files in the worktree, and exits."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from overnight.agents.base import Workbench
from overnight.errors import AgentError
from overnight.experiment import Idea
from overnight.measure import stage_environment
from overnight.message import one_line
from overnight.policies import agent_confinement, expanded, make_home
from overnight.printed import tail
from overnight.sandboxes.named import sandbox_named
from overnight.stage import StageEnd, StageSpec, run_stage
from overnight.tables import AgentTable

IDEA_FILE = ".overnight-idea.md"
"""Where the program may say what it did: a title line, then the hypothesis."""
_MOST_PROCESSES = 4000
_MOST_IDEA_BYTES = 20_000


@dataclass
class CommandAgent:
    """Runs a shell line for every proposal, confined, within a time limit in seconds."""

    name: str
    table: AgentTable
    heeds_brief: ClassVar[bool] = True

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
        idea = _read_idea(bench.folder / IDEA_FILE)
        if result.end is StageEnd.DEADLINE:
            raise AgentError(
                f"{self.name} was still working after {self.table.timeout:g} s and was ended"
            )
        if result.exit_code != 0 and not bench.stopping.is_set():
            words = tail(bench.transcript, 10)
            raise AgentError(f"{self.name} ended with exit code {result.exit_code}\n{words}")
        return idea or Idea(f"{self.name}, experiment {bench.n}")

    def _environment(self, bench: Workbench, brief: Path) -> dict[str, str]:
        """An allow-list, and the variables that arena.toml names for this agent alone."""
        return {
            **stage_environment(bench.arena, bench.place / "tmp", self.table.env),
            "OVERNIGHT_BRIEF": str(brief),
            "OVERNIGHT_EXPERIMENT": str(bench.n),
            "OVERNIGHT_NOTES": str(bench.arena.state / "notes.md"),
        }


def _read_idea(path: Path) -> Idea | None:
    """The idea file, removed once read. A link or anything but a plain file is ignored."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(_MOST_IDEA_BYTES).decode("utf-8", "replace")
    path.unlink()
    title, _, body = text.strip().partition("\n")
    hypothesis = body.strip().removeprefix("Hypothesis:").strip()
    return Idea(one_line(title.lstrip("# ")), hypothesis) if title.strip() else None
