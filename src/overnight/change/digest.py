"""Which candidates are the same program: their editable files, comments and layout aside.

In doubt two count as different: a measurement too many costs a run, one too few a win. Docstrings
count, since a library or a protected file may read them. Outside of Python only blank lines and
lines of comment are left out, of known kinds of files and where no string can span lines. Of every
other file each byte counts.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping

from overnight.change.source import MOST_BYTES, comment_sign, parsed

_DIGITS = 16


def program_digest(files: Mapping[str, str]) -> str:
    """Digest of a program, from its files: path → `file_digest`."""
    return _hash(repr(sorted(files.items())).encode())


def file_digest(path: str, content: bytes) -> str:
    """Digest of a file; the same for contents that differ only in comments and layout."""
    if len(content) > MOST_BYTES:
        return _hash(content)
    if path.endswith(".py"):
        try:
            return _hash(ast.unparse(parsed(content)).encode(errors="backslashreplace"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # not valid for this Python: take it as text
    sign = comment_sign(path)
    return _hash(_without_comments(sign, content) if sign else content)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _without_comments(sign: str, content: bytes) -> bytes:
    """The content without blank lines and lines of comment; all of it where such a line may be part
    of a string or go on in the next line."""
    aside = re.compile(rb"\s*(?:%s(?:\s.*)?)?" % sign.encode())
    lines = content.split(b"\n")
    code = [line for line in lines if not aside.fullmatch(line)]
    goes_on = any(line.rstrip().endswith(b"\\") for line in lines)
    opens = any(b"`" in line or line.count(b'"') % 2 or line.count(b"'") % 2 for line in code)
    here_document = sign == "#" and any(b"<<" in line for line in code)
    return content if goes_on or opens or here_document else b"\n".join(code)
