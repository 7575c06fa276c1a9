"""The official SDK's client at the other end of `overnight mcp`, over standard input and output."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, Implementation, TextContent

Chat = Callable[[Client], Awaitable[None]]


@asynccontextmanager
async def session(
    folder: Path, *words: str, mode: Literal["legacy", "auto"] = "legacy"
) -> AsyncIterator[Client]:
    """A session with a server of its own for the arena in this folder, campaign t."""
    server = StdioServerParameters(
        command="overnight",
        args=["mcp", "-C", str(folder), "--tag", "t", *words],
        env=dict(os.environ),
        cwd="/",
    )
    info = Implementation(name="a chat", version="1")
    async with Client(server, mode=mode, client_info=info) as client:
        yield client


def chat(folder: Path, talk: Chat, mode: Literal["legacy", "auto"] = "legacy") -> None:
    """Have a session from the first to the last word."""

    async def whole() -> None:
        async with session(folder, mode=mode) as client:
            await talk(client)

    with_limit(whole)


def with_limit(talk: Callable[[], Awaitable[None]]) -> None:
    """Run it, within two minutes."""

    async def limited() -> None:
        with anyio.fail_after(120):
            await talk()

    anyio.run(limited)


def words(result: CallToolResult) -> str:
    """The text of an answer."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def document(result: CallToolResult) -> dict[str, object]:
    """The structured answer, which its text repeats."""
    assert not result.is_error, words(result)
    assert result.structured_content is not None
    assert json.loads(words(result)) == result.structured_content
    return dict(result.structured_content)


def refused(result: CallToolResult) -> str:
    """The sentence of a call that failed."""
    assert result.is_error and result.structured_content is None
    assert "Traceback" not in words(result)
    return words(result)
