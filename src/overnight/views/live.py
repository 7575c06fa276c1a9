"""The terminal view: live while a campaign runs, plain lines where there is no terminal."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from overnight.arena.settings import Metric, Run
from overnight.core.errors import OvernightError
from overnight.core.experiment import Experiment
from overnight.core.quantity import format_dollars, format_duration
from overnight.core.text import one_line
from overnight.insights.failures import FAILED
from overnight.insights.limits_left import Left
from overnight.insights.overfitting import OVERFITTED, Gap
from overnight.record.book import Book
from overnight.views.experiment_text import plain_line, results_table
from overnight.views.summary import Summary, counted, direction_words, scale, summarize

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 20
_SHOWN = 8


class LiveView:
    """Shows a campaign while it runs. Use it as a context manager.

    Without a terminal: a line per experiment, and one whenever `quiet_seconds` pass without any.
    """

    def __init__(self, summary: Summary, console: Console, quiet_seconds: float = 180.0) -> None:
        self._summary = summary
        self._console = console
        self._quiet_seconds = quiet_seconds
        self._spoke = threading.Event()
        self._over = False
        self._heart: threading.Thread | None = None
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=lambda: screen(self._summary),
                console=console,
                refresh_per_second=2,
                transient=True,
            )
        else:
            self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def changed(self, book: Book) -> None:
        """The campaign stands elsewhere now."""
        with suppress(OvernightError):  # a ledger that cannot be read ends the loop, not its view
            self._summary = summarize(book)

    def observe(self, experiment: Experiment) -> None:
        """An experiment has a verdict."""
        if self._heart is not None:
            self._say(plain_line(experiment, self._summary.metric))
            self._spoke.set()

    def _say(self, line: str) -> None:
        # Its reader is gone or its disk is full: the night goes on, and the ledger has it all.
        with suppress(OSError, SystemExit):
            self._console.print(line, markup=False, soft_wrap=True)

    def _beat(self) -> None:
        """In a thread of its own: a log file shows life while something takes long."""
        while not self._over:
            if self._spoke.wait(self._quiet_seconds):
                self._spoke.clear()
            else:
                self._say(f"… {running_text(self._summary).plain}")

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start(refresh=True)
        if self._heart is not None:
            self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._heart is not None:
            self._over = True
            self._spoke.set()
            self._heart.join()


def screen(summary: Summary) -> RenderableType:
    """The live view of a campaign at this instant."""
    results = results_table(summary.recent[-_SHOWN:], summary.metric, one_line_each=True)
    title = f"overnight · {escape(one_line(summary.arena.name, 40))} · {summary.tag}"
    going_on = summary.driven and not summary.stop_reason
    hint = "Ctrl-C or `overnight stop` ends it; nothing is lost" if going_on else None
    return Panel(Group(status_text(summary), "", results), title=title, subtitle=hint)


def status_text(summary: Summary) -> RenderableType:
    """Where the campaign stands, in a few lines."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for label, words in _rows(summary):
        rows.add_row(label, words)
    return Group(Text(summary.gained, style="bold"), rows)


def _rows(summary: Summary) -> Iterator[tuple[str, Text]]:
    metric, best = summary.metric, summary.incumbent
    unit = f" ({one_line(metric.unit, 40)})" if metric.unit else ""
    yield "metric", Text(f"{metric.name}{unit}, {direction_words(metric)}")
    if summary.self_reported:
        yield "", Text("self-reported: no referee checks these scores", style="yellow")
    if summary.unconfined:
        yield "", Text("no sandbox: runs have your rights", style="yellow")
    if best is not None:
        yield "incumbent", Text(f"#{best.n} {one_line(best.description, 120)}")
    if summary.provisional:
        yield "provisional", Text(provisional_words(summary), style="cyan")
    for words in summary.arena.uncharged(summary.baseline.judged) if summary.baseline else ():
        yield "", Text(words, style="yellow")
    if summary.noise_words:
        yield "noise", Text(summary.noise_words)
    if summary.experiments:
        tried = counted(summary.experiments, "experiment")
        yield "so far", Text(f"{tried} in {format_duration(summary.seconds)}: {summary.tally}")
    for place, words in enumerate(summary.spent_words):
        yield "" if place else "spent", Text(words)
    if words := summary.pruning.words:
        yield "pruning", Text(words)
    if line := sparkline(summary):
        yield "scores", Text(line, style="green").append("  taller is better", style="dim")
    if summary.holdout:
        yield "final exam", _exam_words(summary.holdout)
    if summary.left:
        yield "left", Text(_left_words(summary.left, summary.pace))
    if summary.stop_reason:
        yield "stopped", Text(one_line(summary.stop_reason, 300), style="yellow")
    elif summary.driven:
        yield "now", running_text(summary)


def provisional_words(summary: Summary) -> str:
    """Which keeps are not confirmed yet."""
    numbers = ", ".join(f"#{e.n}" for e in summary.provisional)
    return f"{numbers}: promising, not confirmed, on no branch"


def _exam_words(gap: Gap) -> Text:
    words = f"read {counted(gap.read, 'time')}; `overnight report` shows it beside the referee"
    text = Text(words)
    return text.append(f"\n{OVERFITTED}", style="yellow") if gap.overfitted else text


def _left_words(left: Left, pace: float | None) -> str:
    words = []
    if left.experiments is not None:
        about = f", about {format_duration(left.experiments * pace)}" if pace else ""
        words.append(f"{counted(left.experiments, 'experiment')}{about}")
    elif left.seconds is not None and pace:
        words.append(f"about {counted(int(left.seconds / pace), 'experiment')}")
    if left.seconds is not None:
        words.append(f"at most {format_duration(left.seconds)}")
    if left.dollars is not None:
        words.append(f"at most {format_dollars(left.dollars)}")
    if left.tokens is not None:
        words.append(f"at most {left.tokens:,} tokens")
    return "; ".join(words)


def sparkline(summary: Summary, width: int = 40) -> str:
    """The newest experiments, a sign each: a block, taller is better, or × for a failed one."""
    shown = summary.recent[-width:]
    bounds = scale(shown, summary.metric)
    if bounds is None or len(shown) < 2:
        return ""
    return "".join(_block(e, bounds, summary.metric) for e in shown)


def _block(e: Experiment, bounds: tuple[float, float], metric: Metric) -> str:
    if e.score is None or e.verdict in FAILED:
        return "×"
    low, high = (bound / 2 for bound in bounds)  # halved: the span of huge numbers is infinite
    place = (metric.orient(e.score) / 2 - low) / (high - low) if high > low else 0.5
    return _BLOCKS[round(min(max(place, 0.0), 1.0) * (len(_BLOCKS) - 1))]


def running_text(summary: Summary) -> Text:
    """What is done right now, and for how long."""
    running = summary.running
    if running is None:
        return Text("between experiments", style="dim")
    number = "" if running.n is None else f"#{running.n} "
    text = Text(f"{number}{one_line(running.words, 100)}", style="cyan")
    if running.measured_since is None:
        return text.append(f", for {format_duration(_seconds_since(running.since))}")
    if running.measured != running.n:
        text.append(f", #{running.measured} measured again beside it")
    elif running.measurements:
        text.append(f", measurement {running.measurements + 1}")
    return text.append(_clock(_seconds_since(running.measured_since), summary.arena.run))


def _seconds_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def _clock(elapsed: float, run: Run) -> str:
    """A bar, what is gone, what is left. The run may end before its budget does; past it, the
    score and the checks go on."""
    done, left = round(min(elapsed / run.budget, 1) * _BAR), max(run.budget - elapsed, 0)
    clock = " of processor time" if run.clock == "cpu" else ""
    words = f"about {format_duration(left)}{clock} left" if left else "about to be scored"
    return f"\n{'━' * done}{'─' * (_BAR - done)} {format_duration(elapsed)}, {words}"


def last_screen(summary: Summary, files: Sequence[Path], console: Console) -> None:
    """In plain words what was gained and where to look."""
    text = Text()
    text.append(f"{summary.gained}.\n", style="bold green" if summary.wins else "bold")
    if summary.self_reported:
        text.append("These scores are self-reported: no referee checked them.\n", style="yellow")
    if summary.unconfined:
        text.append("Runs were not confined: no sandbox kept them from anything.\n", "yellow")
    if summary.holdout and summary.holdout.overfitted:
        text.append(f"{OVERFITTED}: see the report.\n", style="yellow")
    for e in summary.wins[-_SHOWN:]:
        together = "".join(f", #{other.n}" for other in summary.members_of(e))
        text.append(f"  #{e.n}{together}  {e.claim or 0:+.4g}  {one_line(e.description, 100)}\n")
    if len(summary.wins) > _SHOWN:
        text.append(f"  and {counted(len(summary.wins) - _SHOWN, 'earlier win')}\n")
    if summary.provisional:
        text.append(f"  {provisional_words(summary)}\n", style="cyan")
    text.append(f"\nIt stopped: {one_line(summary.stop_reason or 'it was closed', 300)}\n")
    if summary.keeps:
        text.append(f"The branch {summary.branch} holds what was kept. To take it:\n")
        text.append(f"  cd {shlex.quote(str(summary.arena.root))} && git merge {summary.branch}\n")
    else:
        text.append(f"The branch {summary.branch} has nothing to `git merge` yet.\n")
    text.append("Look at:\n")
    for file in files:
        text.append(f"  {file}\n")
    if console.is_terminal:
        console.print(Panel(text, title="overnight"))
    else:
        console.print(text, soft_wrap=True)
