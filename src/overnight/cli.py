"""The command line: parses and prints, decides nothing."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from typer.core import TyperGroup

from overnight import __version__
from overnight.errors import Interrupted, OvernightError, UsageError

if TYPE_CHECKING:
    from typer._click.core import Context

    from overnight.record import Record
    from overnight.stop import Limits


class _Commands(TyperGroup):
    """The commands; one that is interrupted says so."""

    def invoke(self, ctx: Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; run the same command again") from error


app = typer.Typer(
    name="overnight",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Write program.md in the evening, wake up to a better program, with proof.",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Folder = Annotated[
    Path, typer.Option("-C", metavar="DIR", help="The arena: this folder or one above it.")
]
Tag = Annotated[str | None, typer.Option(help="The campaign; the newest one by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Experiments = Annotated[int | None, typer.Option(min=1, help="Stop after this many experiments.")]
Number = Annotated[int, typer.Argument(metavar="N", help="The experiment's number.")]
NoSandbox = Annotated[bool, typer.Option("--no-sandbox", help="Runs get your rights: recorded.")]
HERE = Path()


def main() -> None:
    """The console script: a person's mistake ends with a sentence, never with a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="overnight")
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


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"overnight {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: overnight new nanogpt my-arena")
def new(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Which one: nanogpt, code-speed or portfolio.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
) -> None:
    """Make a ready arena from a template."""
    from overnight.template import make_arena

    committed = make_arena(template, folder)
    out.print(f"{folder} is ready.", markup=False)
    if not committed:
        out.print(f'Commit it: git add {folder} && git commit -m "An arena"', markup=False)
    _say_missing(template)
    out.print(f"Then: cd {folder} && overnight run", markup=False)


def _say_missing(template: str) -> None:
    from overnight.template import missing_packages

    if missing := missing_packages(template):
        words = f"not installed: {', '.join(missing)}; pip install 'overnight[{template}]'"
        _say([f"{template} needs more than overnight itself; {words}"])


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
    from overnight.template import Guess, init_arena

    said = Guess(run, metric, direction, tuple(editable or ()), budget, setup)
    written = init_arena(folder.resolve(), said)
    names = " ".join(path.name for path in written)
    out.print(f"Wrote {names}. Read it, then: git add {names} && git commit", markup=False)
    out.print("Then: overnight run", markup=False)


@app.command(epilog="Example: overnight run --hours 8")
def run(
    agent: Annotated[
        str, typer.Option(help="tuner, NAME, patches:FOLDER, command:LINE.")
    ] = "tuner",
    experiments: Experiments = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Stop after this many hours.")] = None,
    target: Annotated[float | None, typer.Option(help="Stop when the metric is this good.")] = None,
    plateau: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many experiments without a win.")
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
) -> None:
    """Ask an agent for a change, try it, keep it if it wins; repeat. Goes on where it stopped."""
    from overnight.stop import Limits

    _offer_repository(folder)
    limits = Limits(experiments, hours, target, plateau)
    raise typer.Exit(_drive(folder, tag, agent, limits, no_sandbox))


def _drive(
    folder: Path, tag: str | None, agent: str, limits: Limits, no_sandbox: bool = False
) -> int:
    from overnight.agents.named import agent_named
    from overnight.campaign import Campaign
    from overnight.live import LiveView, last_screen
    from overnight.record import Record

    with Campaign.open(_arena_folder(folder), tag, "none" if no_sandbox else None) as campaign:
        proposer = agent_named(agent, campaign.arena)
        told = _say(campaign.warnings)
        with LiveView(campaign.arena, campaign.tag, out) as view:
            stop = campaign.run(proposer, limits, view.observe)
        _say(campaign.warnings[told:])
        record = Record(campaign.arena, campaign.ledger, campaign.tag)
        files = [record.report(), record.draw(), campaign.results]
        last_screen(record.summary(), files, out)
    return stop.kind.exit_code


def _say(warnings: Sequence[str]) -> int:
    """Print notes; returns how many."""
    for warning in warnings:
        err.print(f"note: {warning}", style="yellow", markup=False, soft_wrap=True)
    return len(warnings)


@app.command("try", epilog='Example: overnight try -m "half the learning rate"')
def try_(
    message: Annotated[str, typer.Option("-m", help="What was changed, and why.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="The checkout with the change.")
    ] = None,
    tag: Tag = None,
    no_sandbox: NoSandbox = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """One experiment from your working copy, with all the rules.

    It is measured, judged, recorded, and kept if it wins.
    Exit code: 0 keep, 10 discard, 11 crash, 12 timeout, 13 invalid or stale.
    """
    from overnight.agents.person import Person
    from overnight.campaign import Campaign
    from overnight.live import plain_line
    from overnight.summary import experiment_document

    with Campaign.open(_arena_folder(folder), tag, "none" if no_sandbox else None) as campaign:
        place = _arena_folder(source) if source else campaign.arena.root
        told = _say(campaign.warnings)
        experiment = campaign.try_(Person(campaign.workspace, place, message))
        _say(campaign.warnings[told:])
        assert experiment is not None and experiment.verdict is not None
        if as_json:
            _print_json(experiment_document(experiment))
        else:
            out.print(plain_line(experiment, campaign.arena.metric), markup=False)
            out.print(experiment.reason, markup=False)
    codes = {"keep": 0, "discard": 10, "crash": 11, "timeout": 12}
    raise typer.Exit(codes.get(experiment.verdict, 13))


@app.command(epilog="Example: overnight doctor --json")
def doctor(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Red-team this arena before the night.

    Dishonest candidates try it in every sandbox, and five traits are measured.
    Exit code: 1 when an attack gets through or cannot be tried.
    """
    from overnight.examination import examine, print_examination

    examination = examine(_arena_folder(folder), None if as_json else err)
    if as_json:
        _print_json(examination.document())
    else:
        print_examination(examination, out)
    raise typer.Exit(1 if examination.open else 0)


@app.command(epilog="Example: overnight status --json")
def status(tag: Tag = None, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Where a campaign stands."""
    from overnight.live import status_text
    from overnight.summary import status_document

    with _record(folder, tag) as record:
        summary = record.summary()
        if as_json:
            _print_json(status_document(summary))
        else:
            out.print(status_text(summary))


@app.command(epilog="Example: overnight log --last 50 --json")
def log(
    last: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Only keep, discard, crash, …")] = None,
    tag: Tag = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Every experiment of a campaign, oldest first."""
    from overnight.experiment import Verdict
    from overnight.live import results_table
    from overnight.summary import experiment_document

    known = [v.value for v in Verdict]
    if verdict is not None and verdict not in known:
        raise UsageError(f"--verdict {verdict}: expected one of {', '.join(known)}")
    with _record(folder, tag) as record:
        wanted = Verdict(verdict) if verdict else None
        found = record.ledger.experiments(record.tag, last=last, verdict=wanted)
        if as_json:
            _print_json([experiment_document(experiment) for experiment in found])
        else:
            out.print(results_table(found, record.arena.metric))


@app.command(epilog="Example: overnight show 12")
def show(n: Number, tag: Tag = None, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """One experiment: its idea, its measurements, its verdict and why."""
    from overnight.live import experiment_text
    from overnight.summary import experiment_document

    with _record(folder, tag) as record:
        experiment = record.experiment(n)
        if as_json:
            _print_json(experiment_document(experiment))
        else:
            out.print(experiment_text(experiment, record.arena))


@app.command(epilog="Example: overnight diff 12 | git apply")
def diff(n: Number, tag: Tag = None, folder: Folder = HERE) -> None:
    """What an experiment changed, as a patch."""
    with _record(folder, tag) as record:
        sys.stdout.write(record.diff(n))


@app.command(epilog="Example: overnight stop --now")
def stop(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the experiment.")] = False,
    tag: Tag = None,
    folder: Folder = HERE,
) -> None:
    """End a running campaign from another terminal."""
    from overnight.lock import driver_of
    from overnight.resume import lock_path

    with _record(folder, tag) as record:
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
    with _record(folder, tag) as record:
        record.ledger.add_event(record.tag, "steer", words=words)
        out.print("The next brief says so.")


@app.command(epilog="Example: overnight plot")
def plot(tag: Tag = None, folder: Folder = HERE) -> None:
    """Draw progress.png again."""
    with _record(folder, tag) as record:
        out.print(str(record.draw()), markup=False, soft_wrap=True)


@app.command(epilog="Example: overnight report")
def report(tag: Tag = None, folder: Folder = HERE) -> None:
    """Write report.md and progress.png again."""
    with _record(folder, tag) as record:
        record.draw()
        out.print(str(record.report()), markup=False, soft_wrap=True)


@app.command(epilog="Example: overnight demo my-demo --experiments 20")
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for the demo's arena.")
    ] = Path("demo"),
    experiments: Annotated[int, typer.Option(min=1, help="How many to run.")] = 12,
) -> None:
    """A small language model gets better while you watch, in minutes."""
    from overnight.stop import Limits
    from overnight.template import make_demo

    _say_missing("nanogpt")
    make_demo(folder)
    raise typer.Exit(_drive(folder, None, "tuner", Limits(experiments=experiments)))


def _record(folder: Path, tag: str | None) -> AbstractContextManager[Record]:
    from overnight.record import open_record

    return open_record(_arena_folder(folder), tag)


def _arena_folder(folder: Path) -> Path:
    from overnight.arena import Arena

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    return Arena.find(folder)


def _offer_repository(folder: Path) -> None:
    """An arena in no repository: with a person at the terminal, offer to make one."""
    from overnight.repository import create_repository, is_in_repository

    root = _arena_folder(folder)
    if is_in_repository(root) or not sys.stdin.isatty():
        return
    if typer.confirm(f"{root} is in no git repository. Make it one, with a first commit?"):
        create_repository(root)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
