"""A coding-agent program as an agent, run as its preset says.

Its exit code says nothing: several end with 0 after a refused key. What counts is whether an
editable file was changed; only when none was does its output tell why.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from overnight.agents.base import Reader, TableAgent, Workbench
from overnight.agents.llm.keys import key_of
from overnight.agents.programs.access import knows_dollars, missing, reaching
from overnight.agents.programs.conversation import Conversation, Kept
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.preset import Preset, filled
from overnight.agents.programs.stage import brief_path, program_stage
from overnight.agents.programs.usage_watch import Account
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import one_line, tail
from overnight.core.usage import Usage
from overnight.measure.reach import expanded
from overnight.stage.stage import StageEnd, StageResult, StageSpec, run_stage

_TURNS = 100
"""Most answers of its model in one proposal, where the program counts them."""
_MOST_ARGUMENT = 25_000
"""Tokens of a brief that goes in as an argument: the system takes 128 KiB."""
_MOST_SAID = 300
"""Characters of its last words in a reason."""


@dataclass(frozen=True)
class CodingAgent(TableAgent):
    """Runs the program once for every proposal, confined, within a time limit in seconds."""

    preset: Preset

    @property
    def reader(self) -> Reader:
        most = _MOST_ARGUMENT if self.preset.prompt == "argument" else self.table.brief
        return Reader(min(self.table.brief, most))

    @property
    def reach(self) -> AgentTable:
        return reaching(self.table, self.preset)

    @property
    def unreported(self) -> Sequence[str]:
        return () if knows_dollars(self.table, self.preset) else ("dollars",)

    def propose(self, bench: Workbench) -> Idea | None:
        return replace(self, table=self.table.within(bench.allowance))._proposal(bench)

    def _proposal(self, bench: Workbench) -> Idea | None:
        kept = Kept(self.name, bench) if self.table.session == "resume" else None
        table = self.reach
        before = kept.take(expanded(table.data, bench.arena.root)) if kept else None
        spec = self._spec(table, bench, before)
        account = Account(table, self.preset, bench, before)
        result = run_stage(replace(spec, watch=account.reached), bench.stopping)
        usage, said = account.look(), account.last_words()
        known = usage if any(vars(usage).values()) else Usage()
        idea = take_idea(bench.folder, "")
        idea = replace(idea, hypothesis=idea.hypothesis or one_line(said, _MOST_SAID))
        if bench.stopping.is_set():
            return replace(idea, usage=known)
        if not bench.edited():
            words, trouble = self._failure(result, account, said, bench.transcript)
            raise AgentError(f"{self.name} {words}", trouble, known)
        if kept and (going := account.conversation()):
            kept.keep(going)
        return replace(idea, usage=usage)

    def _spec(self, table: AgentTable, bench: Workbench, before: Conversation | None) -> StageSpec:
        """The stage: the program's line, its variables, and its files in the private home."""
        program = shutil.which(self.preset.program)
        if program is None:
            raise AgentError(missing(self.name, self.preset))
        spec = program_stage(table, bench, "")
        words = self._words(bench, Path(spec.env["HOME"]), before)
        env = {**self.preset.env, **(self.preset.server.env if self.table.url else {})}
        for path, content in self.preset.home.items():
            _put(bench.place / "home", path, filled(content, words))
        arguments = self.preset.arguments(words, _editable(bench))
        line = " ".join(shlex.quote(word) for word in (program, *arguments))
        if self.preset.prompt == "stdin":
            line += f" < {shlex.quote(str(brief_path(bench)))}"
        variables = {key: filled(value, words) for key, value in env.items()}
        return replace(spec, command=line, env={**spec.env, **variables})

    def _words(
        self, bench: Workbench, home: Path, before: Conversation | None
    ) -> Mapping[str, str]:
        """What the names in the preset stand for, as far as there is something."""
        url = (self.table.url or "").removesuffix("/").removesuffix("/v1")
        given = {
            "model": self.table.model or (self.preset.server.model if url else None),
            "turns": str(_TURNS),
            "dollars": None if self.table.dollars is None else f"{self.table.dollars:.4f}",
            "session": before.session if before else None,
            "prompt": bench.brief,
            "server": url or None,
            "key": key_of(self.table) if url else None,
            "folder": str(bench.folder),
            "home": str(home),
        }
        return {name: word for name, word in given.items() if word}

    def _failure(
        self, result: StageResult, account: Account, said: str, transcript: Path
    ) -> tuple[str, Trouble]:
        """Why no editable file was changed."""
        if account.over:
            return f"has used up its share of a proposal: {account.over}", Trouble.LIMIT
        if failure := self.preset.failure(account.printed()):
            return f"changed nothing. {failure.words}", failure.trouble
        if result.end is StageEnd.DEADLINE:
            words = f"was still working after {round(self.table.timeout, 1):g} s, without an edit"
            return words, Trouble.HUNG
        if result.exit_code:
            words = tail(transcript, 10)
            return f"ended with exit code {result.exit_code}\n{words}", Trouble.BROKEN
        asked = f"; it said: {one_line(said, _MOST_SAID)}" if said else ""
        return f"changed no editable file{asked}", Trouble.NO_CHANGE


def _editable(bench: Workbench) -> list[str]:
    return sorted(bench.arena.editable_files(bench.folder))


def _put(home: Path, path: str, content: str) -> None:
    """Write a file in a home that may be an agent's own work: through no link."""
    place = home
    for part in Path(path).parts:
        place = place / part
        if place.is_symlink():
            place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content, encoding="utf-8")
