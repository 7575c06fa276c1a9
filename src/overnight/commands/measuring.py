"""Commands that measure past candidates again, and tell what a night can see."""

from __future__ import annotations

from typing import Annotated

import typer

from overnight.commands.base import (
    HERE,
    AsJson,
    Folder,
    NoSandbox,
    Number,
    Tag,
    app,
    arena_folder,
    out,
    print_json,
    record_of,
    say,
)


@app.command(epilog="Example: overnight replay 12 --times 3")
def replay(
    n: Number,
    times: Annotated[int, typer.Option(min=1, max=1000, help="How often.")] = 1,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure any past candidate again, with new seeds. Changes no verdict.

    Exit code: 4 when none of the runs got a score.
    """
    from overnight.campaign.campaign import Campaign
    from overnight.views.experiment_text import replay_text

    with record_of(folder, tag) as record:
        tag = record.tag  # or opening it would begin a campaign
        record.experiment(n)
    with Campaign.open(arena_folder(folder), tag, "none" if no_sandbox else None) as campaign:
        say(campaign.warnings)
        found = campaign.replay(n, times)
    if as_json:
        print_json(found.document())
    else:
        out.print(replay_text(found), end="")
    raise typer.Exit(0 if found.scores else 4)


@app.command(epilog="Example: overnight ablate")
def ablate(
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Take back each win of the final program in turn: which ones still carry weight?

    Measures the program with and without, by the arena's own judge. Changes nothing.
    """
    from overnight.campaign.campaign import Campaign
    from overnight.views.experiment_text import ablated_line, removal_text

    with record_of(folder, tag) as record:
        tag = record.tag
    found = []
    with Campaign.open(arena_folder(folder), tag, "none" if no_sandbox else None) as campaign:
        say(campaign.warnings)
        for ablated in campaign.ablate():
            found.append(ablated)
            if not as_json:
                out.print(ablated_line(ablated), markup=False, soft_wrap=True)
        branch = campaign.branch
    if as_json:
        print_json([ablated.document() for ablated in found])
    else:
        out.print(removal_text(found, branch), end="")


@app.command(epilog="Example: overnight power --hours 8")
def power(
    hours: Annotated[float, typer.Option(min=0.01, help="How long the night is.")] = 8.0,
    noise: Annotated[
        float | None, typer.Option(min=0, help="Of one measurement; else the campaign's.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Of one measurement; else the campaign's.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Of counts: clicks per view, replies per mail, …")
    ] = None,
    each: Annotated[
        int, typer.Option(min=1, help="With --rate: views, mails, … in one measurement.")
    ] = 1000,
    tag: Tag = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """What gain a night can see, with how many measurements.

    Speaks of the rule `confirm` as it is without settings, and says so where this arena has
    others. Draws power.png; with --rate, power-rate.png.
    """
    from overnight.views.power import night_of, power_text
    from overnight.views.power_plot import draw_power

    night = night_of(arena_folder(folder), tag, hours, noise, seconds, (rate, each))
    if as_json:
        print_json(night.document())
    else:
        out.print(power_text(night))
    if night.noise:
        draw_power(night)
        if not as_json:
            out.print(str(night.picture), markup=False, soft_wrap=True)
