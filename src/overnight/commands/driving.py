"""Commands that measure: they make an arena, examine it, and drive its campaign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overnight.commands.base import (
    HERE,
    AsJson,
    Experiments,
    Folder,
    NoSandbox,
    Tag,
    app,
    arena_folder,
    err,
    out,
    print_json,
    say,
)

if TYPE_CHECKING:
    from overnight.campaign.campaign import Campaign
    from overnight.campaign.limits import Limits


@app.command(epilog="Example: overnight new nanogpt my-arena")
def new(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Which one: nanogpt, code-speed or portfolio.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
) -> None:
    """Make a ready arena from a template."""
    from overnight.templates.make import make_arena

    committed = make_arena(template, folder)
    out.print(f"{folder} is ready.", markup=False)
    if not committed:
        out.print(f'Commit it: git add {folder} && git commit -m "An arena"', markup=False)
    _say_missing(template)
    out.print(f"Then: cd {folder} && overnight run", markup=False)


def _say_missing(template: str) -> None:
    from overnight.templates.make import missing_packages

    if missing := missing_packages(template):
        words = f"not installed: {', '.join(missing)}; pip install 'overnight[{template}]'"
        say([f"{template} needs more than overnight itself; {words}"])


@app.command(epilog='Example: overnight init --run "python main.py" --metric loss --budget 5m')
def init(
    run: Annotated[str | None, typer.Option(help="The command that runs a candidate.")] = None,
    metric: Annotated[str | None, typer.Option(help="The number to improve.")] = None,
    direction: Annotated[str | None, typer.Option(help="minimize or maximize.")] = None,
    editable: Annotated[list[str] | None, typer.Option(help="What may change (a glob).")] = None,
    budget: Annotated[str | None, typer.Option(help="How long one run may take: 5m.")] = None,
    setup: Annotated[str | None, typer.Option(help="Preparation, once per machine.")] = None,
    folder: Folder = HERE,
) -> None:
    """Make this repository an arena, as it is."""
    from overnight.templates.make import Guess, fixed_seed_note, init_arena

    said = Guess(run, metric, direction, tuple(editable or ()), budget, setup)
    written = init_arena(folder.resolve(), said)
    names = " ".join(path.name for path in written)
    say(fixed_seed_note(folder.resolve()))
    out.print(f"Wrote {names}. Read it, then: git add {names} && git commit", markup=False)
    out.print("Then: overnight run", markup=False)


@app.command(epilog="Example: overnight run --hours 8")
def run(
    agent: Annotated[
        str | None, typer.Option(help="tuner, NAME, patches:FOLDER, command:LINE; or NAME,NAME,….")
    ] = None,
    experiments: Experiments = None,
    hours: Annotated[
        float | None, typer.Option(min=0, max=100_000, help="Stop after this many hours.")
    ] = None,
    target: Annotated[float | None, typer.Option(help="Stop when the metric is this good.")] = None,
    plateau: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many experiments without a win.")
    ] = None,
    dollars: Annotated[
        float | None, typer.Option(min=0, help="Stop when proposals have cost so many US dollars.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop when they have used so many tokens.")
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
) -> None:
    """Ask an agent for a change, try it, keep it if it wins; repeat. Goes on where it stopped."""
    from overnight.campaign.limits import Limits

    _offer_repository(folder)
    limits = Limits(experiments, hours, target, plateau, dollars, tokens)
    raise typer.Exit(_drive(folder, tag, agent, limits, no_sandbox))


def _drive(
    folder: Path, tag: str | None, agent: str | None, limits: Limits, no_sandbox: bool = False
) -> int:
    from overnight.arena.arena import PORTFOLIO
    from overnight.campaign.campaign import Campaign
    from overnight.search.portfolio import portfolio_named
    from overnight.views.live import LiveView, last_screen
    from overnight.views.preflight import Past, preflight
    from overnight.views.reader import Record
    from overnight.views.summary import summarize

    with Campaign.open(arena_folder(folder), tag, "none" if no_sandbox else None) as campaign:
        default = PORTFOLIO if campaign.arena.portfolio.agents else "tuner"
        portfolio = portfolio_named(default if agent is None else agent, campaign.arena)
        told = say(campaign.warnings)
        known = Past.read(campaign.book, campaign.workspace, limits)
        ahead = preflight(campaign.arena, portfolio, limits, known)
        out.print(f"Ahead: {ahead}.", markup=False, soft_wrap=True)
        with LiveView(summarize(campaign.book), out) as view:
            campaign.loop.changed = view.changed
            stop = campaign.run(portfolio, limits, view.observe)
        say(campaign.warnings[told:])
        record = Record.of(campaign.book)
        files = [record.report(), record.draw(), campaign.results]
        last_screen(record.summary(), files, out)
    return stop.kind.exit_code


@app.command("try", epilog='Example: overnight try -m "half the learning rate" --expect 0.01')
def try_(
    message: Annotated[
        str, typer.Option("-m", help="What was changed; after the first line, why it should help.")
    ],
    hypothesis: Annotated[str, typer.Option(help="Why it should help.")] = "",
    expect: Annotated[
        float | None, typer.Option(metavar="GAIN", help="The gain that you expect; + is better.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="The checkout with the change.")
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """One experiment from your working copy, with all the rules.

    What differs from HEAD in the editable files is measured, judged, recorded, and kept if it wins.
    Exit code: 0 keep, 10 discard, 11 crash, 12 timeout, 13 invalid or stale, 14 provisional.
    """
    from overnight.connect.try_change import EXIT_CODES, Change, try_change
    from overnight.views.experiment_text import plain_line

    place = arena_folder(source) if source else None
    change = Change.said(message, hypothesis, expect, place)
    told: list[str] = []

    def begun(campaign: Campaign) -> None:
        told.extend(campaign.warnings)
        say(told)

    tried = try_change(arena_folder(folder), tag, "none" if no_sandbox else None, change, begun)
    say(tried.warnings[len(told) :])
    if as_json:
        print_json(tried.document())
    else:
        line = plain_line(tried.experiment, tried.arena.metric, why=False)
        out.print(f"{line}\n{tried.text()}", markup=False, soft_wrap=True)
    assert tried.experiment.verdict is not None
    raise typer.Exit(EXIT_CODES[tried.experiment.verdict])


@app.command(epilog="Example: overnight doctor --json")
def doctor(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Red-team this arena before the night.

    Dishonest candidates try it in every sandbox, and five traits are measured.
    Exit code: 1 when an attack gets through or cannot be tried.
    """
    from overnight.doctor.printout import print_findings, run_doctor

    findings = run_doctor(arena_folder(folder), None if as_json else err)
    if as_json:
        print_json(findings.document())
    else:
        print_findings(findings, out)
    raise typer.Exit(1 if findings.open else 0)


@app.command(epilog="Example: overnight demo my-demo --experiments 20")
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for the demo's arena.")
    ] = Path("demo"),
    experiments: Annotated[int, typer.Option(min=1, help="How many to run.")] = 10,
) -> None:
    """A small language model gets better while you watch, in minutes."""
    from overnight.campaign.limits import Limits
    from overnight.templates.make import make_demo

    _say_missing("nanogpt")
    make_demo(folder)
    raise typer.Exit(_drive(folder, None, "tuner", Limits(experiments=experiments)))


def _offer_repository(folder: Path) -> None:
    """An arena in no repository: if the user is at the terminal, offer to make one."""
    from overnight.repo.user_repository import create_repository, is_in_repository

    root = arena_folder(folder)
    if is_in_repository(root) or not sys.stdin.isatty():
        return
    if typer.confirm(f"{root} is in no git repository. Make it one, with a first commit?"):
        create_repository(root)
