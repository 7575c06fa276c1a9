"""Commands that reach a running campaign and its agents from another terminal."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from overnight.commands.base import HERE, Folder, Tag, app, arena_folder, out, record_of
from overnight.core.errors import UsageError


@app.command(epilog="Example: overnight stop --now")
def stop(
    now: Annotated[
        bool, Option("--now", help="Stop without waiting for the running experiment.")
    ] = False,
    tag: Tag = None,
    folder: Folder = HERE,
) -> None:
    """Stop a running campaign after its current experiment."""
    from overnight.record.lock import driver_of, lock_path

    with record_of(folder, tag) as record:
        if driver_of(lock_path(record.arena, record.tag)) is None:
            raise UsageError(
                f"campaign {record.tag} is not running, so there is nothing to stop; name another "
                "one with --tag"
            )
        record.ledger.add_event(record.tag, "stop-request", now=now)
        when = "at once" if now else "after the experiment under way"
        out.print(f"Campaign {record.tag} will stop {when}.")


@app.command(epilog='Example: overnight steer "leave the optimiser alone; try the data order"')
def steer(
    text: Annotated[str, Argument(metavar="TEXT", help="What agents should know or do.")],
    tag: Tag = None,
    folder: Folder = HERE,
) -> None:
    """Add an instruction to every brief from now on."""
    from overnight.stage.secrets import Secrets

    if not text.strip():
        raise UsageError("the instruction is empty: say what agents should know or do")
    with record_of(folder, tag) as record:
        record.ledger.add_event(record.tag, "steer", words=Secrets.of().redacted(text))
        out.print("The instruction is in every brief from now on.")


@app.command(epilog='Example: overnight note "depth 8 diverges"')
def note(
    text: Annotated[str, Argument(metavar="TEXT", help="What was learned.")], folder: Folder = HERE
) -> None:
    """Add what was learned to notes.md, and so to every brief."""
    from overnight.arena.arena import Arena
    from overnight.record.notes import add_note
    from overnight.stage.secrets import Secrets

    file = Arena.load(arena_folder(folder)).state / "notes.md"
    written = add_note(file, Secrets.of().redacted(text), "person")
    out.print(written, markup=False, soft_wrap=True)
