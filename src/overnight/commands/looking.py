"""Commands that show a campaign's record."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Option

from overnight.commands.base import (
    HERE,
    AsJson,
    Folder,
    Number,
    Tag,
    app,
    arena_folder,
    number_option,
    out,
    print_json,
    record_of,
)
from overnight.core.errors import UsageError


@app.command(epilog="Example: overnight status --json")
def status(tag: Tag = None, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show how far a campaign is: best score, experiments, keeps, cost."""
    with record_of(folder, tag) as record:
        summary = record.summary()
        if as_json:
            from overnight.views.documents import status_document

            print_json(status_document(summary))
        else:
            from overnight.views.live import status_text

            out.print(status_text(summary))


@app.command(epilog="Example: overnight brief")
def brief(tag: Tag = None, folder: Folder = HERE) -> None:
    """Print the brief that the next agent would get."""
    from overnight.arena.arena import Arena
    from overnight.briefing.brief import first_brief
    from overnight.core.errors import NoCampaign

    try:
        with record_of(folder, tag) as record:
            text = record.brief()
    except NoCampaign:
        if tag is not None:
            raise
        text = first_brief(Arena.load(arena_folder(folder)))
    out.print(text, markup=False, soft_wrap=True)


@app.command(epilog="Example: overnight log --last 50 --json")
def log(
    last: Annotated[
        int | None,
        number_option("N", "Show only the newest N experiments (default: all).", min=1),
    ] = None,
    verdict: Annotated[
        str | None, Option(metavar="WORD", help="Show only this verdict: keep, discard, crash, …")
    ] = None,
    tag: Tag = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """List the experiments of a campaign, oldest first.

    Column `measured`: how many measurements a score is the median of, if they differ. Once a
    candidate was measured after its verdict, only those measurements count. A confirmed gain comes
    from pairs of measurements: it is not the difference of two scores.
    """
    from overnight.core.experiment import Verdict

    if verdict is not None and verdict not in list(Verdict):
        raise UsageError(f"--verdict {verdict}: expected one of {', '.join(Verdict)}")
    with record_of(folder, tag) as record:
        wanted = Verdict(verdict) if verdict else None
        found = record.ledger.experiments(record.tag, last=last, verdict=wanted)
        if as_json:
            from overnight.views.documents import experiment_document

            print_json([experiment_document(e, record.arena) for e in found])
        else:
            from overnight.views.experiment_text import results_table

            out.print(results_table(found, record.arena.metric))


@app.command(epilog="Example: overnight show 12")
def show(n: Number, tag: Tag = None, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Show one experiment: idea, measurements, verdict, reason."""
    with record_of(folder, tag) as record:
        experiment = record.experiment(n, whole=True)
        if as_json:
            from overnight.views.documents import experiment_document

            print_json(experiment_document(experiment, record.arena))
        else:
            from overnight.views.experiment_text import experiment_text

            out.print(experiment_text(experiment, record.arena))


@app.command(epilog="Example: overnight diff 12 | git apply")
def diff(n: Number, tag: Tag = None, folder: Folder = HERE) -> None:
    """Print the change of an experiment as a patch."""
    with record_of(folder, tag) as record:
        sys.stdout.write(record.diff(n))


@app.command(epilog="Example: overnight plot")
def plot(tag: Tag = None, folder: Folder = HERE) -> None:
    """Draw progress.png again."""
    with record_of(folder, tag) as record:
        out.print(str(record.draw()), markup=False, soft_wrap=True)


@app.command(epilog="Example: overnight report")
def report(tag: Tag = None, folder: Folder = HERE) -> None:
    """Write report.md and progress.png again."""
    with record_of(folder, tag) as record:
        record.draw()
        out.print(str(record.report()), markup=False, soft_wrap=True)
