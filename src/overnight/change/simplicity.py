"""How simple code is: by karpathy's criterion, an equal score with less code is a win."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from tokenize import COMMENT, tokenize

from overnight.arena.arena import Arena
from overnight.change.source import MOST_BYTES, parsed
from overnight.core.experiment import Experiment
from overnight.repo.workspace import Workspace

_LEAST = 0.01
"""Least fraction of the code that must go before it counts as simpler."""
_REMEMBERED = 4096  # files
_WORD = 20
"""Most characters of an ordinary word or constant. A longer one may be code in disguise, even
compressed, so it counts by its length."""
_COMMENT = re.compile(r"(?m)(?:^|\s)(?:#|//)(?:\s.*|$)")
_BLOCK_COMMENT = re.compile(r"(?s)/\*.*?\*/")
_TOKEN = re.compile(r"\w+|[^\w\s]")
"""A word or a sign; the rest is layout."""
_DISGUISE = re.compile(
    r"\b(exec|eval|compile|__doc__|__file__|getsource\w*|getdoc|inspect|runpy|import_module|"
    r"__import__|importlib|__builtins__|builtins|subprocess|popen|Popen|system|spawn\w*)\b"
)
"""Ways to run code from comments and docstrings, which are not counted as code."""
_MOST_REMARKS = 80
"""Characters that comments and docstrings may grow by: one line. More may be code."""


@dataclass(frozen=True)
class Size:
    """Size of one file."""

    nodes: int | None = None
    """Nodes of the syntax tree; None where there is none."""
    tokens: int = 0
    remarks: int = 0
    """Characters of comments and docstrings."""
    disguises: int = 0
    """Occurrences of ways to run hidden code."""


class Simplicity:
    """Compares the editable files of candidates with those of their parents."""

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self._arena = arena
        self._workspace = workspace
        self._of_file = lru_cache(_REMEMBERED)(self._size)

    def gained(self, experiment: Experiment) -> bool:
        """Whether the candidate has at least 1 % less code than its parent, and nowhere to hide
        code: no new files, no longer comments, no new way to run hidden code."""
        if experiment.parent is None or experiment.candidate is None:
            return False
        before, after = self._sizes(experiment.parent), self._sizes(experiment.candidate)
        if after.keys() - before.keys() or _hides_more(before.values(), after.values()):
            return False
        was = now = 0
        for path, lost in before.items():
            gained = after.get(path, Size(nodes=0))
            # The same unit for both: a file that stops parsing is not simpler.
            in_nodes = lost.nodes is not None and gained.nodes is not None
            was += (lost.nodes or 0) if in_nodes else lost.tokens
            now += (gained.nodes or 0) if in_nodes else gained.tokens
        return now < was * (1 - _LEAST)

    def _sizes(self, commit: str) -> dict[str, Size]:
        files = self._workspace.files(commit, self._arena.is_editable)
        return {path: self._of_file(path, blob) for path, blob in files.items()}

    def _size(self, path: str, blob: str) -> Size:
        return code_size(path, self._workspace.content(blob))


def _hides_more(before: Collection[Size], after: Collection[Size]) -> bool:
    """Whether more code may be hidden than before."""
    if sum(size.disguises for size in after) > sum(size.disguises for size in before):
        return True
    said = sum(size.remarks for size in before)
    return sum(size.remarks for size in after) > said + _MOST_REMARKS


def code_size(path: str, data: bytes) -> Size:
    """Size of a file: nodes of the syntax tree, for Python; words and signs of the text. Layout,
    comments, docstrings and the length of names do not count. In a large file each byte beyond
    MOST_BYTES counts."""
    text = data[:MOST_BYTES].decode(errors="replace")
    beyond = max(len(data) - MOST_BYTES, 0)
    plain = _without_comments(text)
    tokens = beyond + sum(1 + _beyond_a_word(len(word)) for word in _TOKEN.findall(plain))
    disguises = len(_DISGUISE.findall(text))
    if path.endswith(".py") and not beyond:
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # not this Python's
            nodes, docstrings = _nodes(parsed(data))
            read = tokenize(BytesIO(data).readline)
            remarks = docstrings + sum(len(t.string) for t in read if t.type == COMMENT)
            return Size(nodes, tokens, remarks, disguises)
    return Size(None, tokens, len(text) - len(plain), disguises)


def _without_comments(text: str) -> str:
    # Where no comment can end, none is looked for: that would take quadratic time.
    closed, end, rest = _COMMENT.sub("", text).rpartition("*/")
    return _BLOCK_COMMENT.sub(" ", closed + end) + rest


def _nodes(tree: ast.Module) -> tuple[int, int]:
    """Weighted number of nodes, and characters of the docstrings."""
    found = [node for node in ast.walk(tree) if _is_comment(node)]
    aside = {id(inner) for remark in found for inner in ast.walk(remark)}
    weight = sum(_weight(node) for node in ast.walk(tree) if id(node) not in aside)
    return weight, sum(len(ast.unparse(remark)) for remark in found)


def _is_comment(node: ast.AST) -> bool:
    """Whether a node is a string that stands alone, such as a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _weight(node: ast.AST) -> int:
    match node:
        case ast.USub() | ast.UAdd():
            return -1  # makes up for the operation, so that -1 counts as one constant
        case ast.Constant(str(value) | bytes(value)):
            return 1 + _beyond_a_word(len(value))
        case ast.Constant(int(value)):
            return 1 + _beyond_a_word(value.bit_length() // 4)
    return 1


def _beyond_a_word(characters: int) -> int:
    return max(characters - _WORD, 0) // 2
