"""Source text: its syntax tree, and the signs that begin its comments."""

from __future__ import annotations

import ast
import re
import threading
import warnings

MOST_BYTES = 400_000
"""Of a larger file every byte counts: to read it as code would take more than a second."""
_SIGNS = {
    "#": re.compile(r"\.(?:sh|bash|r|jl|py)$", re.I),
    "//": re.compile(
        r"\.(?:c|h|cc|cpp|cxx|hpp|cu|cuh|metal|rs|go|m?js|tsx?|java|kt|scala|swift|zig|cs|glsl|wgsl)$",
        re.I,
    ),
}
_LOCK = threading.Lock()


def comment_sign(path: str) -> str | None:
    """The sign that begins a comment in this kind of file; None where that is not known."""
    return next((sign for sign, kind in _SIGNS.items() if kind.search(path)), None)


def parsed(content: bytes) -> ast.Module:
    """The syntax tree of Python source, without warnings about it: they would reach the terminal.
    Raises what `ast.parse` raises."""
    with _LOCK, warnings.catch_warnings():  # which filters apply is global
        warnings.simplefilter("ignore")
        return ast.parse(content)
