"""How simple code is: karpathy's criterion that an equal score with less code is a win."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from overnight.arena import Arena
from overnight.experiment import Experiment
from overnight.workspace import Workspace

_LEAST = 0.01
"""The share of the code that must go before it counts as simpler."""
_REMEMBERED = 512
_WORD = 20
"""Characters that a word or a constant has at most; what is longer may be code in disguise, and
counts by its length, even when it is packed."""
_COMMENT = re.compile(r"(?m)(?:^|\s)(?:#|//)(?:\s.*|$)")
_BLOCK_COMMENT = re.compile(r"(?s)/\*.*?\*/")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_DISGUISE = re.compile(r"\b(exec|eval|compile|__doc__|__file__|getsource\w*|runpy|import_module)\b")
"""What runs code that is hidden where none is counted, in comments and docstrings."""

Size = tuple[int | None, int]
"""Nodes of the syntax tree, where there is one, and tokens."""


class Simplicity:
    """Compares the editable files of an arena's candidates with those of their parents."""

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self._arena = arena
        self._workspace = workspace
        self._sizes = lru_cache(_REMEMBERED)(self._measured)
        self._disguises = lru_cache(_REMEMBERED)(self._counted)

    def gained(self, experiment: Experiment) -> bool:
        """Whether the candidate has less code than its parent, by one part in a hundred, and no
        file that the parent has not: what moved there may be anything."""
        if experiment.parent is None or experiment.candidate is None:
            return False
        before, after = self._sizes(experiment.parent), self._sizes(experiment.candidate)
        if after.keys() - before.keys():
            return False
        if self._disguises(experiment.candidate) > self._disguises(experiment.parent):
            return False
        was = now = 0
        for path, lost in before.items():
            gained = after.get(path, (0, 0))
            # Both by the same measure: a file that no longer parses is not simpler for that.
            in_nodes = lost[0] is not None and gained[0] is not None
            was += (lost[0] or 0) if in_nodes else lost[1]
            now += (gained[0] or 0) if in_nodes else gained[1]
        return now < was * (1 - _LEAST)

    def _counted(self, commit: str) -> int:
        """How often it has what runs hidden code."""
        texts = self._texts(commit).values()
        return sum(len(_DISGUISE.findall(text.decode(errors="replace"))) for text in texts)

    def _measured(self, commit: str) -> dict[str, Size]:
        return {path: code_size(path, text) for path, text in self._texts(commit).items()}

    def _texts(self, commit: str) -> dict[str, bytes]:
        files = self._workspace.files(commit, self._arena.is_editable)
        return {path: self._workspace.read(commit, path) or b"" for path in files}


def code_size(path: str, text: bytes) -> Size:
    """Nodes of the syntax tree, for Python, and words and signs of the text: neither layout nor
    comments (`# …`, `// …`, docstrings in a tree) nor the length of names count."""
    plain = _BLOCK_COMMENT.sub(" ", _COMMENT.sub("", text.decode(errors="replace")))
    words = _TOKEN.findall(plain)
    tokens = sum(1 + _beyond_a_word(len(word)) for word in words)
    if not path.endswith(".py"):
        return None, tokens
    try:
        return _nodes(ast.parse(text)), tokens
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, tokens  # not this Python's syntax


def _nodes(tree: ast.Module) -> int:
    comments = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and _is_string(n.value)]
    aside = {id(node) for comment in comments for node in (comment, comment.value)}
    return sum(_weight(node) for node in ast.walk(tree) if id(node) not in aside)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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
