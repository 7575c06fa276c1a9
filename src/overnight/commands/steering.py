"""Commands that speak to a campaign and its agents, from another terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from overnight.commands.base import (
    HERE,
    Folder,
    Tag,
    app,
    arena_folder,
    out,
    record_of,
)
from overnight.core.errors import UsageError


@app.command(epilog="Example: overnight stop --now")
def stop(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the experiment.")] = False,
    tag: Tag = None,
    folder: Folder = HERE,
) -> None:
    """End a running campaign from another terminal."""
    from overnight.record.lock import driver_of, lock_path

    with record_of(folder, tag) as record:
        if driver_of(lock_path(record.arena, record.tag)) is None:
            raise UsageError(f"campaign {record.tag} is not running")
        record.ledger.add_event(record.tag, "stop-request", now=now)
        when = "at once" if now else "after the experiment under way"
        out.print(f"Campaign {record.tag} will stop {when}.")


@app.command(epilog='Example: overnight steer "leave the optimiser alone; try the data order"')
def steer(
    words: Annotated[str, typer.Argument(metavar="WORDS", help="What the agent should know.")],
    tag: Tag = None,
    folder: Folder = HERE,
) -> None:
    """Say something to the agent: it is part of every brief from now on."""
    from overnight.stage.secrets import Secrets

    with record_of(folder, tag) as record:
        record.ledger.add_event(record.tag, "steer", words=Secrets.of().redacted(words))
        out.print("The next brief says so.")


@app.command(epilog='Example: overnight note "depth 8 diverges"')
def note(
    words: Annotated[str, typer.Argument(metavar="WORDS", help="What was learned.")],
    folder: Folder = HERE,
) -> None:
    """Write down what was learned, in notes.md: it is part of every brief from now on."""
    from overnight.arena.arena import Arena
    from overnight.record.notes import add_note
    from overnight.stage.secrets import Secrets

    written = add_note(
        Arena.load(arena_folder(folder)).state / "notes.md", Secrets.of().redacted(words), "person"
    )
    out.print(written, markup=False, soft_wrap=True)
