"""Serves the tools over the Model Context Protocol, on standard input and output.

The protocol runs in one thread; each call runs synchronous code in a thread of its own.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolEntry

from overnight.connect.tools import INSTRUCTIONS, TOOLS, Answer, Call, Scope, Tool, parse_call
from overnight.core import interrupts
from overnight.core.errors import OvernightError
from overnight.core.text import one_line
from overnight.core.version import __version__

_PROGRESS_SECONDS = 2.0
"""Time between two progress notifications; many clients give up without them."""
_POLL_SECONDS = 0.05
_MOST_CALLS = 8


def serve(scope: Scope) -> None:
    """Answer one client until it closes standard input."""
    anyio.run(_Session(scope).run)


class _Session:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._calls: set[Call] = set()
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="call")

    async def run(self) -> None:
        server = Server(
            "overnight",
            version=__version__,
            instructions=INSTRUCTIONS,
            on_list_tools=_list_tools,
            on_call_tool=self._call_tool,
        )
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._end_on_signal)
            async with stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())
            beside.cancel_scope.cancel()
        self._threads.shutdown()

    async def _call_tool(
        self, ctx: ServerRequestContext, params: CallToolRequestParams
    ) -> CallToolResult:
        call = Call(_client_of(ctx))
        self._calls.add(call)
        try:
            tool = parse_call(params.name, params.arguments or {})
            answer = self._threads.submit(_answer, tool, self._scope, call)
            return _result(await _wait(answer, call, ctx))
        except OvernightError as error:
            return _failure(str(error))
        except OSError as error:
            file = f"{error.filename}: " if error.filename else ""
            return _failure(f"{file}{error.strerror or error}; check permissions and free space")
        finally:
            self._calls.discard(call)

    async def _end_on_signal(self) -> None:
        """End the measurements, then the process, after Ctrl-C or SIGTERM. A thread that reads
        standard input cannot be cancelled, so the process exits at once."""
        both = (signal.SIGINT, signal.SIGTERM)
        handled = [n for n in both if signal.getsignal(n) is not signal.SIG_IGN]
        with anyio.open_signal_receiver(*handled) as signals:
            async for _ in signals:
                for call in self._calls:
                    call.cancel()
                await anyio.to_thread.run_sync(self._threads.shutdown)
                interrupts.leave()


async def _list_tools(
    ctx: ServerRequestContext, params: PaginatedRequestParams | None
) -> ListToolsResult:
    return ListToolsResult(tools=[_entry(tool) for tool in TOOLS])


def _entry(tool: type[Tool]) -> ToolEntry:
    hints = ToolAnnotations(
        read_only_hint=tool.reads_only, destructive_hint=False, open_world_hint=False
    )
    return ToolEntry(
        name=tool.name,
        description=tool.description(),
        input_schema=tool.schema_of(),
        annotations=hints,
    )


def _answer(tool: Tool, scope: Scope, call: Call) -> Answer:
    try:
        return tool.answer(scope, call)
    except (OvernightError, OSError):
        raise
    except Exception as error:  # a bug in overnight must not end the session
        traceback.print_exc(file=sys.stderr)
        message = f"{tool.name} failed: {type(error).__name__}: {error}; this is a bug in overnight"
        raise OvernightError(message) from error


async def _wait(future: Future[Answer], call: Call, ctx: ServerRequestContext) -> Answer:
    """The call's answer, after progress notifications. If the client cancels or leaves, the
    measurement is stopped first."""
    notified = 0.0
    try:
        while not future.done():
            await anyio.sleep(_POLL_SECONDS)
            if call.elapsed >= notified + _PROGRESS_SECONDS:
                notified = call.elapsed
                if message := await anyio.to_thread.run_sync(call.progress):
                    await ctx.session.report_progress(notified, message=message)
    finally:
        call.cancel()
        with anyio.CancelScope(shield=True):
            while not future.done():
                await anyio.sleep(_POLL_SECONDS)
    return future.result()


def _client_of(ctx: ServerRequestContext) -> str:
    """`mcp:NAME`, with the name that the client gives itself."""
    client = ctx.session.client_params
    name = one_line(client.client_info.name, 40) if client else ""
    return f"mcp:{name}" if name else "mcp"


def _result(answer: Answer) -> CallToolResult:
    if isinstance(answer, str):
        return CallToolResult(content=[TextContent(text=answer)])
    text = json.dumps(answer, ensure_ascii=False, indent=1)
    return CallToolResult(content=[TextContent(text=text)], structured_content=answer)


def _failure(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=message)], is_error=True)
