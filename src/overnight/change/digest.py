"""Which candidates are the same program: their editable files, comments and layout aside.

In doubt two count as different: a measurement too many costs a run, one too few a win. Outside of
Python only the comments of known kinds of files are left out, and indentation counts; a program
that reads its own docstrings keeps them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence

from overnight.change.simplicity import TOKEN, is_comment

_DIGITS = 16


_MOST_BYTES = 400_000
"""A larger file is taken byte by byte: it would be read for more than a second."""


_COMMENTS = {
    "#": re.compile(r"\.(?:sh|bash|r|rb|jl|pl|mk|cmake|py)$", re.I),
    "//": re.compile(
        r"\.(?:c|h|cc|cpp|cxx|hpp|cu|cuh|metal|rs|go|m?js|tsx?|java|kt|scala|swift|zig|cs|glsl|wgsl)$",
        re.I,
    ),
}
"""What comments begin with, and in which kinds of files. In others the same signs may be text: a
heading of a prompt, a line within a string of a configuration."""


def program_digest(files: Mapping[str, str]) -> str:
    """One word for a program: path → what `file_digest` says of it."""
    return _word(repr(sorted(files.items())).encode())


def file_digest(path: str, content: bytes) -> str:
    """The same word for two contents of a file that differ in no more than comments and layout."""
    if len(content) > _MOST_BYTES:
        return _word(content)
    if path.endswith(".py"):
        try:
            return _word(_python(content).encode(errors="backslashreplace"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # not this Python's syntax: a text like any other
    try:
        return _word(repr(_lines(path, content.decode())).encode())
    except UnicodeDecodeError:
        return _word(content)


def _word(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _python(content: bytes) -> str:
    tree = ast.parse(content)
    if b"__doc__" not in content and b"getdoc" not in content:
        for node in ast.walk(tree):
            for name in ("body", "orelse", "finalbody"):
                if isinstance(block := getattr(node, name, None), list) and block:
                    kept = [statement for statement in block if not is_comment(statement)]
                    setattr(node, name, kept or [ast.Pass()])
    return ast.unparse(tree)


def _lines(path: str, text: str) -> Sequence[tuple[str, Sequence[str]]]:
    """Of each line that is not blank its indentation and its words and signs."""
    sign = next((sign for sign, kind in _COMMENTS.items() if kind.search(path)), None)
    found = []
    for line in text.splitlines():
        code = re.sub(rf"(^|\s){sign}(\s.*)?$", "", line) if sign else line
        if code.strip():
            found.append((code[: len(code) - len(code.lstrip())], TOKEN.findall(code)))
    return found
