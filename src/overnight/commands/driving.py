"""Commands that make an arena, test it, and run experiments in it."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, confirm

from overnight.commands.base import (
    HERE,
    AsJson,
    Folder,
    NoSandbox,
    Tag,
    app,
    arena_folder,
    err,
    number_option,
    open_campaign,
    out,
    print_json,
    print_notes,
)

if TYPE_CHECKING:
    from overnight.campaign.campaign import Campaign
    from overnight.campaign.limits import Limits


@app.command(epilog="Example: overnight new nanogpt my-arena")
def new(
    template: Annotated[str, Argument(metavar="NAME", help="nanogpt, code-speed or portfolio.")],
    folder: Annotated[Path, Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Copy a ready-made arena into a new folder."""
    from overnight.templates.make import make_arena

    committed = make_arena(template, folder)
    name = shlex.quote(str(folder))
    out.print(f"{folder} is ready.", markup=False, soft_wrap=True)
    if not committed:
        line = f"git add {name} && git commit -m 'An arena'"
        out.print(f"Commit it: {line}", markup=False, soft_wrap=True)
    _note_missing(template)
    out.print(f"Then: cd {name} && overnight run", markup=False, soft_wrap=True)


def _note_missing(template: str) -> None:
    from overnight.templates.make import missing_packages

    if missing := ", ".join(missing_packages(template)):
        install = f"pip install 'overnight[{template}]'"
        print_notes([f"packages that {template} needs are not installed: {missing}; {install}"])


# \b keeps the line breaks, so that the shell takes it as it is shown.
@app.command(
    epilog='\b\nExample: overnight init --run "python3 main.py" --metric loss \\\n'
    "  --direction minimize --editable main.py --budget 5m"
)
def init(
    run: Annotated[str | None, Option(metavar="LINE", help="Command of the program.")] = None,
    metric: Annotated[str | None, Option(metavar="NAME", help="Name of the printed score.")] = None,
    direction: Annotated[str | None, Option(metavar="WORD", help="minimize or maximize.")] = None,
    editable: Annotated[
        list[str] | None, Option(metavar="GLOB", help="Files that may change; repeatable.")
    ] = None,
    budget: Annotated[str | None, Option(metavar="TIME", help="Time limit of a run: 5m.")] = None,
    setup: Annotated[str | None, Option(metavar="LINE", help="Command to run once, first.")] = None,
    folder: Folder = HERE,
) -> None:
    """Make an arena of the program in this folder.

    Writes arena.toml and, unless it exists, program.md. Every option but --setup is required; a
    repository like karpathy/autoresearch needs none.
    """
    from overnight.repo.user_repository import COMMIT, is_in_repository
    from overnight.templates.make import ArenaFacts, fixed_seed_note, init_arena

    given = ArenaFacts(run, metric, direction, tuple(editable or ()), budget, setup)
    root = folder.resolve()
    enter = "" if root == Path.cwd() else f"cd {shlex.quote(str(root))} && "
    create = "" if is_in_repository(root) else "git init && "
    names = " and ".join(path.name for path in init_arena(root, given))
    print_notes(fixed_seed_note(root))
    out.print(f"Wrote {names}. Please check the content.", markup=False)
    out.print("Then commit everything, your program too, and start:", markup=False)
    for line in (f"{enter}{create}{COMMIT}", "overnight run"):
        out.print(f"  {line}", markup=False, soft_wrap=True)


@app.command(epilog="Example: overnight run --hours 8")
def run(
    agent: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Who proposes: a name listed by `overnight agents`, command:LINE, patches:FOLDER, "
            "or several with commas (default: [portfolio] in arena.toml, else tuner).",
        ),
    ] = None,
    experiments: Annotated[
        int | None, number_option("N", "Stop after N new experiments.", min=1)
    ] = None,
    hours: Annotated[
        float | None, number_option("H", "Stop after H hours.", min=0, max=100_000)
    ] = None,
    target: Annotated[
        float | None, number_option("SCORE", "Stop when the best score is this good.")
    ] = None,
    plateau: Annotated[
        int | None, number_option("N", "Stop after N experiments without a win.", min=1)
    ] = None,
    dollars: Annotated[
        float | None, number_option("USD", "Stop when proposals have cost this much.", min=0)
    ] = None,
    tokens: Annotated[
        int | None, number_option("N", "Stop when proposals have used N tokens.", min=1)
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
) -> None:
    """Let an agent propose changes, measure each, keep the wins.

    Wins are commits on the branch overnight/TAG. The command runs until you stop it or a limit is
    reached; by default there is none. Run it again to continue; a new --tag begins a new campaign.

    Limits count from the start of this run. If the last run was killed (kill -9, power failure),
    they count from the start of that one: the same command then completes it. After Ctrl-C or
    `overnight stop` they count anew. A closed terminal ends it like Ctrl-C: to log out meanwhile,
    start it in tmux or with nohup.
    """
    from overnight.campaign.limits import Limits

    _offer_repository(folder)
    limits = Limits(experiments, hours, target, plateau, dollars, tokens)
    raise Exit(_drive(folder, tag, agent, limits, no_sandbox))


def _drive(
    folder: Path, tag: str | None, agent: str | None, limits: Limits, no_sandbox: bool = False
) -> int:
    """Run a campaign with its live view. Returns the exit code."""
    from overnight.arena.arena import PORTFOLIO
    from overnight.search.portfolio import portfolio_named
    from overnight.views.live import LiveView, last_screen
    from overnight.views.preflight import Past, preflight
    from overnight.views.reader import Record
    from overnight.views.summary import summarize

    with open_campaign(folder, tag, no_sandbox) as campaign:
        default = PORTFOLIO if campaign.arena.portfolio.agents else "tuner"
        portfolio = portfolio_named(default if agent is None else agent, campaign.arena)
        printed = len(campaign.warnings)
        print_notes(campaign.warnings)
        past = Past.read(campaign.book, campaign.workspace, limits)
        ahead = preflight(campaign.arena, portfolio, limits, past)
        out.print(f"Ahead: {ahead}.", markup=False, soft_wrap=True)
        with LiveView(summarize(campaign.book), out) as view:
            campaign.loop.changed = view.changed
            stop = campaign.run(portfolio, limits, view.observe)
        record = Record.of(campaign.book)
        files = [record.report(), record.draw(), campaign.results]
        with suppress(OSError, SystemExit):  # the terminal may be gone
            print_notes(campaign.warnings[printed:])
            last_screen(record.summary(), files, out, record.unmoved())
    return stop.kind.exit_code


@app.command("try", epilog='Example: overnight try -m "half the learning rate" --expect 0.01')
def try_(
    message: Annotated[
        str, Option("-m", metavar="TEXT", help="What you changed, in one line; more lines say why.")
    ],
    hypothesis: Annotated[
        str, Option(metavar="TEXT", help="Why it should help.", show_default=False)
    ] = "",
    expect: Annotated[
        float | None, number_option("GAIN", "Expected gain in the metric's units; + is better.")
    ] = None,
    source: Annotated[
        Path | None, Option("--from", metavar="DIR", help="Checkout with the change (default: -C).")
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure your own uncommitted change, and keep it if it wins.

    The change is the difference from HEAD in the editable files. A new --tag begins a new campaign.
    Exit code: 0 keep, 10 discard,
    11 crash, 12 timeout, 13 invalid or stale, 14 provisional.
    """
    from overnight.connect.try_change import EXIT_CODES, Change, try_change
    from overnight.views.experiment_text import plain_line

    checkout = arena_folder(source) if source else None
    change = Change.described(message, hypothesis, expect, checkout)
    printed: list[str] = []

    def opened(campaign: Campaign) -> None:
        printed.extend(campaign.warnings)
        print_notes(printed)

    tried = try_change(arena_folder(folder), tag, "none" if no_sandbox else None, change, opened)
    print_notes(tried.warnings[len(printed) :])
    if as_json:
        print_json(tried.document())
    else:
        line = plain_line(tried.experiment, tried.arena.metric, why=False)
        out.print(f"{line}\n{tried.text()}", markup=False, soft_wrap=True)
    assert tried.experiment.verdict is not None
    raise Exit(EXIT_CODES[tried.experiment.verdict])


@app.command(epilog="Example: overnight doctor --json")
def doctor(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Test whether a dishonest candidate can cheat in this arena.

    Runs every attack in every sandbox, and checks whether the arena is ready for a night. Exit
    code: 1 if an attack gets through or cannot be tried.
    """
    from overnight.doctor.printout import print_findings, run_doctor

    findings = run_doctor(arena_folder(folder), None if as_json else err)
    if as_json:
        print_json(findings.document())
    else:
        print_findings(findings, out)
    raise Exit(1 if findings.open else 0)


@app.command(epilog="Example: overnight demo my-demo --experiments 20")
def demo(
    folder: Annotated[
        Path, Argument(metavar="DIR", help="The demo's folder; an existing demo continues.")
    ] = Path("demo"),
    experiments: Annotated[int, number_option("N", "Stop after N experiments.", min=1)] = 10,
) -> None:
    """Improve a small language model while you watch, in minutes."""
    from overnight.campaign.limits import Limits
    from overnight.templates.make import make_demo

    _note_missing("nanogpt")
    make_demo(folder)
    raise Exit(_drive(folder, None, "tuner", Limits(experiments=experiments)))


def _offer_repository(folder: Path) -> None:
    """Offer a user at the terminal to create the git repository that the arena needs."""
    from overnight.repo.user_repository import create_repository, is_in_repository

    root = arena_folder(folder)
    if is_in_repository(root) or not sys.stdin.isatty():
        return
    if confirm(f"{root} is in no git repository. Create one there, with a first commit?"):
        create_repository(root)
