"""One proposal over the Agent Client Protocol: initialize, sign in, open a session, prompt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, cast

from acp import PROTOCOL_VERSION, Client, text_block
from acp.client import ClientSideConnection
from acp.exceptions import RequestError
from acp.schema import (
    AuthMethodAgent,
    ClientCapabilities,
    EnvVarAuthMethod,
    FileSystemCapabilities,
    Implementation,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptResponse,
    ResumeSessionResponse,
    SessionConfigOptionSelect,
    SessionConfigSelectGroup,
    SessionConfigSelectOption,
    TerminalAuthMethod,
)
from pydantic import BaseModel, Field, ValidationError

from overnight.agents.acp.client import ArenaClient
from overnight.agents.acp.files import Worktree
from overnight.agents.acp.permits import Permits
from overnight.agents.acp.transcript import Transcript
from overnight.agents.acp.wire import Sockets, Wire
from overnight.agents.base import Workbench
from overnight.agents.programs.conversation import Conversation
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.text import one_line
from overnight.core.usage import Usage
from overnight.core.version import __version__
from overnight.stage.stage import StageResult

LAST_SECONDS = 3.0
"""The time an agent has to end a cancelled prompt, and to exit when its input ends."""
_AUTH_REQUIRED = -32000
_Opened = NewSessionResponse | LoadSessionResponse | ResumeSessionResponse
_Waited = (
    asyncio.Future[PromptResponse] | asyncio.Future[StageResult] | asyncio.Future[Literal[True]]
)
_AuthMethods = Sequence[EnvVarAuthMethod | TerminalAuthMethod | AuthMethodAgent]


@dataclass(frozen=True)
class Ending:
    """How a proposal ended."""

    reason: str = ""
    """The protocol's stop reason; empty when the prompt was not answered."""
    error: Exception | None = None
    """Why it was not: RequestError, ConnectionError, ValidationError or AgentError."""
    hung: bool = False
    """Whether the time limit came first."""
    limit: str = ""
    """The limit of dollars or tokens that was reached first."""
    fault: str = ""
    """How the agent violated the protocol."""
    message: str = ""
    """The agent's last message."""
    conversation: Conversation | None = None
    """The conversation to continue next time; None when it has no room left."""
    usage: Usage = field(default_factory=Usage)


class Session:
    """One session with an agent, for one proposal."""

    def __init__(
        self,
        name: str,
        table: AgentTable,
        bench: Workbench,
        transcript: Transcript,
        before: Conversation | None,
        confined: bool,
    ) -> None:
        self._name = name
        self._table = table
        self._bench = bench
        self._transcript = transcript
        self._before = before
        worktree = Worktree(bench)
        permits = Permits(worktree, confined, table.network)
        self._client = ArenaClient(table, permits, worktree, transcript)
        self._id = ""
        self._proposals = 1

    async def hold(self, sockets: Sockets, stage: Future[StageResult]) -> Ending:
        """Run the session until the prompt is answered, a limit is reached, or the program ends."""
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self._transcript.note(str(context["message"]))
        )
        wire = await Wire.over(sockets, self._transcript)
        connection = ClientSideConnection(cast(Client, self._client), wire)
        answer = asyncio.ensure_future(self._answer(connection))
        over = asyncio.ensure_future(self._client.over.wait())
        gone = asyncio.wrap_future(stage)
        waited: set[_Waited] = {answer, over, gone}
        first = asyncio.FIRST_COMPLETED
        try:
            done, _ = await asyncio.wait(waited, timeout=self._table.timeout, return_when=first)
            if answer not in done:
                await self._cancel(connection, answer)
            return self._ending(answer, hung=not done, fault=wire.fault or "")
        finally:
            for task in waited:
                task.cancel()
            await connection.close()

    async def _cancel(
        self, connection: ClientSideConnection, answer: asyncio.Future[PromptResponse]
    ) -> None:
        """Cancel the prompt, and wait a moment for its answer."""
        if self._id:
            # An agent that is gone or does not read is ended from outside.
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(connection.cancel(self._id), LAST_SECONDS)
        await asyncio.wait({answer}, timeout=LAST_SECONDS)

    def _ending(self, answer: asyncio.Future[PromptResponse], hung: bool, fault: str) -> Ending:
        client = self._client
        error = answer.exception() if answer.done() else None
        if error and not isinstance(
            error, RequestError | ConnectionError | ValidationError | AgentError
        ):
            raise error
        response = answer.result() if answer.done() and not error else None
        so_far = Conversation(session=self._id, proposals=self._proposals)
        return Ending(
            reason=response.stop_reason if response else "",
            error=cast(Exception | None, error),
            hung=hung,
            limit=client.limit,
            fault=fault,
            message=client.message,
            conversation=so_far if so_far.has_room(client.context) else None,
            usage=_usage(response, client),
        )

    # -- the steps

    async def _answer(self, connection: ClientSideConnection) -> PromptResponse:
        hello = await self._initialize(connection)
        opened = await self._open_signed_in(connection, hello)
        if self._table.model is not None:
            await self._choose(connection, opened, self._table.model)
        self._client.dollars_before = self._client.dollars or 0.0
        return await connection.prompt(self._id, [text_block(self._bench.brief)])

    async def _initialize(self, connection: ClientSideConnection) -> InitializeResponse:
        files = FileSystemCapabilities(read_text_file=True, write_text_file=True)
        try:
            hello = await connection.initialize(
                PROTOCOL_VERSION,
                ClientCapabilities(fs=files),
                Implementation(name="overnight", version=__version__),
            )
        except (RequestError, ValidationError) as error:
            raise AgentError(
                f"{self._name} does not speak the Agent Client Protocol: it answers `initialize` "
                f"with {in_one_line(error)}; check `command` (many programs need a flag for it, "
                "such as --acp)"
            ) from error
        if hello.protocol_version != PROTOCOL_VERSION:
            raise AgentError(
                f"{self._name} speaks version {hello.protocol_version} of the Agent Client "
                f"Protocol, overnight version {PROTOCOL_VERSION}; use a release of the agent that "
                "speaks that version"
            )
        if hello.agent_info:
            self._transcript.note(one_line(f"{hello.agent_info.name} {hello.agent_info.version}"))
        return hello

    async def _open_signed_in(
        self, connection: ClientSideConnection, hello: InitializeResponse
    ) -> _Opened:
        """Open a session. Where the agent requires a sign-in, use a method whose key is in a
        variable of this agent."""
        try:
            return await self._open(connection, hello)
        except RequestError as error:
            if error.code != _AUTH_REQUIRED:
                raise
            methods = hello.auth_methods or []
            method = next((m for m in methods if self._has_key_of(m)), None)
            if method is None:
                raise AgentError(self._sign_in(methods), Trouble.SIGN_IN) from error
        try:
            await connection.authenticate(method.id)
            return await self._open(connection, hello)
        except RequestError as error:
            message = f"{self._sign_in(methods)} The method {method.id} gave: {in_one_line(error)}"
            raise AgentError(message, Trouble.SIGN_IN) from error

    async def _open(self, connection: ClientSideConnection, hello: InitializeResponse) -> _Opened:
        """The session of the conversation before, where the agent can load it; else a new one."""
        folder = str(self._bench.folder)
        if self._before is not None:
            try:
                if opened := await self._reopen(connection, hello, self._before, folder):
                    self._id, self._proposals = self._before.session, self._before.proposals + 1
                    return opened
                reason = "the agent cannot load a session"
            except (RequestError, ValidationError) as error:
                reason = in_one_line(error)
            self._transcript.note(f"a new session, not the one before: {reason}")
        created = await connection.new_session(folder, mcp_servers=[])
        self._id = created.session_id
        return created

    async def _reopen(
        self,
        connection: ClientSideConnection,
        hello: InitializeResponse,
        before: Conversation,
        folder: str,
    ) -> _Opened | None:
        can = hello.agent_capabilities
        if can and can.session_capabilities and can.session_capabilities.resume is not None:
            return await connection.resume_session(before.session, folder, mcp_servers=[])
        if not can or not can.load_session:
            return None
        self._client.replaying = True
        try:
            return await connection.load_session(folder, before.session, mcp_servers=[])
        finally:
            self._client.replaying = False

    def _has_key_of(self, method: EnvVarAuthMethod | TerminalAuthMethod | AuthMethodAgent) -> bool:
        """Whether the method takes its key from variables that this agent gets. Where the method
        names none, its id does: `gemini-api-key` takes GEMINI_API_KEY."""
        if isinstance(method, EnvVarAuthMethod):
            needed = [variable.name for variable in method.vars if not variable.optional]
        else:
            needed = [method.id.replace("-", "_").upper()]
        return all(name in self._table.env and name in os.environ for name in needed)

    def _sign_in(self, methods: _AuthMethods) -> str:
        offered = ", ".join(one_line(f"{m.name} ({m.id})") for m in methods[:10])
        return (
            f"{self._name} requires a sign-in; its methods: {offered or 'none'}. Sign in with the "
            f"program itself and name its folder in [agents.{self._name}] data, or name the "
            "variable that holds its key in env."
        )

    async def _choose(self, connection: ClientSideConnection, opened: _Opened, wanted: str) -> None:
        """Choose a model, by its name or value in the agent's list."""
        for option in opened.config_options or ():
            if isinstance(option, SessionConfigOptionSelect) and option.category == "model":
                choices = list(_choices(option))
                named = {name: c.value for c in choices for name in (c.name, c.value)}
                if wanted not in named:
                    values = ", ".join(one_line(c.value) for c in choices[:50])
                    raise AgentError(
                        f'[agents.{self._name}] model = "{wanted}": the agent has no such model; '
                        f"it offers: {values}"
                    )
                await connection.set_config_option(option.id, self._id, named[wanted])
                return
        raise AgentError(
            f'[agents.{self._name}] model = "{wanted}": the agent offers no choice of models; '
            "name the model in `command` or in the agent's own settings"
        )


def _choices(option: SessionConfigOptionSelect) -> Iterator[SessionConfigSelectOption]:
    for choice in option.options:
        if isinstance(choice, SessionConfigSelectGroup):
            yield from choice.options
        else:
            yield choice


def in_one_line(error: RequestError | ValidationError) -> str:
    """An agent's error, for messages."""
    if isinstance(error, ValidationError):
        return f"an answer that is not valid in the protocol ({error.error_count()} mistakes)"
    detail = f" {error.data}" if error.data else ""
    return one_line(f"error {error.code}: {error}{detail}", 500)


# -- its usage


class _Tokens(BaseModel):
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class _Quota(BaseModel):
    token_count: _Tokens


class _Meta(BaseModel):
    """Where gemini reports usage."""

    quota: _Quota


def _usage(response: PromptResponse | None, client: ArenaClient) -> Usage:
    spent = None
    if client.dollars is not None:
        spent = max(client.dollars - client.dollars_before, 0.0)
    if response is None:
        return Usage(dollars=spent)
    if (usage := response.usage) is not None:
        # The total includes cache reads and writes, whether or not the agent counts them as input.
        # Thoughts are output; some agents include them in output_tokens, others do not.
        thoughts = usage.thought_tokens or 0
        parts = usage.input_tokens + (usage.cached_read_tokens or 0)
        parts += (usage.cached_write_tokens or 0) + usage.output_tokens
        apart = usage.total_tokens in (
            usage.input_tokens + usage.output_tokens + thoughts,
            parts + thoughts,
        )
        tokens_out = usage.output_tokens + (thoughts if apart else 0)
        tokens_in = max(usage.total_tokens - tokens_out, usage.input_tokens)
        return Usage(tokens_in, usage.cached_read_tokens, tokens_out, spent)
    with suppress(ValidationError):
        tokens = _Meta.model_validate(response.field_meta or {}).quota.token_count
        return Usage(tokens.input_tokens, None, tokens.output_tokens, spent)
    return Usage(dollars=spent)
