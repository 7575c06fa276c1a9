"""A dishonest candidate, read from its file."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from overnight.core.errors import UsageError
from overnight.repo.workspace import Workspace

_FOLDER = Path(__file__).parent / "attacks"
_KINDS = ("score", "late", "again", "network", "before", "after", "report")
_PRELUDE = """DOCTOR = {facts!r}
def through(what): print("\\ngot through:", what, flush=True)
def refused(what): print("\\nrefused:", what, flush=True)
"""

Facts = Mapping[str, object]
"""What an attack knows: where everything is, and what to forge."""


@dataclass(frozen=True)
class Attack:
    """A dishonest candidate."""

    name: str
    kind: str
    """"score", "late", "again", "network", "before", "after" or "report"; `attacks/__init__.py`
    says how the doctor tells whether each kind worked."""
    close: str
    """How to close the hole."""
    source: str

    @classmethod
    def parsed(cls, path: PurePath, content: bytes) -> Attack:
        """The attack in a file; the last paragraph of its docstring gives kind and close.

        Raises UsageError if the file is not Python.
        """
        try:
            source = content.decode()
            docstring = ast.get_docstring(ast.parse(source)) or f"{path.stem}."
        except (SyntaxError, ValueError) as error:
            raise UsageError(
                f"{path}: {_problem(error)}: mend this attack, or remove it"
            ) from error
        last = docstring.partition("\n\n")[2].replace("\n", " ")
        kind, _, close = last.partition(": ")
        if kind not in _KINDS:
            kind, close = "report", last
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


def attacks(workspace: Workspace, base: str) -> list[Attack]:
    """overnight's attacks, and those in the folder `attacks` of the arena's commit `base`.

    Raises UsageError if one is not Python.
    """
    ours = [(path, path.read_bytes()) for path in sorted(_FOLDER.glob("[a-z]*.py"))]
    found = sorted(workspace.files(base, _is_attack).items())
    yours = [(PurePath(path), workspace.content(blob)) for path, blob in found]
    return [Attack.parsed(*file) for file in [*ours, *yours]]


def _is_attack(path: str) -> bool:
    return path.startswith("attacks/") and path.count("/") == 1 and path.endswith(".py")


def _problem(error: SyntaxError | ValueError) -> str:
    """What keeps a file from being Python, with the line if it is known."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno} is not Python ({error.msg})"
    return f"it is not Python ({error})"


def _must_stay_first(body: list[ast.stmt], n: int) -> bool:
    """Whether the n-th statement is the module's docstring or an import from __future__."""
    statement = body[n]
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return n == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
