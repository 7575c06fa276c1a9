"""What every command has: the application, its consoles, its options, the arena that is meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from typer.core import TyperGroup

from overnight.core import interrupts
from overnight.core.errors import Interrupted, UsageError
from overnight.core.version import __version__

if TYPE_CHECKING:
    from typer._click.core import Context

    from overnight.views.reader import Record


class _Commands(TyperGroup):
    """The commands; one that is interrupted says so."""

    def invoke(self, ctx: Context) -> object:
        try:
            try:
                interrupts.working(True)
                return super().invoke(ctx)
            finally:
                interrupts.working(False)
        except KeyboardInterrupt as error:
            raise Interrupted(interrupts.WORDS) from error


app = typer.Typer(
    name="overnight",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Write program.md in the evening, wake up to a better program, with proof.",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Folder = Annotated[
    Path, typer.Option("-C", metavar="DIR", help="The arena: this folder or one above it.")
]
Tag = Annotated[str | None, typer.Option(help="The campaign; the newest one by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Experiments = Annotated[int | None, typer.Option(min=1, help="Stop after this many experiments.")]
Number = Annotated[int, typer.Argument(metavar="N", help="The experiment's number.")]
NoSandbox = Annotated[bool, typer.Option("--no-sandbox", help="Runs get your rights: recorded.")]
HERE = Path()


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"overnight {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def record_of(folder: Path, tag: str | None) -> AbstractContextManager[Record]:
    from overnight.views.reader import open_record

    return open_record(arena_folder(folder), tag)


def arena_folder(folder: Path) -> Path:
    from overnight.arena.arena import Arena

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    return Arena.find(folder)


def say(warnings: Sequence[str]) -> int:
    """Print notes; returns how many."""
    for warning in warnings:
        err.print(f"note: {warning}", style="yellow", markup=False, soft_wrap=True)
    return len(warnings)


def print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
