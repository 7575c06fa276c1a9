"""The command about agents: which can be used, whether one works, what each has achieved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from overnight.commands.base import HERE, AsJson, Folder, Tag, app, out, print_json, record_of
from overnight.core.errors import ArenaError, UsageError

if TYPE_CHECKING:
    from overnight.arena.arena import Arena


@app.command(epilog="Example: overnight agents --check claude")
def agents(
    check: Annotated[
        str | None,
        Option(metavar="NAME", help="Ask this agent for a one-line change in a test arena."),
    ] = None,
    stats: Annotated[
        bool, Option("--stats", help="Show what each agent of a campaign achieved.")
    ] = False,
    tag: Tag = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """List the agents, and what those that are not ready need.

    --check costs one short answer of the agent's model; exit code 1 if it changes nothing.
    --stats shows keeps, confirmed gain, tokens, dollars, minutes, and whether the gains that an
    agent expected were measured.
    """
    if check and stats:
        raise UsageError("--check and --stats cannot be combined; give one of them")
    if check:
        raise Exit(_check(check, _arena(folder), as_json))
    if stats:
        _stats(folder, tag, as_json)
    else:
        _list(_arena(folder), as_json)


def _arena(folder: Path) -> Arena:
    """The arena here; outside any arena, a small one without agents of its own."""
    from overnight.arena.arena import Arena
    from overnight.doctor.rehearsal import ARENA

    try:
        root = Arena.find(folder)
    except ArenaError:
        return Arena.parse(ARENA, folder)
    return Arena.load(root)


def _list(arena: Arena, as_json: bool) -> None:
    from overnight.agents.roster import roster
    from overnight.views.documents import roster_document
    from overnight.views.experiment_text import roster_lines

    entries = list(roster(arena))
    if as_json:
        print_json([roster_document(entry) for entry in entries])
    else:
        out.print(roster_lines(entries), soft_wrap=True)


def _check(name: str, arena: Arena, as_json: bool) -> int:
    from overnight.agents.named import agent_named
    from overnight.doctor.rehearsal import rehearse
    from overnight.views.documents import rehearsal_document
    from overnight.views.experiment_text import rehearsal_text

    rehearsal = rehearse(agent_named(name, arena))
    if as_json:
        print_json(rehearsal_document(name, rehearsal))
    else:
        out.print(rehearsal_text(name, rehearsal), markup=False, soft_wrap=True)
    return 1 if rehearsal.words else 0


def _stats(folder: Path, tag: str | None, as_json: bool) -> None:
    from overnight.insights.track_record import track_records
    from overnight.views.documents import agent_document
    from overnight.views.experiment_text import agents_page

    with record_of(folder, tag) as record:
        by_name = track_records(record.experiments(), record.ledger.spent(record.tag))
        records = list(by_name.values())
        if as_json:
            print_json([agent_document(one) for one in records])
        elif records:
            out.print(agents_page(records, record.arena.metric, out.width))
        else:
            out.print(f"No agent has proposed anything in campaign {record.tag} yet.")
