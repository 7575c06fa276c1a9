"""The tools over the Model Context Protocol, on standard input and output.

The protocol runs in one thread, every call in another: what measures is the same synchronous code
as everywhere else.
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

from overnight.connect.tools import INSTRUCTIONS, TOOLS, Answer, Call, Place, Tool, tool_asked
from overnight.core import interrupts
from overnight.core.errors import OvernightError
from overnight.core.text import one_line
from overnight.core.version import __version__

PROGRESS_SECONDS = 2.0
"""From one notification to the next while something is measured: clients give up on silence."""
_LOOK_SECONDS = 0.05
_MOST_CALLS = 8


def serve(place: Place) -> None:
    """Answer one client until it closes standard input."""
    anyio.run(_Session(place).run)


class _Session:
    """One client's calls."""

    def __init__(self, place: Place) -> None:
        self._place = place
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
            tool = tool_asked(params.name, params.arguments or {})
            answer = self._threads.submit(_answer, tool, self._place, call)
            return _result(await _wait(answer, call, ctx))
        except OvernightError as error:
            return _failure(str(error))
        except OSError as error:
            # The machine's own refusals, as cli.py tells them.
            where = f"{error.filename}: " if error.filename else ""
            return _failure(f"{where}{error.strerror or error}; check permissions and space")
        finally:
            self._calls.discard(call)

    async def _end_on_signal(self) -> None:
        """Ctrl-C and SIGTERM end what is measured, then the process: whatever waits for a line of
        standard input cannot be unwound."""
        wanted = (signal.SIGINT, signal.SIGTERM)
        heard = [n for n in wanted if signal.getsignal(n) is not signal.SIG_IGN]
        with anyio.open_signal_receiver(*heard) as signals:
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


def _answer(tool: Tool, place: Place, call: Call) -> Answer:
    try:
        return tool.answer(place, call)
    except (OvernightError, OSError):
        raise
    except Exception as error:  # a fault of overnight's own: the session goes on, the log has it
        traceback.print_exc(file=sys.stderr)
        words = f"{tool.name} failed: {type(error).__name__}: {error}; this is a fault of overnight"
        raise OvernightError(words) from error


async def _wait(future: Future[Answer], call: Call, ctx: ServerRequestContext) -> Answer:
    """The call's answer; meanwhile its progress is told. When the client cancels it, or is gone,
    what is measured is ended, and the call with it."""
    told = 0.0
    try:
        while not future.done():
            await anyio.sleep(_LOOK_SECONDS)
            if call.elapsed >= told + PROGRESS_SECONDS:
                told = call.elapsed
                if words := await anyio.to_thread.run_sync(call.doing):
                    await ctx.session.report_progress(told, message=words)
    finally:
        call.cancel()
        with anyio.CancelScope(shield=True):
            while not future.done():
                await anyio.sleep(_LOOK_SECONDS)
    return future.result()


def _client_of(ctx: ServerRequestContext) -> str:
    """Who is at the other end, by its own account: `mcp:NAME`."""
    client = ctx.session.client_params
    name = one_line(client.client_info.name, 40) if client else ""
    return f"mcp:{name}" if name else "mcp"


def _result(answer: Answer) -> CallToolResult:
    if isinstance(answer, str):
        return CallToolResult(content=[TextContent(text=answer)])
    text = json.dumps(answer, ensure_ascii=False, indent=1)
    return CallToolResult(content=[TextContent(text=text)], structured_content=answer)


def _failure(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=words)], is_error=True)
