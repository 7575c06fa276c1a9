"""How simple code is: karpathy's criterion that an equal score with less code is a win."""

from __future__ import annotations

import ast
from functools import lru_cache

from overnight.arena import Arena
from overnight.experiment import Experiment
from overnight.workspace import Workspace

_COMMENTS = (b"#", b"//", b"--", b"%", b";")
_LEAST = 0.01
"""The share of the code that must go before it counts as simpler."""
_REMEMBERED = 256


class Simplicity:
    """Compares the editable files of an arena's candidates with those of their parents."""

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self._arena = arena
        self._workspace = workspace
        self._size = lru_cache(_REMEMBERED)(self._measured)

    def gained(self, experiment: Experiment) -> bool:
        """Whether the candidate has less code than its parent, by one part in a hundred."""
        if experiment.parent is None or experiment.candidate is None:
            return False
        return self._size(experiment.candidate) < self._size(experiment.parent) * (1 - _LEAST)

    def _measured(self, commit: str) -> int:
        files = self._workspace.files(commit, self._arena.is_editable)
        texts = ((path, self._workspace.read(commit, path)) for path in files)
        return sum(code_size(path, text) for path, text in texts if text is not None)


def code_size(path: str, text: bytes) -> int:
    """Nodes of the syntax tree for Python, otherwise lines with something on them that is not a
    comment: neither layout nor comments nor names count."""
    if path.endswith(".py"):
        try:
            return sum(1 for _ in ast.walk(ast.parse(text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # not this Python's syntax: count its lines
    lines = (line.strip() for line in text.splitlines())
    return sum(1 for line in lines if line and not line.startswith(_COMMENTS))
