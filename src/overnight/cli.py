"""The command line: parses and prints, decides nothing."""

from __future__ import annotations

import sys

from overnight.core import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typer import Typer


def main() -> None:
    """The console script."""
    interrupts.listen()
    run()


def run(line: list[str] | None = None) -> None:
    """Run one command, by default that of this process. The user's mistake ends with a sentence,
    never with a traceback. Raises SystemExit."""
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
        # The machine's own refusals: a read-only folder, a full disk.
        place = f"{error.filename}: " if error.filename else ""
        words = f"overnight: {place}{error.strerror or error}; check permissions and free space"
        err.print(words, style="red", markup=False, soft_wrap=True)
        sys.exit(1)


def application() -> Typer:
    """The application with all of its commands: loading them is what makes them known to it."""
    import overnight.commands.agents
    import overnight.commands.connecting
    import overnight.commands.driving
    import overnight.commands.looking
    import overnight.commands.measuring
    import overnight.commands.steering  # noqa: F401
    from overnight.commands.base import app

    return app
