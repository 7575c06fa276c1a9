"""The agents' memory: notes.md in the state folder, in sections that are kept short.

When a section is too long, its oldest entries move to notes-archive.md beside it, and one line says
how many. Both files are replaced whole, the archive first: after a crash in between, an entry is in
both, and the next writer removes it from notes.md. A writer holds the lock (flock) of notes.md
itself. What the user writes into the file by hand stays where it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from overnight.core.errors import LedgerError, UsageError
from overnight.core.files import plain_text, take_away
from overnight.core.text import one_line

NAME = "notes.md"
ARCHIVE = "notes-archive.md"
LEFT = ".overnight-notes.md"
"""The file in its worktree in which an agent leaves notes for later agents."""
MOST_BYTES = 8_000
"""Bytes taken of such a file; the note says how many more there were."""
MOST_NOTE_CHARACTERS = 2_000
"""Most characters of a note whose writer can be asked to shorten it."""
MOST_SECTION = 4_000
"""Characters of a section's entries above which the oldest are archived, until _KEPT are left."""
_KEPT = 3_000
_MOST_SECTIONS = 20
_MOST_LINES, _MOST_LINE = 40, MOST_NOTE_CHARACTERS
_PATIENCE_SECONDS = 10.0
_DEFAULT = "Learned"
TITLE = "# Notes"
_OLDER = "# Older notes, moved here from notes.md\n"
_ENTRY = re.compile(r"- \d{4}-\d\d-\d\d \d\d:\d\d, ")
_DATED = len("- 2000-01-01 00:00")
_MOVED = re.compile(r"- \((\d+) older notes? of this section (?:is|are) in notes-archive\.md\)")


@dataclass
class Section:
    """A part of the notes, below its heading; the first part has no heading."""

    heading: str
    items: list[str] = field(default_factory=list)
    """Entries, each with its continuation lines, and other lines; in order."""

    @property
    def text(self) -> str:
        """The section as it is in the file."""
        lines = [self.heading, *self.items] if self.heading else self.items
        return "".join(f"{line}\n" for line in lines)

    def append(self, item: str) -> None:
        """Add an entry, above the blank lines at the end."""
        place = len(self.items)
        while place and not self.items[place - 1].strip():
            place -= 1
        self.items.insert(place, item)


def add_note(path: Path, words: str, who: str) -> str:
    """Like keep_note, for a writer who can shorten a note: raises UsageError if it is empty or has
    more than MOST_NOTE_CHARACTERS."""
    lines = [line for line in words.splitlines() if one_line(line, len(line) + 1)]
    if (size := sum(map(len, lines))) > MOST_NOTE_CHARACTERS or len(lines) > _MOST_LINES:
        raise UsageError(
            f"the note has {size:,} characters in {len(lines):,} lines, more than "
            f"{MOST_NOTE_CHARACTERS:,} in {_MOST_LINES}: say it shorter, or in several notes; "
            "nothing was written"
        )
    if not list(_chunks(words)):
        raise UsageError("the note is empty: say what was learned, in a sentence or two")
    return keep_note(path, words, who)


def keep_note(path: Path, words: str, who: str) -> str:
    """Append a dated note to the file at `path`, shortened if it is too long; returns what was
    written.

    Lines below a line `# Heading` go into that section. The same words by the same writer are kept
    once. Raises LedgerError if the file is not a regular file, stays locked, or cannot be written.
    """
    chunks = list(_chunks(words))
    if not chunks:
        return ""
    entries = [(heading, _entry(lines, who)) for heading, lines in chunks]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path):
            sections = read_notes(path)
            archive = read_notes(path.with_name(ARCHIVE))
            known = {item[_DATED:] for section in [*sections, *archive] for item in section.items}
            for heading, entry in entries:
                if entry[_DATED:] not in known:
                    _section(sections, heading).append(entry)
            archived = [_shortened(section) for section in sections]
            _archive(path.with_name(ARCHIVE), [section for section in archived if section.items])
            _write(path, "".join(section.text for section in sections))
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written ({error.strerror or error}): it must be a plain file that "
            "you may write to, with room on its disk; then give the note again"
        ) from error
    return "\n".join(entry for _, entry in entries)


def note_writer(tag: str, n: int, agent: str) -> str:
    """The name under which an agent's note is signed: `jul1/12, claude`."""
    return f"{tag}/{n}, {agent}"


def take_note(folder: Path, path: Path, who: str, clean: Callable[[str], str] = str) -> None:
    """Move the notes that an agent left in `folder`, if any, to the notes at `path`. `folder`: the
    arena's folder in its worktree; `clean` redacts secrets. Repeated after a crash, it adds them
    once."""
    left = folder / LEFT
    words = clean(plain_text(left, MOST_BYTES) or "")
    if words:
        if (more := left.stat().st_size - MOST_BYTES) > 0:
            words += f"\n({more:,} bytes more were not taken)"
        keep_note(path, words, who)
    take_away(left)


def read_notes(path: Path, most: int | None = None) -> list[Section]:
    """The sections of the notes, or of their last `most` bytes; empty without a file."""
    sections = [Section("")]
    for line in _read(path, most).removesuffix("\n").split("\n"):
        items = sections[-1].items
        if line.startswith("## "):
            sections.append(Section(line))
        elif line.startswith("  ") and items and _ENTRY.match(items[-1]):
            items[-1] += f"\n{line}"
        else:
            items.append(line)
    if sections == [Section("", [""])]:
        return []
    return sections if sections[0].items else sections[1:]


# -- entries and sections


def _chunks(words: str) -> Iterator[tuple[str, list[str]]]:
    """Pairs of a heading and its lines, cleaned and bounded."""
    heading, lines = _DEFAULT, list[str]()
    taken = 0
    sound = words.encode(errors="replace").decode()  # half of a surrogate pair is no text
    every = [line for line in sound.splitlines() if line.strip()]
    for number, line in enumerate(every):
        if match := re.match(r"#{1,6}\s+(\S.*)", line):
            if lines:
                yield heading, lines
            heading, lines = one_line(match[1], 60) or _DEFAULT, []
        elif taken == _MOST_LINES:
            lines.append(f"({len(every) - number} lines more were not taken)")
            break
        elif clean := one_line(line, _MOST_LINE):
            lines.append(clean)
            taken += 1
    if lines:
        yield heading, lines


def _entry(lines: Sequence[str], who: str) -> str:
    first, *others = lines
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    signed = one_line(who.encode(errors="replace").decode(), 80)
    entry = f"- {now}, {signed}: {first.removeprefix('- ')}"
    return "\n".join([entry, *(f"  {line}" for line in others)])


def _section(sections: list[Section], heading: str) -> Section:
    """The section with this heading, created if there is room for one more."""
    known = {s.heading.removeprefix("## ").strip().casefold(): s for s in sections}
    if found := known.get(heading.casefold()):
        return found
    if len(sections) >= _MOST_SECTIONS and heading != _DEFAULT:
        return _section(sections, _DEFAULT)
    if not sections:
        sections.append(Section("", [TITLE, ""]))
    elif sections[-1].items[-1:] != [""]:
        sections[-1].items.append("")
    sections.append(Section(f"## {heading}"))
    return sections[-1]


def _shortened(section: Section) -> Section:
    """Remove the oldest entries of a section that has become too long; returns them."""
    entries = [item for item in section.items if _ENTRY.match(item)]
    size = sum(map(len, entries))
    moved: list[str] = []
    if size > MOST_SECTION:
        while size > _KEPT and len(entries) > 1:
            size -= len(entries[0])
            moved.append(entries.pop(0))
    if moved:
        before = [found for item in section.items if (found := _MOVED.fullmatch(item))]
        count = len(moved) + sum(int(found[1]) for found in before)
        is_ = "note of this section is" if count == 1 else "notes of this section are"
        gone = {*moved, *(found[0] for found in before)}
        kept = [item for item in section.items if item not in gone]
        section.items = [f"- ({count} older {is_} in {ARCHIVE})", *kept]
    return Section(section.heading, moved)


def _archive(path: Path, sections: Sequence[Section]) -> None:
    if not sections:
        return
    text = _read(path) or _OLDER
    if not text.endswith("\n"):
        text += "\n"
    there = {item for section in read_notes(path) for item in section.items}
    for section in sections:
        new = [item for item in section.items if item not in there]
        if new:
            text += "\n" + Section(section.heading, new).text
    _write(path, text)


# -- files


def _read(path: Path, most: int | None = None) -> str:
    """The text, or its last `most` bytes in whole lines; _write restores every byte of it."""
    try:
        with path.open("rb") as file:
            if most is not None and file.seek(0, os.SEEK_END) > most:
                file.seek(-most, os.SEEK_END)
                file.readline()
            else:
                file.seek(0)
            return file.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock of a file, created if it is missing. Writers replace the file, so the lock
    counts only if the file still has its name. The kernel releases it when the process dies."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        file = os.open(path, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no plain file")
            if _locked(file) and _is(file, path):
                yield
                return
        finally:
            os.close(file)
        if time.monotonic() > until:
            raise LedgerError(
                f"{path} has been locked by another process for {_PATIENCE_SECONDS:g} s: end that "
                "one, then give the note again"
            )
        time.sleep(0.02)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False
