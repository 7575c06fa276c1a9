"""A change as a model writes it down: a few words, then search-and-replace blocks or whole files.

Read strictly. What is wrong with a reply is told in words by which a model can mend it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from overnight.core.errors import AgentError, Trouble
from overnight.core.text import one_line

FORMAT = """\
TITLE: what you change, in one line
HYPOTHESIS: why it should help
EXPECTED: the gain that you expect, a plain number in units of the metric, positive is better; \
or the word unknown

path/of/the/file.py
<<<<<<< SEARCH
lines of the file, exactly as they are, enough of them to occur only once
=======
the lines to put in their place
>>>>>>> REPLACE

path/of/another/file.py
<<<<<<< WHOLE
every line of the file as it shall be: for a new file, or one that you write anew
>>>>>>> WHOLE
"""
"""The form of a reply, as a model is shown it."""
MOST_CHARACTERS = 1_000_000
"""Of a reply, and of any file after its change."""
_MOST_BLOCKS = 100
_MOST_HYPOTHESIS = 2000
_WORDS = ("TITLE", "HYPOTHESIS", "EXPECTED")
_SEARCH, _MIDDLE, _REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
_WHOLE, _WHOLE_END = "<<<<<<< WHOLE", ">>>>>>> WHOLE"
_MARK = "\ufeff"
"""A byte order mark: no part of the text, and to be kept."""
_FENCE = "```"
"""Models put blocks between such lines, whatever they are told; outside of a block they say
nothing."""


class BadReply(AgentError):
    """A reply that is no usable change; the message tells the model what to mend."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Trouble.NO_CHANGE)


@dataclass(frozen=True)
class Block:
    """One edit of one file."""

    path: str
    text: str
    """What is put in place, each line with its end."""
    search: str | None = None
    """What it replaces, lines with their ends; None: the whole file."""


@dataclass(frozen=True)
class Change:
    """A reply that was understood."""

    title: str
    hypothesis: str
    expected: float | None
    """Gain in units of the metric; None: the model does not know."""
    blocks: tuple[Block, ...]


def parse(reply: str) -> Change:
    """The change that a reply describes. What stands before its TITLE line is thought, and left
    out. Raises BadReply."""
    if len(reply) > MOST_CHARACTERS:
        raise BadReply(f"it has {len(reply):,} characters; at most {MOST_CHARACTERS:,} are read")
    lines = reply.replace("\r\n", "\n").split("\n")
    places = [_only(lines, word) for word in _WORDS]
    if places != sorted(places):
        raise BadReply(f"its lines must come in this order: {', '.join(_WORDS)}, then the blocks")
    title, hypothesis, expected = places
    name = one_line(_after(lines[title]))
    if not name:
        raise BadReply("its TITLE says nothing")
    why = one_line(" ".join(_after(line) for line in lines[hypothesis:expected]), _MOST_HYPOTHESIS)
    blocks = tuple(_blocks(lines[expected + 1 :]))
    if not blocks:
        raise BadReply(f"it has no block: write one that begins with `{_SEARCH}` or `{_WHOLE}`")
    if len(blocks) > _MOST_BLOCKS:
        raise BadReply(f"it has {len(blocks)} blocks; at most {_MOST_BLOCKS} are taken")
    return Change(name, why, _number(_after(lines[expected])), blocks)


def apply(change: Change, folder: Path, editable: Callable[[str], bool]) -> None:
    """Make the change to the files below a folder: all of it, or nothing.

    Raises BadReply where it cannot be made as it is, AgentError when a file cannot be written.
    """
    texts: dict[str, str] = {}
    for block in change.blocks:
        _check_path(block.path, folder, editable)
        texts[block.path] = _edited(block, texts, folder / block.path)
        if len(texts[block.path]) > MOST_CHARACTERS:
            raise BadReply(f"{block.path} would have more than {MOST_CHARACTERS:,} characters")
    written = {path: _encoded(path, text, folder / path) for path, text in texts.items()}
    if all(_bytes(folder / path) == content for path, content in written.items()):
        raise BadReply("it leaves every file as it is")
    try:
        for path, content in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise AgentError(f"{error.filename} cannot be written: {error.strerror}") from error


def read_text(file: Path) -> str | None:
    """The file as a model sees it: no byte order mark, lines that end in a line feed. None where
    it is no UTF-8 text."""
    try:
        text = (_bytes(file) or b"").decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    text = text.removeprefix(_MARK)
    return text.replace("\r\n", "\n") if _has_carriage_returns(text) else text


# -- reading a reply


def _only(lines: list[str], word: str) -> int:
    """Where the one line with this word is, outside of the blocks."""
    end = next((n for n, line in enumerate(lines) if line.startswith("<<<<<<< ")), len(lines))
    found = [n for n, line in enumerate(lines[:end]) if line.startswith(f"{word}:")]
    if len(found) != 1:
        many = f"{len(found)} lines that begin" if found else "no line that begins"
        raise BadReply(f"it has {many} with `{word}:` before its blocks; write one")
    return found[0]


def _after(line: str) -> str:
    word, colon, rest = line.partition(":")
    return rest.strip() if colon and word in _WORDS else line.strip()


def _number(word: str) -> float | None:
    if word.lower() == "unknown":
        return None
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = one_line(word, 60)
        raise BadReply(f"EXPECTED is `{shown}`; write a plain number such as 0.01, or unknown")
    return value


def _blocks(lines: list[str]) -> Iterator[Block]:
    path, place = "", 0
    while place < len(lines):
        line = lines[place].rstrip()
        place += 1
        if line in (_SEARCH, _WHOLE):
            if not path:
                raise BadReply(f"the line before `{line}` must be the path of the file")
            end = _REPLACE if line == _SEARCH else _WHOLE_END
            body, place = _body(lines, place, path, end)
            yield _searched(path, body) if line == _SEARCH else Block(path, _joined(body))
            path = ""
        elif line and not line.startswith(_FENCE):
            if path:
                raise BadReply(_no_block(path))
            path = line.strip()
    if path:
        raise BadReply(_no_block(path))


def _no_block(line: str) -> str:
    return (
        f"`{one_line(line, 80)}` is no path with a block after it; after EXPECTED write blocks and "
        "nothing else"
    )


def _body(lines: list[str], place: int, path: str, end: str) -> tuple[list[str], int]:
    """The lines of a block, and where the next one may begin."""
    for n in range(place, len(lines)):
        if lines[n].rstrip() == end:
            return lines[place:n], n + 1
    raise BadReply(f"the block for {one_line(path, 80)} has no last line `{end}`")


def _searched(path: str, body: list[str]) -> Block:
    middles = [n for n, line in enumerate(body) if line.rstrip() == _MIDDLE]
    if len(middles) != 1:
        raise BadReply(
            f"a block for {one_line(path, 80)} has {len(middles)} lines `{_MIDDLE}`, not one; "
            f"where the text itself has such lines, write the whole file between `{_WHOLE}` and "
            f"`{_WHOLE_END}`"
        )
    search, text = _joined(body[: middles[0]]), _joined(body[middles[0] + 1 :])
    if not search.strip():
        raise BadReply(f"a block for {one_line(path, 80)} searches for nothing")
    return Block(path, text, search)


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# -- making the change


def _check_path(path: str, folder: Path, editable: Callable[[str], bool]) -> None:
    """Refuse what is not editable, and whatever does not lead straight to a plain file."""
    parts = PurePosixPath(path).parts
    shown = one_line(path, 80)
    plain = str(PurePosixPath(path)) == path and path.isprintable() and "\\" not in path
    if not plain or path.startswith(("/", "~")) or ".." in parts:
        raise BadReply(f"`{shown}` is no path as it stands in the list of files")
    if {part.casefold() for part in parts} & {".git", ".overnight"} or not editable(path):
        raise BadReply(f"{shown} is not editable; change only what the contract names")
    place = folder
    for n, part in enumerate(parts, 1):
        place /= part
        last = n == len(parts)
        if len(part.encode()) > 255 or place.is_symlink():
            raise BadReply(f"{shown} leads through a link, or has too long a name")
        if place.exists() and (not place.is_file() if last else not place.is_dir()):
            raise BadReply(f"{shown} would take the place of something that is no file")


def _edited(block: Block, texts: dict[str, str], file: Path) -> str:
    if block.search is None:
        if block.path in texts:
            raise BadReply(f"{block.path} is written whole after another block for it; choose one")
        return block.text
    known = texts[block.path] if block.path in texts else read_text(file)
    if known is None or not (block.path in texts or file.exists()):
        raise BadReply(f"{block.path} is no text file that is there; write it whole instead")
    return _replaced(known, block.search, block)


def _replaced(text: str, search: str, block: Block) -> str:
    """The text with whole lines replaced, which must occur exactly once."""
    open_end = not text.endswith("\n")
    padded = f"\n{text}\n" if open_end else f"\n{text}"
    place = padded.find(f"\n{search}")
    if place < 0:
        raise BadReply(
            f"the search text `{_first(search)}` … does not occur in {block.path}"
            f"{_nearest(text, search)}; copy the lines exactly, with their indentation"
        )
    if padded.find(f"\n{search}", place + 1) >= 0:
        raise BadReply(
            f"the search text `{_first(search)}` … occurs more than once in {block.path}; add the "
            "lines around it"
        )
    after = padded[place + 1 + len(search) :]
    changed = (padded[: place + 1] + block.text + after)[1:]
    return changed.removesuffix("\n") if open_end else changed


def _first(search: str) -> str:
    return one_line(search.strip().split("\n")[0], 80)


def _nearest(text: str, search: str) -> str:
    first = search.strip().split("\n")[0][:200]
    lines = [line[:200] for line in text.split("\n")[:5000]]
    near = difflib.get_close_matches(first, lines, n=1)
    return f" (the nearest line there is `{one_line(near[0], 120)}`)" if near else ""


def _encoded(path: str, text: str, file: Path) -> bytes:
    """As bytes, with the ends of lines and the mark that the file has now."""
    before = (_bytes(file) or b"").decode("utf-8", "replace")
    if _has_carriage_returns(before):
        text = text.replace("\n", "\r\n")
    mark = _MARK if before.startswith(_MARK) else ""
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise BadReply(f"{path} would hold characters that are no text")
    return (mark + text).encode()


def _bytes(file: Path) -> bytes | None:
    """What a plain file holds; None where there is none."""
    return file.read_bytes() if file.is_file() and not file.is_symlink() else None


def _has_carriage_returns(text: str) -> bool:
    """Whether every line ends in CR LF."""
    return "\r\n" in text and text.count("\n") == text.count("\r\n")
