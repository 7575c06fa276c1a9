"""Messages between a referee and a candidate's process over pipes: fields and arrays, no pickle.

A message is 8 bytes (magic, length of the header), a JSON header that lists fields and arrays, and
the arrays' buffers in C order and native byte order. Nothing that is received is executed, and
nothing above the size limit is read.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Field = bool | int | float | str | None
Array = NDArray[np.generic]
MOST_BYTES = 1 << 30
"""Default limit of the arrays in one message."""
_HEADER = struct.Struct("<4sI")
_MAGIC = b"ovn1"
_MOST_HEADER_BYTES = 1 << 20
_MOST_DIMENSIONS = 8
_DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ, which macOS lacks


class ExchangeError(Exception):
    """The other process ended, was too slow, or sent no valid message."""


@dataclass(frozen=True)
class Message:
    """Plain values and arrays, by name."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
        """The array of this name. Raises ExchangeError unless it has this dtype and shape."""
        found = self.arrays.get(name)
        if found is None:
            raise ExchangeError(f"the answer has no array {name!r}; it has {sorted(self.arrays)}")
        if found.dtype != np.dtype(dtype) or found.shape != shape:
            raise ExchangeError(
                f"{name!r} is {found.dtype} of shape {found.shape}, expected {dtype} {shape}"
            )
        return found


class Channel:
    """Sends and receives messages over two file descriptors, which it owns."""

    def __init__(self, reader: int, writer: int, most_bytes: int = MOST_BYTES) -> None:
        self._reader, self._writer = reader, writer
        self._most_bytes = most_bytes
        for fd in (reader, writer):
            os.set_blocking(fd, False)
            _enlarge(fd)

    def close(self) -> None:
        """Close both descriptors, which ends the other side's input."""
        for fd in (self._reader, self._writer):
            if fd >= 0:
                os.close(fd)
        self._reader = self._writer = -1

    def send(self, message: Message, timeout: float | None = None) -> None:
        """Send a message within `timeout` seconds (None: no limit). Raises ExchangeError."""
        arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
        specs = [[name, array.dtype.name, array.shape] for name, array in arrays.items()]
        header = json.dumps([dict(message.fields), specs]).encode()
        deadline = _deadline(timeout)
        self._write(_HEADER.pack(_MAGIC, len(header)) + header, deadline)
        for array in arrays.values():
            if array.nbytes:
                self._write(_bytes_of(array), deadline)

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; None at the end of the input. Raises ExchangeError."""
        deadline = _deadline(timeout)
        head = bytearray(_HEADER.size)
        if not self._read(memoryview(head), deadline, may_end=True):
            return None
        magic, length = _HEADER.unpack(head)
        if magic != _MAGIC or length > _MOST_HEADER_BYTES:
            raise ExchangeError(f"the data is not a message: it begins with {bytes(head)!r}")
        text = bytearray(length)
        self._read(memoryview(text), deadline)
        fields, specs = _parsed_header(bytes(text), self._most_bytes)
        arrays: dict[str, Array] = {}
        for name, dtype, shape in specs:
            arrays[name] = array = np.empty(shape, dtype)
            if array.nbytes:
                self._read(_bytes_of(array), deadline)
        return Message(fields, arrays)

    def _write(self, data: bytes | memoryview, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._writer, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._writer, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ExchangeError("the other process has ended") from None

    def _read(self, into: memoryview, deadline: float, may_end: bool = False) -> bool:
        received = 0
        while received < len(into):
            _wait(self._reader, select.POLLIN, deadline)
            try:
                count = os.readv(self._reader, [into[received:]])
            except BlockingIOError:
                continue
            if not count and may_end and not received:
                return False
            if not count:
                raise ExchangeError(f"it ended after {received:,} of {len(into):,} bytes")
            received += count
        return True


def serve(prepare: Callable[[], Callable[[Message], Message]]) -> None:
    """Answer the referee's messages, in the candidate's process, until the referee ends it.

    `prepare` loads a model or data and returns the function that answers. What both print goes to
    standard error, and their standard input is empty.
    """
    channel = Channel(os.dup(0), os.dup(1))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    answer = prepare()
    try:
        while (message := channel.receive()) is not None:
            channel.send(answer(message))
    except ExchangeError:
        pass  # the referee closed the pipes
    finally:
        channel.close()


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _enlarge(pipe: int) -> None:
    """Set a pipe's capacity to 1 MiB, if the system allows it."""
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # the default size works too


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(None if left == math.inf else left * 1000):
        raise ExchangeError("it was too slow")


def _parsed_header(
    text: bytes, most_bytes: int
) -> tuple[dict[str, Field], list[tuple[str, str, tuple[int, ...]]]]:
    """The fields, and each array's name, dtype and shape, validated."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise ExchangeError(f"the data is not a message: its header is {text[:50]!r}") from None
    match header:
        case [dict() as fields, list() as specs]:
            pass
        case _:
            raise ExchangeError(f"its header is {text[:50]!r}, expected [fields, arrays]")
    for name, value in fields.items():
        if not isinstance(value, Field):
            raise ExchangeError(f"its field {name[:50]!r} is neither a text nor a number")
    arrays, total = [], 0
    for spec in specs:
        match spec:
            case [str() as name, str() as dtype, list() as shape] if _is_allowed(dtype, shape):
                total += math.prod(shape) * np.dtype(dtype).itemsize
                arrays.append((name, dtype, tuple(shape)))
            case _:
                raise ExchangeError(f"it announces {str(spec)[:100]}, expected name, dtype, shape")
        if total > most_bytes:
            raise ExchangeError(f"it announces {total:,} bytes, more than {most_bytes:,}")
    return fields, arrays


def _is_allowed(dtype: str, shape: list[object]) -> bool:
    return (
        dtype in _DTYPES
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(length) is int and 0 <= length <= MOST_BYTES for length in shape)
    )
