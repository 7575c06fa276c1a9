"""Commands that measure earlier candidates again, and estimate what a night can detect."""

from __future__ import annotations

from typing import Annotated

from typer import Exit

from overnight.commands.base import (
    HERE,
    AsJson,
    Folder,
    NoSandbox,
    Number,
    Tag,
    app,
    arena_folder,
    number_option,
    open_campaign,
    out,
    print_json,
    print_notes,
    record_of,
)


@app.command(epilog="Example: overnight replay 12 --times 3")
def replay(
    n: Number,
    times: Annotated[int, number_option("K", "Measure K times.", min=1, max=1000)] = 1,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure an earlier candidate again, with new seeds.

    No verdict changes. Exit code: 4 if no run got a score.
    """
    from overnight.views.experiment_text import replay_text

    with record_of(folder, tag) as record:
        tag = record.tag  # of an existing campaign; open_campaign would begin a new one
        record.experiment(n)
    with open_campaign(folder, tag, no_sandbox) as campaign:
        print_notes(campaign.warnings)
        found = campaign.replay(n, times)
    if as_json:
        print_json(found.document())
    else:
        out.print(replay_text(found), end="")
    raise Exit(0 if found.scores else 4)


@app.command(epilog="Example: overnight ablate")
def ablate(
    tag: Tag = None, no_sandbox: NoSandbox = False, folder: Folder = HERE, as_json: AsJson = False
) -> None:
    """Find wins that the final program no longer needs.

    The arena's judge compares the program with and without each win. No verdict and no branch
    changes.
    """
    from overnight.views.experiment_text import ablated_line, removal_text

    with record_of(folder, tag) as record:
        tag = record.tag
    found = []
    with open_campaign(folder, tag, no_sandbox) as campaign:
        print_notes(campaign.warnings)
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
    hours: Annotated[float, number_option("H", "The night's length in hours.", min=0.01)] = 8.0,
    noise: Annotated[
        float | None,
        number_option("SD", "Standard deviation of one score (default: measured).", min=0),
    ] = None,
    seconds: Annotated[
        float | None,
        number_option("S", "Seconds per measurement (default: measured).", min=0.001),
    ] = None,
    rate: Annotated[
        float | None,
        number_option("SHARE", "Success rate of counts, such as clicks per view."),
    ] = None,
    each: Annotated[
        int,
        number_option("N", "With --rate: trials per measurement, such as views.", min=1),
    ] = 1000,
    tag: Tag = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Estimate how large a gain must be for a night to detect it.

    Assumes the judge's default settings, and lists those that differ in this arena. Draws
    power.png, or power-rate.png with --rate.
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
