"""How simple code is: karpathy's criterion that an equal score with less code is a win."""

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
from overnight.core.experiment import Experiment
from overnight.repo.workspace import Workspace

_LEAST = 0.01
"""The share of the code that must go before it counts as simpler."""
_REMEMBERED = 512
_WORD = 20
"""Characters that a word or a constant has at most; what is longer may be code in disguise, and
counts by its length, even when it is packed."""
_COMMENT = re.compile(r"(?m)(?:^|\s)(?:#|//)(?:\s.*|$)")
_BLOCK_COMMENT = re.compile(r"(?s)/\*.*?\*/")
TOKEN = re.compile(r"\w+|[^\w\s]")
"""A word or a sign: what is between them is layout."""
_DISGUISE = re.compile(
    r"\b(exec|eval|compile|__doc__|__file__|getsource\w*|getdoc|inspect|runpy|import_module|"
    r"__import__|importlib|__builtins__|builtins|subprocess|popen|Popen|system|spawn\w*)\b"
)
"""What runs code that is hidden where none is counted, in comments and docstrings."""
_MOST_REMARKS = 80
"""Characters by which comments and docstrings may grow: a line that says why. More may be code."""


@dataclass(frozen=True)
class Size:
    """Of one file."""

    nodes: int | None = None
    """Of the syntax tree, where there is one."""
    tokens: int = 0
    remarks: int = 0
    """Characters of comments and docstrings."""
    disguises: int = 0
    """How often it has what runs hidden code."""


class Simplicity:
    """Compares the editable files of an arena's candidates with those of their parents."""

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self._arena = arena
        self._workspace = workspace
        self._sizes = lru_cache(_REMEMBERED)(self._measured)

    def gained(self, experiment: Experiment) -> bool:
        """Whether the candidate has less code than its parent, by one part in a hundred, and
        nowhere to hide it: no file that the parent has not, no longer comments, nothing new that
        runs what is no code."""
        if experiment.parent is None or experiment.candidate is None:
            return False
        before, after = self._sizes(experiment.parent), self._sizes(experiment.candidate)
        if after.keys() - before.keys() or _hides_more(before.values(), after.values()):
            return False
        was = now = 0
        for path, lost in before.items():
            gained = after.get(path, Size(nodes=0))
            # Both by the same measure: a file that no longer parses is not simpler for that.
            in_nodes = lost.nodes is not None and gained.nodes is not None
            was += (lost.nodes or 0) if in_nodes else lost.tokens
            now += (gained.nodes or 0) if in_nodes else gained.tokens
        return now < was * (1 - _LEAST)

    def _measured(self, commit: str) -> dict[str, Size]:
        return {path: code_size(path, text) for path, text in self._texts(commit).items()}

    def _texts(self, commit: str) -> dict[str, bytes]:
        files = self._workspace.files(commit, self._arena.is_editable)
        return {path: self._workspace.read(commit, path) or b"" for path in files}


def _hides_more(before: Collection[Size], after: Collection[Size]) -> bool:
    """Whether more may be hidden than was."""
    if sum(size.disguises for size in after) > sum(size.disguises for size in before):
        return True
    said = sum(size.remarks for size in before)
    return sum(size.remarks for size in after) > said + _MOST_REMARKS


def code_size(path: str, data: bytes) -> Size:
    """Nodes of the syntax tree, for Python, and words and signs of the text: neither layout nor
    comments (`# …`, `// …`, docstrings in a tree) nor the length of names count."""
    text = data.decode(errors="replace")
    plain = _BLOCK_COMMENT.sub(" ", _COMMENT.sub("", text))
    words = TOKEN.findall(plain)
    tokens = sum(1 + _beyond_a_word(len(word)) for word in words)
    disguises = len(_DISGUISE.findall(text))
    if path.endswith(".py"):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # not this Python's
            nodes, docstrings = _nodes(ast.parse(data))
            read = tokenize(BytesIO(data).readline)
            remarks = docstrings + sum(len(t.string) for t in read if t.type == COMMENT)
            return Size(nodes, tokens, remarks, disguises)
    return Size(None, tokens, len(text) - len(plain), disguises)


def _nodes(tree: ast.Module) -> tuple[int, int]:
    """What the code weighs, and the characters of its docstrings."""
    found = [node for node in ast.walk(tree) if is_comment(node)]
    aside = {id(inner) for remark in found for inner in ast.walk(remark)}
    weight = sum(_weight(node) for node in ast.walk(tree) if id(node) not in aside)
    return weight, sum(len(ast.unparse(remark)) for remark in found)


def is_comment(node: ast.AST) -> bool:
    """Whether a node is a statement that does nothing: a docstring, or another lone string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _weight(node: ast.AST) -> int:
    match node:
        case ast.USub() | ast.UAdd():
            return -1  # a sign: not a step of its own, as its operation is
        case ast.Constant(str(value) | bytes(value)):
            return 1 + _beyond_a_word(len(value))
        case ast.Constant(int(value)):
            return 1 + _beyond_a_word(value.bit_length() // 4)
    return 1


def _beyond_a_word(characters: int) -> int:
    return max(characters - _WORD, 0) // 2
