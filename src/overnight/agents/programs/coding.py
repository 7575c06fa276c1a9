"""A coding-agent program as an agent, run as its preset says.

Its exit code says nothing: several programs end with 0 after a refused key. What counts is whether
an editable file was changed; only when none was does the output tell why.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from overnight.agents.base import Reader, TableAgent, Workbench, charged, key_of
from overnight.agents.programs.access import knows_dollars, not_installed, with_access
from overnight.agents.programs.conversation import Conversation, ConversationStore
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.preset import Preset, filled
from overnight.agents.programs.stage import (
    MOST_ARGUMENT,
    brief_path,
    ended_how,
    program_stage,
    run_program,
    with_brief,
)
from overnight.agents.programs.usage_watch import UsageWatch
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import one_line, tail
from overnight.core.usage import Usage
from overnight.measure.reach import expanded
from overnight.stage.stage import StageEnd, StageResult, StageSpec

_MOST_ANSWERS = 100
"""Answers of its model in one proposal, where the program counts them."""
_MOST_QUOTED = 300
"""Characters of its last message in a reason."""


@dataclass(frozen=True)
class CodingAgent(TableAgent):
    """Runs the program once for every proposal, confined, for at most `timeout` seconds."""

    preset: Preset

    @property
    def reader(self) -> Reader:
        most = MOST_ARGUMENT if self.preset.prompt == "argument" else self.table.brief
        return Reader(min(self.table.brief, most))

    @property
    def access(self) -> AgentTable:
        return with_access(self.table, self.preset)

    @property
    def unreported(self) -> Sequence[str]:
        return () if knows_dollars(self.table, self.preset) else ("dollars",)

    def propose(self, bench: Workbench) -> Idea | None:
        return replace(self, table=self.table.within(bench.allowance))._proposal(bench)

    def _proposal(self, bench: Workbench) -> Idea | None:
        resumes = self.table.session == "resume"
        store = ConversationStore(self.name, bench) if resumes else None
        table = self.access
        before = store.take(expanded(table.data, bench.arena.root)) if store else None
        spec = self._spec(table, bench, before)
        watch = UsageWatch(table, self.preset, bench, before)
        result = run_program(self.name, replace(spec, watch=watch.reached), bench.stopping)
        usage = watch.look()
        with charged(self.name, bench, lambda: usage):
            return self._outcome(bench, store, watch, result, usage)

    def _outcome(
        self,
        bench: Workbench,
        store: ConversationStore | None,
        watch: UsageWatch,
        result: StageResult,
        usage: Usage,
    ) -> Idea:
        """The change that the program made. Raises AgentError where it made none."""
        said = watch.last_message()
        known = usage if any(vars(usage).values()) else Usage()
        idea = take_idea(bench.folder, "")
        idea = replace(idea, hypothesis=idea.hypothesis or one_line(said, _MOST_QUOTED))
        if bench.stopping.is_set():
            return replace(idea, usage=known)
        if not bench.edited():
            reason, trouble = self._failure(result, watch, said, bench.transcript)
            raise AgentError(f"{self.name} {reason}", trouble, known)
        if store and (conversation := watch.conversation()):
            store.keep(conversation)
        return replace(idea, usage=usage)

    def _spec(self, table: AgentTable, bench: Workbench, before: Conversation | None) -> StageSpec:
        """The stage: the program's line, its variables, and the files in its private home."""
        program = shutil.which(self.preset.program)
        if program is None:
            raise AgentError(not_installed(self.name, self.preset))
        spec = program_stage(table, bench, "")
        values = self._values(bench, Path(spec.env["HOME"]), before)
        env = {**self.preset.env, **(self.preset.server.env if self.table.url else {})}
        for path, content in self.preset.home.items():
            _put(bench.private / "home", path, filled(content, values))
        editable = sorted(bench.arena.editable_files(bench.folder))
        arguments = self.preset.arguments(values, editable)
        line = " ".join(shlex.quote(word) for word in (program, *arguments))
        if self.preset.prompt == "stdin":
            line += f" < {shlex.quote(str(brief_path(bench)))}"
        else:
            line = with_brief(self.name, line)
        variables = {key: filled(value, values) for key, value in env.items()}
        return replace(spec, command=line, env={**spec.env, **variables})

    def _values(
        self, bench: Workbench, home: Path, before: Conversation | None
    ) -> Mapping[str, str]:
        """The values of the preset's placeholders, without those that have none."""
        url = (self.table.url or "").removesuffix("/").removesuffix("/v1")
        values = {
            "model": self.table.model or (self.preset.server.model if url else None),
            "answers": str(_MOST_ANSWERS),
            "dollars": None if self.table.dollars is None else f"{self.table.dollars:.4f}",
            "session": before.session if before else None,
            "server": url or None,
            "key": key_of(self.table) if url else None,
            "folder": str(bench.folder),
            "home": str(home),
        }
        return {name: value for name, value in values.items() if value}

    def _failure(
        self, result: StageResult, watch: UsageWatch, said: str, transcript: Path
    ) -> tuple[str, Trouble]:
        """Why no editable file was changed."""
        if watch.limit:
            return f"reached its limit for one proposal: {watch.limit}", Trouble.LIMIT
        if failure := self.preset.failure(watch.printed()):
            return f"changed nothing. {failure.sentence}", failure.trouble
        if result.end is StageEnd.DEADLINE:
            seconds = round(self.table.timeout, 1)
            return f"was still working after {seconds:g} s and had edited nothing", Trouble.HUNG
        if result.exit_code or result.end not in (StageEnd.EXITED, StageEnd.CUT):
            return f"{ended_how(result)}\n{tail(transcript, 10)}", Trouble.BROKEN
        quoted = f"; its last message: {one_line(said, _MOST_QUOTED)}" if said else ""
        return f"changed no editable file{quoted}", Trouble.NO_CHANGE


def _put(home: Path, path: str, content: str) -> None:
    """Write a file below a home. An agent may have left links in it; none is followed."""
    file = home
    for part in Path(path).parts:
        file = file / part
        if file.is_symlink():
            file.unlink()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
