"""What an agent says over a protocol, as a text file that grows while it works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overnight.stage.log import Log

MOST_BYTES = 10_000_000
"""Of a whole transcript, beside one line that counts what was left out."""
_MOST_AT_ONCE = 100_000
_UNPRINTABLE = {
    number: "\ufffd"
    for number in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(number) not in "\n\t"
}


class Transcript:
    """A file of bounded size. The agent's text is untrusted: control characters are replaced.

    Not thread-safe.
    """

    def __init__(self, path: Path, redactions: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`redactions`: secrets, and what is written in their place."""
        self._log = Log(str(path), MOST_BYTES, [*redactions])
        self._speaker = ""

    def say(self, speaker: str, text: str) -> None:
        """Append a piece of text, after a heading when the speaker changes."""
        if speaker != self._speaker:
            self._write(f"\n--- {speaker} ---\n" if self._speaker else f"--- {speaker} ---\n")
            self._speaker = speaker
        self._write(text)

    def note(self, text: str) -> None:
        """Append a line of its own, such as a tool call."""
        self._write(f"\n* {text}" if self._speaker else f"* {text}")
        self._speaker = "*"

    def close(self) -> None:
        """Write the end. What could not be written, as on a full disk, is missing."""
        self._write("\n")
        self._log.close()

    def _write(self, text: str) -> None:
        if len(text) > _MOST_AT_ONCE:
            text = f"{text[:_MOST_AT_ONCE]} [... {len(text) - _MOST_AT_ONCE:,} characters]"
        data = text.translate(_UNPRINTABLE).encode("utf-8", "replace")
        self._log.add(memoryview(data))
