"""Any agent that speaks the Agent Client Protocol.

The program runs as a stage like any other, confined and on the clock, with sockets as its standard
input and output. The official package is asynchronous: its loop lives on the thread
that proposes, for one proposal.
"""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from pathlib import Path

from acp.exceptions import RequestError
from pydantic import ValidationError

from overnight.agents.acp.session import LAST_SECONDS, Ending, Talk, words_of
from overnight.agents.acp.transcript import Transcript
from overnight.agents.acp.wire import Ends
from overnight.agents.base import TableAgent, Workbench
from overnight.agents.programs.conversation import Kept
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.stage import program_stage
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import one_line, tail
from overnight.core.usage import Allowance
from overnight.measure.reach import expanded
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageResult, run_stage

_STDERR = "agent.stderr.log"
_NOT_FOUND = (126, 127)
"""What a shell ends with when it cannot start a program."""
_SIGNS = {
    Trouble.RATE: r"\b429\b|rate.?limit|quota|too many requests",
    Trouble.OVERLOAD: r"\b(503|529)\b|overload|unavailable|at capacity",
    Trouble.SIGN_IN: r"\b(401|403)\b|unauthori|authenticat|api.?key|credential|(log|sign).?in\b",
    Trouble.NETWORK: r"ENOTFOUND|ECONN|EAI_AGAIN|network|connection|timed? ?out|fetch failed",
    Trouble.LIMIT: r"context (length|window)|too long|max.?tokens|budget",
}
"""What the words of an error that the protocol has no code for speak of, the likeliest first."""
_STOPPED = {
    "max_tokens": ("reached its model's most tokens", Trouble.LIMIT),
    "max_turn_requests": ("made as many requests as it may in a turn", Trouble.LIMIT),
    "refusal": ("refused to go on", Trouble.NO_CHANGE),
    "cancelled": ("says that it was cancelled, which nobody did", Trouble.BROKEN),
}


@dataclass(frozen=True)
class AcpAgent(TableAgent):
    """Asks the program that the table's command starts for every proposal, within a time limit in
    seconds."""

    def propose(self, bench: Workbench) -> Idea | None:
        return replace(self, table=self.table.within(bench.allowance))._proposal(bench)

    def _proposal(self, bench: Workbench) -> Idea | None:
        kept = Kept(self.name, bench) if self.table.session == "resume" else None
        transcript = Transcript(bench.transcript, Secrets.of_agent(self.table).redactions)
        try:
            ending, result = self._converse(bench, kept, transcript)
        finally:
            transcript.close()
        last = next((line for line in map(one_line, ending.message.splitlines()) if line), "")
        idea = take_idea(bench.folder, last or f"{self.name}, experiment {bench.n}")
        if bench.stopping.is_set():
            return replace(idea, usage=ending.usage)
        if (error := self._failure(ending, result, bench.transcript)) is not None:
            raise error
        if kept and ending.conversation:
            kept.keep(ending.conversation)
        return replace(idea, usage=ending.usage)

    def _converse(
        self, bench: Workbench, kept: Kept | None, transcript: Transcript
    ) -> tuple[Ending, StageResult]:
        before = kept.take(expanded(self.table.data, bench.arena.root)) if kept else None
        assert self.table.command is not None
        spec = program_stage(self.table, bench, self.table.command)
        confined = spec.confinement is not None
        table = _within(self.table, bench.allowance)
        talk = Talk(self.name, table, bench, transcript, before, confined)
        stderr = bench.transcript.with_name(_STDERR)
        started, done = threading.Event(), threading.Event()
        with Ends.made() as ends, ThreadPoolExecutor(1, thread_name_prefix="acp") as thread:
            spec = replace(
                spec,
                stdout=stderr,
                stderr=stderr,
                pipes=ends.pipes,
                budget_seconds=self.table.timeout + 2 * LAST_SECONDS,
                watch=lambda _: done.is_set(),
            )
            stage = thread.submit(run_stage, spec, bench.stopping, lambda _: started.set())
            stage.add_done_callback(lambda _: started.set())
            started.wait()
            ends.hand_over()
            try:
                ending = asyncio.run(talk.hold(ends, stage))
                ends.hang_up()
                wait_for([stage], LAST_SECONDS)
            finally:
                done.set()
            return ending, stage.result()

    def _failure(self, ending: Ending, result: StageResult, transcript: Path) -> AgentError | None:
        """Why there is no proposal; None: there is one."""
        if isinstance(ending.error, AgentError):
            return ending.error
        words, trouble = self._reason(ending, result)
        if not words:
            return None
        printed = tail(transcript.with_name(_STDERR), 10)
        whole = f"{self.name} {words}" + (f"\n{printed}" if printed else "")
        return AgentError(whole, trouble, ending.usage)

    def _reason(self, ending: Ending, result: StageResult) -> tuple[str, Trouble]:
        if ending.hung:
            words = f"was still working after {round(self.table.timeout, 1):g} s and was ended"
            return words, Trouble.HUNG
        if ending.limit:
            return f"has used up its share of a proposal: {ending.limit}", Trouble.LIMIT
        if ending.fault:
            return (
                f"does not keep to the Agent Client Protocol: {ending.fault}. Check `command`: "
                "many programs need a flag for the protocol, such as --acp",
                Trouble.BROKEN,
            )
        if isinstance(ending.error, RequestError | ValidationError):
            words = words_of(ending.error)
            return f"failed with {words}", _trouble(words)
        if ending.error is not None:
            return self._gone(result), Trouble.BROKEN
        return _STOPPED.get(ending.reason, ("", Trouble.BROKEN))

    def _gone(self, result: StageResult) -> str:
        if result.end not in (StageEnd.EXITED, StageEnd.CUT):
            return f"was ended in the middle of its turn, for its use of {result.end}"
        if result.exit_code in _NOT_FOUND:
            return f"cannot be started by `{self.table.command}`; is it installed and on PATH?"
        return f"ended with exit code {result.exit_code} before its turn was over"


def _within(table: AgentTable, left: Allowance) -> AgentTable:
    """With a limit that keeps to the dollars that the campaign has left, too. The tokens that an
    agent reports are those that its conversation holds."""
    dollars = [most for most in (table.dollars, left.dollars) if most is not None]
    return table.model_copy(update={"dollars": min(dollars, default=None)})


def _trouble(words: str) -> Trouble:
    for trouble, pattern in _SIGNS.items():
        if re.search(pattern, words, re.IGNORECASE):
            return trouble
    return Trouble.BROKEN
