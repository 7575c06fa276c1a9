"""The command line: parses and prints, decides nothing."""

from __future__ import annotations

import gc
import sys
from io import TextIOWrapper

from overnight.core import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typer import Typer


def main() -> None:
    """Entry point of the console script `overnight`."""
    interrupts.listen()
    for stream in (sys.stdout, sys.stderr):  # a character that it cannot show ends no campaign
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Modules make 100,000 objects and no garbage: to look for it takes 6 % of a short command. A
    # campaign of 200 experiments holds 4 MB more for it.
    gc.set_threshold(200_000)
    run()


def run(line: list[str] | None = None) -> None:
    """Run one command: the words of `line`, or by default this process's arguments.

    A mistake by the user ends with a sentence, not a traceback. Always raises SystemExit.
    """
    app = application()
    from overnight.commands.base import err
    from overnight.core.errors import OvernightError

    try:
        app(line, prog_name="overnight")
    except OvernightError as error:
        err.print(f"overnight: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        # Refused by the operating system: a read-only folder, a full disk.
        file = error.filename or "a file"
        message = (
            f"overnight: {file} cannot be read or written: {error.strerror or error}. Check its "
            "path, its permissions and the free space, then run the same command again"
        )
        err.print(message, style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def application() -> Typer:
    """The application with all of its commands, in the order in which --help lists them."""
    from importlib import import_module

    for module in ("driving", "looking", "steering", "measuring", "agents", "connecting"):
        import_module(f"overnight.commands.{module}")  # registers its commands
    from overnight.commands.base import app

    return app
