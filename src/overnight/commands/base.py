"""What the commands share: the application, its consoles, options and output."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer import Argument, BadParameter, Exit, Option
from typer.core import TyperGroup

from overnight.core import interrupts
from overnight.core.errors import Interrupted, UsageError
from overnight.core.version import __version__

if TYPE_CHECKING:
    from typer._click.core import Context

    from overnight.campaign.campaign import Campaign
    from overnight.views.reader import Record


class _Commands(TyperGroup):
    """Raises Interrupted where a command was interrupted."""

    def invoke(self, ctx: Context) -> object:
        try:
            try:
                interrupts.working(True)
                return super().invoke(ctx)
            finally:
                interrupts.working(False)  # may be interrupted too, hence the outer `try`
        except KeyboardInterrupt as error:
            raise Interrupted(interrupts.WORDS) from error
        except Exception as error:  # typer's NoSuchOption, which it has in no public place
            # `show -1`: a negative number is taken for an option.
            if re.fullmatch(r"-\d", getattr(error, "option_name", "")):
                raise UsageError(
                    "an experiment's number is 0, the baseline, or more; `overnight log` lists them"
                ) from error
            raise


app = typer.Typer(
    name="overnight",
    cls=_Commands,
    context_settings={"max_content_width": 100},
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Write program.md in the evening, wake up to a better program, with proof.",
)
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)

Folder = Annotated[
    Path, Option("-C", metavar="DIR", show_default=False, help="The arena's folder (default: .).")
]
Tag = Annotated[str | None, Option(metavar="TAG", help="The campaign (default: the newest).")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON document instead of text.")]
Number = Annotated[int, Argument(metavar="N", help="The experiment's number; 0 is the baseline.")]
NoSandbox = Annotated[
    bool, Option("--no-sandbox", help="Give runs all of your rights; the record will say so.")
]
HERE = Path()


_LARGEST = 2**63 - 1
"""The largest whole number that the ledger can hold."""


def number_option(
    metavar: str, help: str, min: float | None = None, max: float | None = None
) -> Any:
    """An option that takes a finite number, from `min` to `max`."""
    return Option(metavar=metavar, help=help, min=min, max=max, callback=_finite)


def _finite(value: float | None) -> float | None:
    if isinstance(value, int) and value > _LARGEST:
        raise BadParameter(f"found {value}; expected a number up to {_LARGEST}")
    if value is not None and not math.isfinite(value):
        raise BadParameter(f"found {value}; expected a finite number")
    return value


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"overnight {__version__}")
        raise Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def arena_folder(folder: Path) -> Path:
    """The arena's folder: this one or the nearest above it. Raises UsageError or ArenaError."""
    from overnight.arena.arena import Arena

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the arena's folder with -C")
    return Arena.find(folder)


def record_of(folder: Path, tag: str | None) -> AbstractContextManager[Record]:
    """The record of a campaign, to read."""
    from overnight.views.reader import open_record

    return open_record(arena_folder(folder), tag)


def open_campaign(folder: Path, tag: str | None, no_sandbox: bool) -> Campaign:
    """The campaign, to drive: a new or an existing one."""
    from overnight.campaign.campaign import Campaign

    return Campaign.open(arena_folder(folder), tag, "none" if no_sandbox else None)


def print_notes(notes: Sequence[str]) -> None:
    """Print each as a line `note: …` to standard error."""
    for note in notes:
        err.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)


def print_json(document: object) -> None:
    """Print a document to standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
