"""The messages of an agent that speaks the Agent Client Protocol, one JSON document a line.

The official package can read them from a stream itself, but it accepts messages of any size, skips
lines that are not messages, and prints a traceback for messages that the protocol does not define.
Here each message is bounded and validated first; what is wrong with one is kept as a sentence.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from acp.meta import CLIENT_METHODS
from acp.schema import SessionNotification
from pydantic import BaseModel, ConfigDict, ValidationError

from overnight.agents.acp.transcript import Transcript
from overnight.core.text import one_line

MOST_BYTES = 16_000_000
"""Of one message."""
_CHUNK = 1 << 20
_MOST_UNREAD = 1000
"""Answers that the agent may leave unread."""
_JSONRPC = "2.0"


class _Error(BaseModel):
    model_config = ConfigDict(strict=True)

    code: int
    message: str


class _Message(BaseModel):
    """What the package expects without checking."""

    model_config = ConfigDict(strict=True)

    id: int | str | None = None
    method: str = ""
    error: _Error | None = None


@dataclass(frozen=True)
class Sockets:
    """Two pairs of sockets, one a direction: some programs take a single pair for a closed pipe."""

    ask: tuple[socket.socket, socket.socket]
    """Ours, and the agent's standard input."""
    hear: tuple[socket.socket, socket.socket]
    """Ours, and the agent's standard output."""

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Sockets]:
        """New ones, closed at the end."""
        ask, hear = socket.socketpair(), socket.socketpair()
        with ask[0], ask[1], hear[0], hear[1]:
            yield cls(ask, hear)

    @property
    def pipes(self) -> tuple[int, int]:
        """The agent's file descriptors."""
        return self.ask[1].fileno(), self.hear[1].fileno()

    def hand_over(self) -> None:
        """Close the agent's sockets, once it has its own copies."""
        self.ask[1].close()
        self.hear[1].close()

    def hang_up(self) -> None:
        """Close our sockets: the agent's input ends."""
        self.ask[0].close()
        self.hear[0].close()


class Wire:
    """A transport for the package, over connected sockets. Never raises: at the end it returns
    None, and `fault` says why when the agent caused it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        transcript: Transcript,
    ) -> None:
        self.fault: str | None = None
        self._reader = reader
        self._writer = writers[0]
        self._writers = writers
        self._transcript = transcript
        self._heard = False
        self._unread = 0

    @classmethod
    async def over(cls, sockets: Sockets, transcript: Transcript) -> Wire:
        reader, unused = await asyncio.open_connection(sock=sockets.hear[0], limit=_CHUNK)
        _, writer = await asyncio.open_connection(sock=sockets.ask[0])
        return cls(reader, (writer, unused), transcript)

    async def send(self, message: dict[str, object]) -> None:
        if self._writer.is_closing():
            return
        self._unread += 1
        try:
            if self._unread > _MOST_UNREAD:
                self._give_up(f"it does not read its answers: {_MOST_UNREAD} wait for it")
                return
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            await self._writer.drain()
        except ConnectionError:
            return  # the agent is gone; `receive` reports it
        finally:
            self._unread -= 1

    async def receive(self) -> dict[str, object] | None:
        while line := await self._line():
            await asyncio.sleep(0)  # lets the package handle one message before the next
            if not line.strip():
                continue
            message = _parsed(line)
            if isinstance(message, dict):
                self._heard = True
                return message
            if not self._heard:
                self.fault = f"its first line is not a message of the protocol: {_start(line)}"
                return None
            self._transcript.note(f"{message}: {_start(line)}")
        return None

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()  # answers that the agent has not read by now do not matter

    async def _line(self) -> bytes:
        """The next line; at the end of the stream a part of one, or nothing."""
        line = b""
        while len(line) <= MOST_BYTES and self.fault is None:
            try:
                return line + await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                line += await self._reader.readexactly(error.consumed)
            except asyncio.IncompleteReadError as error:
                return line + error.partial
            except ConnectionError:
                return line
        self.fault = self.fault or f"it sent a message of more than {MOST_BYTES:,} bytes"
        return b""

    def _give_up(self, fault: str) -> None:
        self.fault = self.fault or fault
        self._writers[1].transport.abort()  # ends the reader too


def _parsed(line: bytes) -> dict[str, object] | str:
    """A message that the package can handle, or what is wrong with the line."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(message, dict) or message.get("jsonrpc") != _JSONRPC:
        return "not JSON-RPC 2.0"
    try:
        _Message.model_validate(message)
        if "method" in message and "id" not in message:
            if message["method"] != CLIENT_METHODS["session_update"]:
                return "an unknown notification"
            SessionNotification.model_validate(message.get("params"))
    except ValidationError as error:
        return f"not valid in the protocol ({error.error_count()} mistakes)"
    return message


def _start(line: bytes) -> str:
    return repr(one_line(line[:1000].decode("utf-8", "replace"), 300))
