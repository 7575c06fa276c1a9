"""Any agent that speaks the Agent Client Protocol.

The program runs as a stage like any other, confined and within a time limit, with sockets as its
standard input and output. The official package is asynchronous: its event loop runs on the thread
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

from overnight.agents.acp.session import LAST_SECONDS, Ending, Session, in_one_line
from overnight.agents.acp.transcript import Transcript
from overnight.agents.acp.wire import Sockets
from overnight.agents.base import TableAgent, Workbench
from overnight.agents.programs.conversation import ConversationStore
from overnight.agents.programs.idea_file import take_idea
from overnight.agents.programs.stage import (
    ended_how,
    program_stage,
    require_reach,
    run_program,
)
from overnight.core.errors import AgentError, Trouble
from overnight.core.experiment import Idea
from overnight.core.text import one_line, tail
from overnight.measure.reach import expanded
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageResult

_STDERR = "agent.stderr.log"
_NOT_FOUND = (126, 127)
"""A shell's exit codes when it cannot start a program."""
_SIGNS = {
    Trouble.RATE: r"\b429\b|rate.?limit|quota|too many requests",
    Trouble.OVERLOAD: r"\b(503|529)\b|overload|unavailable|at capacity",
    Trouble.SIGN_IN: r"\b(401|403)\b|unauthori|authenticat|api.?key|credential|(log|sign).?in\b",
    Trouble.NETWORK: r"ENOTFOUND|ECONN|EAI_AGAIN|network|connection|timed? ?out|fetch failed",
    Trouble.LIMIT: r"context (length|window)|too long|max.?tokens|budget",
}
"""Kind of trouble → what the message of an error looks like, the likeliest first: the protocol has
no codes for these."""
_STOPPED = {
    "max_tokens": ("reached its model's limit of tokens", Trouble.LIMIT),
    "max_turn_requests": ("reached its limit of requests", Trouble.LIMIT),
    "refusal": ("refused to continue", Trouble.NO_CHANGE),
    "cancelled": ("reports that it was cancelled, but it was not", Trouble.BROKEN),
}


@dataclass(frozen=True)
class AcpAgent(TableAgent):
    """Starts the table's command for every proposal, confined, for at most `timeout` seconds."""

    def propose(self, bench: Workbench) -> Idea | None:
        # What the campaign has left of its tokens is no limit here: the protocol reports the tokens
        # in the context window, not those that were used.
        allowance = replace(bench.allowance, tokens=None)
        return replace(self, table=self.table.within(allowance))._proposal(bench)

    def _proposal(self, bench: Workbench) -> Idea | None:
        resumes = self.table.session == "resume"
        store = ConversationStore(self.name, bench) if resumes else None
        transcript = Transcript(bench.transcript, Secrets.of_agent(self.table).redactions)
        try:
            ending, result = self._converse(bench, store, transcript)
        finally:
            transcript.close()
        last = next((line for line in map(one_line, ending.message.splitlines()) if line), "")
        idea = take_idea(bench.folder, last or f"{self.name}, experiment {bench.n}")
        if bench.stopping.is_set():
            return replace(idea, usage=ending.usage)
        if (error := self._failure(ending, result, bench.transcript)) is not None:
            raise error
        if store and ending.conversation:
            store.keep(ending.conversation)
        return replace(idea, usage=ending.usage)

    def _converse(
        self, bench: Workbench, store: ConversationStore | None, transcript: Transcript
    ) -> tuple[Ending, StageResult]:
        before = store.take(expanded(self.table.data, bench.arena.root)) if store else None
        assert self.table.command is not None
        spec = program_stage(self.table, bench, self.table.command)
        confined = spec.confinement is not None
        session = Session(self.name, self.table, bench, transcript, before, confined)
        stderr = bench.transcript.with_name(_STDERR)
        started, done = threading.Event(), threading.Event()
        with Sockets.made() as sockets, ThreadPoolExecutor(1, thread_name_prefix="acp") as thread:
            spec = replace(
                spec,
                stdout=stderr,
                stderr=stderr,
                pipes=sockets.pipes,
                budget_seconds=self.table.timeout + 2 * LAST_SECONDS,
                watch=lambda _: done.is_set(),
            )
            stage = thread.submit(
                run_program, self.name, spec, bench.stopping, lambda _: started.set()
            )
            stage.add_done_callback(lambda _: started.set())
            started.wait()
            sockets.hand_over()
            try:
                ending = asyncio.run(session.hold(sockets, stage))
                sockets.hang_up()
                wait_for([stage], LAST_SECONDS)
            finally:
                done.set()
            require_reach(self.name, self.table, bench, spec, stage.result())
            return ending, stage.result()

    def _failure(self, ending: Ending, result: StageResult, transcript: Path) -> AgentError | None:
        """Why there is no proposal; None when there is one."""
        if isinstance(ending.error, AgentError):
            return ending.error
        reason, trouble = self._reason(ending, result)
        if not reason:
            return None
        printed = tail(transcript.with_name(_STDERR), 10)
        message = f"{self.name} {reason}" + (f"\n{printed}" if printed else "")
        return AgentError(message, trouble, ending.usage)

    def _reason(self, ending: Ending, result: StageResult) -> tuple[str, Trouble]:
        if ending.hung:
            seconds = round(self.table.timeout, 1)
            return f"was still working after {seconds:g} s and was ended", Trouble.HUNG
        if ending.limit:
            return f"reached its limit for one proposal: {ending.limit}", Trouble.LIMIT
        if ending.fault:
            return (
                f"does not follow the Agent Client Protocol: {ending.fault}. Check `command`: "
                "many programs need a flag for the protocol, such as --acp",
                Trouble.BROKEN,
            )
        if isinstance(ending.error, RequestError | ValidationError):
            error = in_one_line(ending.error)
            return f"failed with {error}", _trouble(error)
        if ending.error is not None:
            return self._gone(result), Trouble.BROKEN
        return _STOPPED.get(ending.reason, ("", Trouble.BROKEN))

    def _gone(self, result: StageResult) -> str:
        if result.exit_code in _NOT_FOUND:
            return f"cannot be started by `{self.table.command}`; is it installed and on PATH?"
        return f"{ended_how(result)} before it was done"


def _trouble(message: str) -> Trouble:
    for trouble, pattern in _SIGNS.items():
        if re.search(pattern, message, re.IGNORECASE):
            return trouble
    return Trouble.BROKEN
