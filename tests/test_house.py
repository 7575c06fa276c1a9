"""The house: layers, sizes, cycles, configuration that is read, docs that are true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from overnight.arena import settings as tables_module
from overnight.arena.arena import Arena

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "overnight"
FILES = sorted(
    f
    for f in SOURCE.rglob("*.py")
    if not (f.parent.parent.parent.name == "templates" or "attacks" in f.parts)
    and f.parent.parent.name != "templates"
)
OTHERS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])

FLOORS = [
    *("core", "arena", "sandbox", "repo", "record", "stage", "judge", "change", "measure"),
    *("executors", "insights", "agents", "templates", "search", "briefing", "campaign"),
    *("doctor", "views", "connect", "commands"),
]
"""The rooms from the ground up: none imports one above it."""
PUBLIC = {"__init__", "__main__", "cli", "exchange", "referee"}
"""Files that stand beside the rooms: the front door, and two addresses that arenas import."""


def module_name(file: Path) -> str:
    top = SOURCE if file.is_relative_to(SOURCE) else ROOT
    return ".".join(file.relative_to(top).with_suffix("").parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> set[str]:
    """The modules of overnight that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("overnight."):
            inner = (node.module or "").removeprefix("overnight.")
            folder = SOURCE.joinpath(*inner.split("."))
            names = (f"{inner}.{a.name}" for a in node.names) if folder.is_dir() else ()
            found |= {*names} or {inner}
    return found


@pytest.mark.parametrize("room", FLOORS)
def test_no_room_imports_one_above_it(room: str) -> None:
    for file in (f for f in FILES if f.relative_to(SOURCE).parts[0] == room):
        for other in imported(file):
            above = other.split(".")[0]
            assert above in FLOORS, f"{module_name(file)} imports {other}, which is no room"
            assert FLOORS.index(above) <= FLOORS.index(room), (
                f"{module_name(file)} imports {other}, which is on a floor above"
            )


def test_every_room_has_a_floor_and_says_what_it_is_for() -> None:
    rooms = {f.name for f in SOURCE.iterdir() if f.is_dir() and f.name != "__pycache__"}
    assert rooms == set(FLOORS)
    assert {f.stem for f in SOURCE.glob("*.py")} == PUBLIC
    for room in rooms:
        words = ast.get_docstring(tree(SOURCE / room / "__init__.py")) or ""
        assert re.search(r"\bimports?\b", words), f"{room} does not say what it may import"


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_name(file): imported(file) for file in FILES}
    for _ in range(len(modules)):
        free = {name for name, others in modules.items() if not others & modules.keys()}
        modules = {name: others for name, others in modules.items() if name not in free}
        if not free:
            break
    assert not modules, f"these are in a circle, or above one: {', '.join(sorted(modules))}"


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=module_name)
def test_the_first_line_of_a_file_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(tree(file)), f"{file} does not say what it is"


def test_the_loop_is_readable_on_one_screen() -> None:
    (loop,) = [f for f in functions(SOURCE / "campaign" / "loop.py") if f.name == "run"]
    body = [line for line in ast.unparse(loop).splitlines() if '"""' not in line]
    assert len(body) <= 30


def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for other in vars(tables_module).values():
        if (
            isinstance(other, type)
            and issubclass(other, tables_module.Table)
            and other is not model
        ):
            yield other


def test_every_configuration_field_is_read_somewhere() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    for table in set(tables(Arena)):
        for field in table.model_fields:
            uses = re.findall(rf"\.{field}\b", text)
            assert uses, f"{table.__name__}.{field} is never read"


def test_no_broad_except_without_a_reason() -> None:
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(r"except( Exception| BaseException)?:", line):
                assert "#" in line or "raise" in file.read_text().splitlines()[number + 1], (
                    f"{file.name}:{number} catches everything and does not say why"
                )


def test_only_one_file_calls_git() -> None:
    for file in FILES:
        if file.name not in ("git.py",):
            assert not re.search(r"[\"']git[\"'],", file.read_text()), f"{file.name} calls git"


def test_importing_overnight_loads_nothing_heavy() -> None:
    code = "import sys, overnight; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"sqlalchemy", "pydantic", "matplotlib", "optuna", "typer", "rich"} & set(loaded)


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_tree_in_the_readme_is_the_tree() -> None:
    block = re.search(r"```\nsrc/overnight/\n(.*?)```", readme(), re.DOTALL)
    assert block, "the README has no tree of src/overnight"
    named = set(re.findall(r"^  ([\w./]+)", block[1], re.MULTILINE))
    have = {f.name for f in SOURCE.glob("*.py") if not f.name.startswith("__")}
    have |= {f"{f.name}/" for f in SOURCE.iterdir() if f.is_dir() and f.name != "__pycache__"}
    assert named == have


def test_the_commands_page_shows_the_help_of_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    shown = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "write_commands.py"), "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert page == shown, "docs/commands.md is old: run python docs/write_commands.py"


def test_every_command_has_an_example_in_its_help() -> None:
    from overnight.cli import application

    for command in application().registered_commands:
        assert command.epilog and command.epilog.startswith("Example: overnight ")
