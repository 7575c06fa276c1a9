"""A change as a model writes it: a few lines of text, then search-and-replace blocks or files.

Replies are read strictly. The message of a BadReply tells the model what to correct.
"""

from __future__ import annotations

import difflib
import heapq
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
every line of the file as it should be: for a new file, or one that you rewrite
>>>>>>> WHOLE
"""
"""The form of a reply, as the model is shown it."""
MOST_CHARACTERS = 1_000_000
"""Of a reply, and of any file after its change."""
_MOST_BLOCKS = 100
_MOST_HYPOTHESIS = 2000
_MOST_PATH = 1000
"""Bytes of a path; Linux allows 4,096 together with the folder's own."""
_MOST_COMPARED = 120
"""Lines, and characters of each, that are compared with a text that does not occur: comparing 5,000
takes half a minute."""
_LABELS = ("TITLE", "HYPOTHESIS", "EXPECTED")
_SEARCH, _MIDDLE, _REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
_WHOLE, _WHOLE_END = "<<<<<<< WHOLE", ">>>>>>> WHOLE"
_WORD = re.compile(r"\w+")
_BOM = "\ufeff"
"""A byte order mark, hidden from the model and kept in the file."""
_FENCE = "```"
"""Models put blocks between such lines whatever the instructions say; outside of a block they are
ignored."""


class BadReply(AgentError):
    """A reply that is not a usable change; the message tells the model what to correct."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Trouble.NO_CHANGE)


@dataclass(frozen=True)
class Block:
    """One edit of one file."""

    path: str
    text: str
    """The new lines, each with its line end."""
    search: str | None = None
    """The lines that they replace, with their line ends; None: the whole file."""


@dataclass(frozen=True)
class ParsedReply:
    """A reply that was understood."""

    title: str
    hypothesis: str
    expected: float | None
    """Gain in units of the metric; None: unknown."""
    blocks: tuple[Block, ...]


def parse(reply: str) -> ParsedReply:
    """Read a reply; text before its TITLE line is ignored. Raises BadReply."""
    if len(reply) > MOST_CHARACTERS:
        raise BadReply(f"it has {len(reply):,} characters; at most {MOST_CHARACTERS:,} are read")
    lines = reply.replace("\r\n", "\n").split("\n")
    numbers = [_only(lines, label) for label in _LABELS]
    if numbers != sorted(numbers):
        raise BadReply(f"its lines must come in this order: {', '.join(_LABELS)}, then the blocks")
    title, hypothesis, expected = numbers
    name = one_line(_after(lines[title]))
    if not name:
        raise BadReply("its TITLE is empty")
    why = one_line(" ".join(_after(line) for line in lines[hypothesis:expected]), _MOST_HYPOTHESIS)
    blocks = tuple(_blocks(lines[expected + 1 :]))
    if not blocks:
        raise BadReply(f"it has no block: write one that begins with `{_SEARCH}` or `{_WHOLE}`")
    if len(blocks) > _MOST_BLOCKS:
        raise BadReply(f"it has {len(blocks)} blocks; at most {_MOST_BLOCKS} are allowed")
    return ParsedReply(name, why, _number(_after(lines[expected])), blocks)


def apply(parsed: ParsedReply, folder: Path, editable: Callable[[str], bool]) -> None:
    """Make the change in the files below a folder: all of it, or nothing.

    Raises BadReply where the change does not fit the files, AgentError when a file cannot be
    written.
    """
    texts: dict[str, str] = {}
    for block in parsed.blocks:
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
    """The file as the model sees it: without byte order mark, lines ending in a line feed; None: it
    is not UTF-8 text."""
    try:
        text = (_bytes(file) or b"").decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    text = text.removeprefix(_BOM)
    return text.replace("\r\n", "\n") if _has_carriage_returns(text) else text


# -- reading a reply


def _only(lines: list[str], label: str) -> int:
    """The number of the one line with this label before the blocks."""
    end = next((n for n, line in enumerate(lines) if line.startswith("<<<<<<< ")), len(lines))
    found = [n for n, line in enumerate(lines[:end]) if line.startswith(f"{label}:")]
    if len(found) != 1:
        many = f"{len(found)} lines that begin" if found else "no line that begins"
        raise BadReply(f"it has {many} with `{label}:` before its blocks; write one")
    return found[0]


def _after(line: str) -> str:
    label, colon, rest = line.partition(":")
    return rest.strip() if colon and label in _LABELS else line.strip()


def _number(text: str) -> float | None:
    if text.lower() == "unknown":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = one_line(text, 60)
        raise BadReply(f"EXPECTED is `{shown}`; write a plain number such as 0.01, or unknown")
    return value


def _blocks(lines: list[str]) -> Iterator[Block]:
    path, n = "", 0
    while n < len(lines):
        line = lines[n].rstrip()
        n += 1
        if line in (_SEARCH, _WHOLE):
            if not path:
                raise BadReply(f"the line before `{line}` must be the path of the file")
            end = _REPLACE if line == _SEARCH else _WHOLE_END
            body, n = _body(lines, n, path, end)
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
        f"`{one_line(line, 80)}` is not a path with a block after it; write only blocks after "
        "EXPECTED"
    )


def _body(lines: list[str], begin: int, path: str, end: str) -> tuple[list[str], int]:
    """The lines of a block up to its last line `end`, and the number of the line after that."""
    for n in range(begin, len(lines)):
        if lines[n].rstrip() == end:
            return lines[begin:n], n + 1
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
        raise BadReply(f"a block for {one_line(path, 80)} has nothing to search for")
    return Block(path, text, search)


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# -- making the change


def _check_path(path: str, folder: Path, editable: Callable[[str], bool]) -> None:
    """Refuse what is not editable, and what is not a plain file reached without links."""
    parts = PurePosixPath(path).parts
    shown = one_line(path, 80)
    plain = str(PurePosixPath(path)) == path and path.isprintable() and "\\" not in path
    if not plain or path.startswith(("/", "~")) or ".." in parts:
        raise BadReply(f"`{shown}` is not a path as in the list of files")
    if {part.casefold() for part in parts} & {".git", ".overnight"} or not editable(path):
        raise BadReply(f"{shown} is not editable; change only what the contract names")
    if len(path.encode()) > _MOST_PATH:
        raise BadReply(f"{shown} is too long a path")
    file = folder
    for n, part in enumerate(parts, 1):
        file /= part
        last = n == len(parts)
        if len(part.encode()) > 255 or file.is_symlink():
            raise BadReply(f"{shown} leads through a link, or has too long a name")
        if file.exists() and (not file.is_file() if last else not file.is_dir()):
            raise BadReply(f"{shown} would replace something that is not a file")


def _edited(block: Block, texts: dict[str, str], file: Path) -> str:
    if block.search is None:
        if block.path in texts:
            raise BadReply(f"{block.path} has a WHOLE block after another block; write only one")
        return block.text
    known = texts[block.path] if block.path in texts else read_text(file)
    if known is None or not (block.path in texts or file.exists()):
        raise BadReply(f"{block.path} is not an existing text file; write it with a WHOLE block")
    return _replaced(known, block.search, block)


def _replaced(text: str, search: str, block: Block) -> str:
    """The text with whole lines replaced, which must occur exactly once."""
    open_end = not text.endswith("\n")
    padded = f"\n{text}\n" if open_end else f"\n{text}"
    at = padded.find(f"\n{search}")
    if at < 0:
        raise BadReply(
            f"the search text `{_first(search)}` … does not occur in {block.path}"
            f"{_nearest(text, search)}; copy the lines exactly, with their indentation"
        )
    if padded.find(f"\n{search}", at + 1) >= 0:
        raise BadReply(
            f"the search text `{_first(search)}` … occurs more than once in {block.path}; add the "
            "lines around it"
        )
    after = padded[at + 1 + len(search) :]
    changed = (padded[: at + 1] + block.text + after)[1:]
    return changed.removesuffix("\n") if open_end else changed


def _first(search: str) -> str:
    return one_line(search.strip().split("\n")[0], 80)


def _nearest(text: str, search: str) -> str:
    first = search.strip().split("\n")[0][:_MOST_COMPARED]
    words = {*_WORD.findall(first)}
    lines = {line[:_MOST_COMPARED]: None for line in text.split("\n")}
    likely = heapq.nlargest(_MOST_COMPARED, lines, lambda line: len(words & {*_WORD.findall(line)}))
    near = difflib.get_close_matches(first, likely, n=1)
    return f" (the nearest line there is `{one_line(near[0], 120)}`)" if near else ""


def _encoded(path: str, text: str, file: Path) -> bytes:
    """As bytes, with the line ends and the byte order mark that the file has now."""
    before = (_bytes(file) or b"").decode("utf-8", "replace")
    if _has_carriage_returns(before):
        text = text.replace("\n", "\r\n")
    mark = _BOM if before.startswith(_BOM) else ""
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise BadReply(f"{path} would hold characters that are not text")
    return (mark + text).encode()


def _bytes(file: Path) -> bytes | None:
    """The content of a plain file; None where there is none."""
    return file.read_bytes() if file.is_file() and not file.is_symlink() else None


def _has_carriage_returns(text: str) -> bool:
    """Whether every line ends in CR LF."""
    return "\r\n" in text and text.count("\n") == text.count("\r\n")
