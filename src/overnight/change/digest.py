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
"""Of a larger file every byte counts: to parse it would take more than a second."""
_COMMENTS = {
    "#": re.compile(r"\.(?:sh|bash|r|rb|jl|pl|mk|cmake|py)$", re.I),
    "//": re.compile(
        r"\.(?:c|h|cc|cpp|cxx|hpp|cu|cuh|metal|rs|go|m?js|tsx?|java|kt|scala|swift|zig|cs|glsl|wgsl)$",
        re.I,
    ),
}
"""The sign that begins a comment → the files in which it does. In others it may be text, such as a
heading in a prompt."""


def program_digest(files: Mapping[str, str]) -> str:
    """Digest of a program, from its files: path → `file_digest`."""
    return _hash(repr(sorted(files.items())).encode())


def file_digest(path: str, content: bytes) -> str:
    """Digest of a file; the same for contents that differ only in comments and layout."""
    if len(content) > _MOST_BYTES:
        return _hash(content)
    if path.endswith(".py"):
        try:
            return _hash(_python(content).encode(errors="backslashreplace"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # not valid for this Python: take it as text
    try:
        return _hash(repr(_lines(path, content.decode())).encode())
    except UnicodeDecodeError:
        return _hash(content)


def _hash(content: bytes) -> str:
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
    """Indentation, words and signs of each line that is not blank."""
    sign = next((sign for sign, kind in _COMMENTS.items() if kind.search(path)), None)
    found = []
    for line in text.splitlines():
        code = re.sub(rf"(^|\s){sign}(\s.*)?$", "", line) if sign else line
        if code.strip():
            found.append((code[: len(code) - len(code.lstrip())], TOKEN.findall(code)))
    return found
