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
def through(what): print("got through:", what, flush=True)
def refused(what): print("refused:", what, flush=True)
"""

Facts = Mapping[str, object]
"""What an attack knows: where everything is, and what to forge."""


@dataclass(frozen=True)
class Attack:
    """A dishonest candidate."""

    name: str
    kind: str
    """"score", "late", "again", "network", "before", "after" or "close"; `attacks/__init__.py`
    says how the doctor tells whether each kind worked."""
    close: str
    """How to close the hole."""
    source: str

    @classmethod
    def read(cls, path: Path) -> Attack:
        """Read an attack from a file; the last paragraph of its docstring gives kind and close."""
        source = path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source)) or f"{path.stem}."
        last = docstring.partition("\n\n")[2].replace("\n", " ")
        kind, _, close = last.partition(": ")
        if kind not in _KINDS:
            kind, close = "close", last
        return cls(path.stem.replace("_", " "), kind, close, source)

    def command(self, facts: Facts) -> str:
        """A shell line that runs it as a separate program."""
        return f"{shlex.quote(sys.executable)} -c {shlex.quote(self._program(facts))}"

    def put_into(self, source: str, facts: Facts) -> str:
        """Python source with the attack inserted before or after its own code. Raises SyntaxError
        if `source` is not Python."""
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
    """overnight's attacks, and those in the arena's folder `attacks`."""
    files = [*sorted(_FOLDER.glob("[a-z]*.py")), *sorted((arena.root / "attacks").glob("*.py"))]
    return [Attack.read(path) for path in files]


def _must_stay_first(body: list[ast.stmt], n: int) -> bool:
    """Whether the n-th statement is the module's docstring or an import from __future__."""
    statement = body[n]
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return n == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
