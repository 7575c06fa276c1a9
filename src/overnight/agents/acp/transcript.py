"""What an agent says over a protocol, as readable text that grows while it is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overnight.stage.log import Log

MOST_BYTES = 10_000_000
"""Of a whole transcript, beside one line that says how much was left out."""
_MOST_AT_ONCE = 100_000
_UNPRINTABLE = {
    number: "\ufffd"
    for number in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(number) not in "\n\t"
}


class Transcript:
    """A file of bounded size. The agent's words are untrusted: no terminal obeys what is written.

    Not for two threads at once.
    """

    def __init__(self, path: Path, redactions: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`redactions`: what is never written, and what is written in its place."""
        self._log = Log(str(path), MOST_BYTES, [*redactions])
        self._speaker = ""

    def say(self, speaker: str, text: str) -> None:
        """A piece of what is said; a heading comes before it when another spoke last."""
        if speaker != self._speaker:
            self._write(f"\n--- {speaker} ---\n" if self._speaker else f"--- {speaker} ---\n")
            self._speaker = speaker
        self._write(text)

    def note(self, text: str) -> None:
        """A line of its own, such as a tool call or an answer."""
        self._write(f"\n* {text}" if self._speaker else f"* {text}")
        self._speaker = "*"

    def close(self) -> None:
        """Write the end. What could not be written, such as on a full disk, is missing."""
        self._write("\n")
        self._log.close()

    def _write(self, text: str) -> None:
        if len(text) > _MOST_AT_ONCE:
            text = f"{text[:_MOST_AT_ONCE]} [... {len(text) - _MOST_AT_ONCE:,} characters]"
        data = text.translate(_UNPRINTABLE).encode("utf-8", "replace")
        self._log.add(memoryview(data))
