"""Our side of the Agent Client Protocol: answers requests and records reports."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from acp.exceptions import RequestError
from acp.schema import (
    AgentMessageChunk,
    AgentPlanUpdate,
    AgentThoughtChunk,
    AllowedOutcome,
    DeniedOutcome,
    FileEditToolCallContent,
    PermissionOption,
    ReadTextFileResponse,
    RequestPermissionResponse,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
    UsageUpdate,
    WriteTextFileResponse,
)

from overnight.agents.acp.files import Refused, Worktree
from overnight.agents.acp.permits import Permits
from overnight.agents.acp.transcript import Transcript
from overnight.arena.settings import AgentTable
from overnight.core.text import one_line

T = TypeVar("T")
_MOST_CALLS = 10_000
_MOST_MESSAGE = 10_000
_NAMES_A_PATH = ("file_path", "filePath", "path", "abs_path", "notebook_path")
_ALLOW = ("allow_once", "allow_always")
_REJECT = ("reject_once", "reject_always")


@dataclass(frozen=True)
class _Call:
    """What is known of a tool call; later messages about it hold only what changed."""

    kind: str = "other"
    title: str = ""
    status: str = ""
    paths: tuple[str, ...] = ()


class ArenaClient:
    """Serves one agent for one proposal; implements the package's Client.

    Terminals are not offered: the agent starts commands itself, inside its sandbox.
    """

    def __init__(
        self, table: AgentTable, permits: Permits, worktree: Worktree, transcript: Transcript
    ) -> None:
        self.over = asyncio.Event()
        """Set when the agent has reached a limit, which `limit` names."""
        self.limit = ""
        self.replaying = False
        """Whether the agent is repeating an earlier conversation; earlier transcripts have it."""
        self.message = ""
        """The beginning of the agent's last message."""
        self.dollars: float | None = None
        """What this session has cost so far, by the agent's report."""
        self.dollars_before = 0.0
        """What it had cost before this proposal."""
        self.context: float | None = None
        """The fraction of the model's context window in use."""
        self._table = table
        self._permits = permits
        self._worktree = worktree
        self._transcript = transcript
        self._calls: dict[str, _Call] = {}

    # -- requests

    async def request_permission(
        self,
        session_id: str,
        tool_call: ToolCallUpdate,
        options: list[PermissionOption],
        **_: object,
    ) -> RequestPermissionResponse:
        """Yes or no by the arena's policy; of several kinds of yes the narrowest."""
        call = self._known(tool_call)
        refusal = self._permits.refusal(call.kind, call.paths)
        answer = "yes" if refusal is None else f"no: {refusal}"
        self._transcript.note(f"asks to {call.kind}: {_shown(call)} → {one_line(answer)}")
        wanted = _ALLOW if refusal is None else _REJECT
        for kind in wanted:
            for option in options:
                if option.kind == kind:
                    chosen = AllowedOutcome(outcome="selected", option_id=option.option_id)
                    return RequestPermissionResponse(outcome=chosen)
        return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))

    async def read_text_file(
        self,
        session_id: str,
        path: str,
        line: int | None = None,
        limit: int | None = None,
        **_: object,
    ) -> ReadTextFileResponse:
        text = self._served(f"read {path}", lambda: self._worktree.read(path, line, limit))
        return ReadTextFileResponse(content=text)

    async def write_text_file(
        self, session_id: str, path: str, content: str, **_: object
    ) -> WriteTextFileResponse:
        self._served(f"write {path}", lambda: self._worktree.write(path, content))
        return WriteTextFileResponse()

    def _served(self, what: str, act: Callable[[], T]) -> T:
        try:
            done = act()
        except Refused as refused:
            self._transcript.note(one_line(f"{what} → no: {refused}", 500))
            raise RequestError(-32602, str(refused)) from refused
        self._transcript.note(one_line(what, 500))
        return done

    # -- reports

    async def session_update(self, session_id: str, update: object, **_: object) -> None:
        """Write the update into the transcript, and count usage."""
        match update:
            case UsageUpdate():
                self._count(update)
            case _ if self.replaying:
                return
            case AgentMessageChunk(content=TextContentBlock(text=text)):
                self.message = (self.message + text)[:_MOST_MESSAGE]
                self._transcript.say("says", text)
            case AgentThoughtChunk(content=TextContentBlock(text=text)):
                self._transcript.say("thinks", text)
            case ToolCallStart() | ToolCallProgress():
                self.message = ""
                before = self._calls.get(update.tool_call_id)
                call = self._known(update)
                if before != call:
                    self._transcript.note(f"{call.kind}: {_shown(call)} {call.status}".rstrip())
            case AgentPlanUpdate(entries=entries):
                lines = [f"[{e.status}] {one_line(e.content)}\n" for e in entries[:100]]
                self._transcript.say("plans", "".join(lines))

    def _known(self, update: ToolCallUpdate | ToolCallStart | ToolCallProgress) -> _Call:
        """What is known of a call, including this message."""
        old = self._calls.get(update.tool_call_id, _Call())
        call = _Call(
            update.kind or old.kind,
            one_line(update.title or "") or old.title,
            update.status or old.status,
            tuple(dict.fromkeys(_paths(update))) or old.paths,
        )
        if len(self._calls) < _MOST_CALLS or update.tool_call_id in self._calls:
            self._calls[update.tool_call_id] = call
        return call

    def _count(self, update: UsageUpdate) -> None:
        if update.size:
            self.context = update.used / update.size
        if update.cost and update.cost.currency == "USD" and 0 <= update.cost.amount < math.inf:
            self.dollars = update.cost.amount
        spent = (self.dollars or 0.0) - self.dollars_before
        if self._table.dollars is not None and spent > self._table.dollars:
            self._reach(f"${spent:.2f} of ${self._table.dollars:.2f}")
        if self._table.tokens is not None and update.used > self._table.tokens:
            self._reach(f"{update.used:,} of {self._table.tokens:,} tokens")

    def _reach(self, limit: str) -> None:
        if not self.replaying and not self.limit:
            self.limit = limit
            self.over.set()


def _paths(update: ToolCallUpdate | ToolCallStart | ToolCallProgress) -> Iterator[str]:
    """The files that a call names, in any of the fields that agents use for it."""
    yield from (location.path for location in update.locations or ())
    for content in update.content or ():
        if isinstance(content, FileEditToolCallContent):
            yield content.path
    raw: object = update.raw_input
    if not isinstance(raw, dict):
        return
    yield from (raw[key] for key in _NAMES_A_PATH if isinstance(raw.get(key), str))
    changes = raw.get("changes")
    if isinstance(changes, dict):
        yield from (path for path in changes if isinstance(path, str))


def _shown(call: _Call) -> str:
    names: Sequence[str] = () if not call.paths else call.paths[:5]
    inner = ", ".join(one_line(path) for path in names if path not in call.title)
    return f"{call.title} ({inner})" if inner and call.title else inner or call.title
