"""The terminal view of a campaign that runs: a live screen, or plain lines without a terminal."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from overnight.arena.settings import Metric, Run
from overnight.core.errors import OvernightError
from overnight.core.experiment import FAILED, Experiment
from overnight.core.quantity import format_dollars, format_duration
from overnight.core.text import counted, one_line
from overnight.core.usage import Left
from overnight.insights.overfitting import OVERFITTED, Gap
from overnight.record.book import Book
from overnight.views.experiment_text import plain_line, results_table
from overnight.views.summary import Summary, direction_words, scale, summarize

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 20
_SHOWN = 8


class LiveView:
    """Shows a campaign while it runs. Use it as a context manager.

    Without a terminal it prints a line for each experiment, and one with what is being done
    whenever `quiet_seconds` pass without any.
    """

    def __init__(self, summary: Summary, console: Console, quiet_seconds: float = 180.0) -> None:
        self._summary = summary
        self._console = console
        self._quiet_seconds = quiet_seconds
        self._printed = threading.Event()
        self._ended = False
        self._heartbeat: threading.Thread | None = None
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=lambda: screen(self._summary),
                console=console,
                refresh_per_second=2,
                transient=True,
            )
        else:
            self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def changed(self, book: Book) -> None:
        """Show the campaign's new state."""
        with suppress(OvernightError):  # the loop reports a ledger that cannot be read
            self._summary = summarize(book)

    def observe(self, experiment: Experiment) -> None:
        """Print an experiment that has its verdict, if there is no terminal."""
        if self._heartbeat is not None:
            self._print(plain_line(experiment, self._summary.metric))
            self._printed.set()

    def _print(self, line: str) -> None:
        # A closed pipe or a full disk must not end the campaign; the ledger has the results.
        with suppress(OSError, SystemExit):
            self._console.print(line, markup=False, soft_wrap=True)

    def _beat(self) -> None:
        """Runs in a thread: print what is being done whenever nothing else was printed."""
        while not self._ended:
            if self._printed.wait(self._quiet_seconds):
                self._printed.clear()
            else:
                self._print(f"… {running_text(self._summary).plain}")

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start(refresh=True)
        if self._heartbeat is not None:
            self._heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with suppress(OSError, SystemExit):  # the terminal may be gone
                self._live.stop()
        if self._heartbeat is not None:
            self._ended = True
            self._printed.set()
            self._heartbeat.join()


def screen(summary: Summary) -> RenderableType:
    """The live screen of a campaign."""
    results = results_table(summary.recent[-_SHOWN:], summary.metric, one_line_each=True)
    title = Text(f"overnight · {one_line(summary.arena.name, 40)} · {summary.tag}")
    running = summary.driven and not summary.stop_reason
    hint = "Ctrl-C or `overnight stop` ends it; nothing is lost" if running else None
    return Panel(Group(status_text(summary), "", results), title=title, subtitle=hint)


def status_text(summary: Summary) -> RenderableType:
    """The state of a campaign, in a few lines."""
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
    for words in summary.warnings:
        yield "", Text(words, style="yellow")
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
    for i, words in enumerate(summary.spent_words):
        yield "" if i else "spent", Text(words)
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
    """The provisional experiments, in words."""
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
    """One character for each of the newest `width` experiments: a block, taller is better, or × for
    a failure."""
    shown = summary.recent[-width:]
    bounds = scale(shown, summary.metric)
    if bounds is None or len(shown) < 2:
        return ""
    return "".join(_block(e, bounds, summary.metric) for e in shown)


def _block(e: Experiment, bounds: tuple[float, float], metric: Metric) -> str:
    if e.score is None or e.verdict in FAILED:
        return "×"
    low, high = (bound / 2 for bound in bounds)  # halved: the range of huge scores could overflow
    height = (metric.orient(e.score) / 2 - low) / (high - low) if high > low else 0.5
    return _BLOCKS[round(min(max(height, 0.0), 1.0) * (len(_BLOCKS) - 1))]


def running_text(summary: Summary) -> Text:
    """What is being done now, and for how long."""
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
    """A bar with the time that the run has taken and that is left of its budget. Scoring and checks
    follow after the budget."""
    done, left = round(min(elapsed / run.budget, 1) * _BAR), max(run.budget - elapsed, 0)
    clock = " of processor time" if run.clock == "cpu" else ""
    words = f"about {format_duration(left)}{clock} left" if left else "scoring follows"
    return f"\n{'━' * done}{'─' * (_BAR - done)} {format_duration(elapsed)}, {words}"


def last_screen(
    summary: Summary, files: Sequence[Path], console: Console, unmoved: str | None = None
) -> None:
    """Print what was gained, why the run stopped, and where to look. `unmoved`: the commit to which
    the branch could not be moved."""
    text = Text()
    text.append(f"{summary.gained}.\n", style="bold green" if summary.wins else "bold")
    for words in summary.warnings:
        text.append(f"Warning: {words}.\n", style="yellow")
    if summary.holdout and summary.holdout.overfitted:
        text.append(f"Warning: {OVERFITTED}; see the report.\n", style="yellow")
    for e in summary.wins[-_SHOWN:]:
        together = "".join(f", #{other.n}" for other in summary.members_of(e))
        text.append(f"  #{e.n}{together}  {e.claim or 0:+.4g}  {one_line(e.description, 100)}\n")
    if len(summary.wins) > _SHOWN:
        text.append(f"  and {counted(len(summary.wins) - _SHOWN, 'earlier win')}\n")
    if summary.provisional:
        text.append(f"  {provisional_words(summary)}\n", style="cyan")
    text.append(f"\nIt stopped: {one_line(summary.stop_reason or 'the command ended', 300)}\n")
    if summary.keeps:
        source = unmoved[:10] if unmoved else summary.branch
        where = f"commit {source}" if unmoved else f"branch {source}"
        text.append(f"The {where} holds what was kept. To take it:\n")
        text.append(f"  cd {shlex.quote(str(summary.arena.root))} && git merge {source}\n")
    else:
        text.append(f"The branch {summary.branch} has nothing to `git merge` yet.\n")
    text.append("Look at:\n")
    for file in files:
        text.append(f"  {file}\n")
    if console.is_terminal:
        console.print(Panel(text, title="overnight"))
    else:
        console.print(text, soft_wrap=True)
