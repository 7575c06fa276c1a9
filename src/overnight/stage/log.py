"""A log file of bounded size: the beginning and the end of a stage's output.

The supervisor imports this file at its start, so it imports only what loads fast.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr

TAIL_BYTES = 256 * 1024


class Log:
    """Keeps the beginning and the end of output of any length, with secrets redacted. The file has
    the newest output at any time, for those who watch it."""

    def __init__(
        self, path: str, limit: int, redactions: "list[tuple[bytes, bytes]] | tuple[()]" = ()
    ) -> None:
        """`limit`: bytes of the file when it is closed. `redactions`: pairs of a secret and its
        replacement."""
        self.error = ""
        self._redactions = redactions
        self._held = b""
        self._keep = min(TAIL_BYTES, limit // 2)
        self._head = limit - self._keep
        self._begun = 0  # bytes of the beginning that are in the file
        self._ring = bytearray()
        self._left_out = 0
        self._fd = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            self._fail(error)

    def add(self, data: memoryview) -> None:
        """Add output. Never fails; blocks only for disk writes."""
        self._take(memoryview(self._clean(data)) if self._redactions else data)

    def _clean(self, data: memoryview) -> bytes:
        """The redacted output that can be written now. An end that may be the beginning of a
        secret is held back until more output arrives."""
        text = self._held + bytes(data)
        end = len(text) - max(begun_length(text, secret) for secret, _ in self._redactions)
        while (start := self._crossing(text, end)) < end:
            end = start
        self._held = text[end:]
        return self._without(text[:end])

    def _crossing(self, text: bytes, end: int) -> int:
        """Start of a secret that a cut at `end` would split; `end` if there is none."""
        found = (
            text.find(secret, max(end - len(secret) + 1, 0), end + len(secret) - 1)
            for secret, _ in self._redactions
        )
        return min((start for start in found if start >= 0), default=end)

    def _without(self, text: bytes) -> bytes:
        for secret, name in self._redactions:
            text = text.replace(secret, name)
        return text

    def _take(self, data: memoryview) -> None:
        now = min(len(data), self._head)
        if now:
            self._head -= now
            written = self._write(data[:now])
            self._begun += written
            self._left_out += now - written
        self._ring += data[now:]
        if len(self._ring) > 4 * self._keep:
            self._write_end()
        else:
            self._write(data[now:])

    def close(self) -> None:
        """Write the end of the output and close the file."""
        self._take(memoryview(self._without(self._held)))
        if self._ring or self._left_out:
            self._write_end()
        if self._fd >= 0:
            os.close(self._fd)

    def _write_end(self) -> None:
        """Write anew what comes after the beginning: how much is left out, and the rest."""
        surplus = max(0, len(self._ring) - self._keep)
        self._left_out += surplus
        del self._ring[:surplus]
        if self._fd >= 0:
            os.lseek(self._fd, self._begun, os.SEEK_SET)
            os.ftruncate(self._fd, self._begun)
        if self._left_out:
            self._write(b"\n[... %s bytes left out ...]\n" % f"{self._left_out:,}".encode())
        self._write(self._ring)

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        """Returns how many bytes were written."""
        rest = memoryview(data)
        try:
            while rest and self._fd >= 0:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._fail(error)
        return len(data) - len(rest)

    def _fail(self, error: OSError) -> None:
        # Stop writing the beginning; the end may still fit if space is freed by then.
        self._head = 0
        self.error = self.error or str(error)


def begun_length(text: "AnyStr", secret: "AnyStr") -> int:
    """Length of the longest beginning of `secret` that `text` ends with, short of all of it."""
    at = max(len(text) - len(secret) + 1, 0)
    while (at := text.find(secret[:1], at)) >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at += 1
    return 0
