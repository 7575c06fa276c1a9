"""A dishonest candidate, read from its file."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from overnight.arena.arena import Arena

_FOLDER = Path(__file__).parent / "attacks"
_KINDS = ("score", "late", "again", "network", "before", "after")
_PRELUDE = """DOCTOR = {facts!r}
def through(words): print("got through:", words, flush=True)
def refused(words): print("refused:", words, flush=True)
"""

Facts = Mapping[str, object]
"""What an attack may know: where everything is, what to forge."""


@dataclass(frozen=True)
class Attack:
    """A dishonest candidate."""

    name: str
    tries: str
    kind: str
    """"score", "late", "again", "network", "before", "after" or "close"; `attacks/__init__.py`
    says how each is told to have worked."""
    close: str
    source: str

    @classmethod
    def read(cls, path: Path) -> Attack:
        """The attack in a file; its docstring says the rest."""
        source = path.read_text(encoding="utf-8")
        words = ast.get_docstring(ast.parse(source)) or f"{path.stem}."
        tries, _, last = words.partition("\n\n")
        kind, _, close = last.replace("\n", " ").partition(": ")
        name = path.stem.replace("_", " ")
        if kind not in _KINDS:
            kind, close = "close", last.replace("\n", " ")
        return cls(name, tries, kind, close, source)

    def command(self, facts: Facts) -> str:
        """A shell line that runs it as a program of its own."""
        return f"{shlex.quote(sys.executable)} -c {shlex.quote(self._program(facts))}"

    def put_into(self, source: str, facts: Facts) -> str:
        """Python source with the attack before or after its own code. Raises SyntaxError."""
        body = ast.parse(source).body
        program = self._program(facts)
        if self.kind == "after":
            return f"{source}\n\n{program}"
        first = next((n for n in range(len(body)) if not _must_stay_first(body, n)), len(body))
        at = body[first - 1].end_lineno or 0 if first else 0
        lines = source.splitlines(keepends=True)
        return "".join([*lines[:at], "\n", program, "\n", *lines[at:]])

    def _program(self, facts: Facts) -> str:
        return _PRELUDE.format(facts=dict(facts)) + self.source


def attacks(arena: Arena) -> list[Attack]:
    """overnight's own, and those in the arena's folder `attacks`."""
    files = [*sorted(_FOLDER.glob("[a-z]*.py")), *sorted((arena.root / "attacks").glob("*.py"))]
    return [Attack.read(path) for path in files]


def _must_stay_first(body: list[ast.stmt], n: int) -> bool:
    """Whether the n-th statement of a module is its docstring or an import from __future__."""
    statement = body[n]
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return n == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
