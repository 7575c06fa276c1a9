"""The terminal view: live while a campaign runs, plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from overnight.arena import Arena, Metric
from overnight.errors import OvernightError
from overnight.experiment import Experiment, Verdict
from overnight.ledger import Ledger
from overnight.message import one_line
from overnight.quantity import format_duration
from overnight.summary import Summary, summarize

_COLOURS = {Verdict.KEEP: "green", Verdict.DISCARD: "bright_black", None: "yellow"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN = 8


def plain_line(e: Experiment, metric: Metric) -> str:
    """One experiment on one line: `#12 keep val_bpb 1.748 (+0.031) 21 s  DEPTH 4 → 2`."""
    score = f" {metric.name} {e.score:.6g}" if e.score is not None else ""
    gain = f" ({e.gain:+.4g})" if e.gain is not None else ""
    seconds = f" {format_duration(e.seconds)}" if e.seconds is not None else ""
    words = one_line(e.description, 120)
    if e.verdict not in (Verdict.KEEP, Verdict.DISCARD):
        words += f" — {one_line(e.reason, 120)}"
    return f"#{e.n} {e.verdict}{score}{gain}{seconds}  {words}"


class LiveView:
    """Shows a campaign while it runs. Use it as a context manager; a fault of the view is shown
    in the view and never reaches the campaign."""

    def __init__(self, arena: Arena, tag: str, console: Console) -> None:
        self._arena = arena
        self._tag = tag
        self._console = console
        self._ledger = Ledger.at(arena.ledger or arena.state / "ledger.db", arena.name)
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._render, console=console, refresh_per_second=2, transient=True
            )

    def observe(self, experiment: Experiment) -> None:
        """An experiment has finished."""
        if self._live is None:
            line = plain_line(experiment, self._arena.metric)
            self._console.print(line, markup=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        try:
            return screen(summarize(self._arena, self._ledger, self._tag))
        except OvernightError as error:
            return Text(f"the view cannot read the ledger just now: {error}")

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._ledger.close()


def screen(summary: Summary) -> RenderableType:
    """The live view of a campaign at this instant."""
    body = Group(
        status_text(summary),
        Text(sparkline(summary), style="green"),
        _running(summary),
        results_table(summary.recent[-_SHOWN:], summary.metric),
    )
    title = f"overnight · {escape(summary.arena.name)} · {summary.tag}"
    return Panel(body, title=title, subtitle="Ctrl-C or `overnight stop` ends it; nothing is lost")


def status_text(summary: Summary) -> Text:
    """Where the campaign stands, in a few lines."""
    text = Text()
    text.append(f"{summary.gained}\n", style="bold")
    if summary.arena.score is None:
        text.append("scores are self-reported: no referee checks them\n", style="yellow")
    best = summary.incumbent
    if best is not None:
        text.append(f"incumbent  #{best.n} {one_line(best.description, 90)}\n")
    pace = f", {3600 / summary.pace:.0f} an hour" if summary.pace else ""
    spent = format_duration(summary.seconds)
    text.append(f"{summary.experiments} experiments in {spent}{pace}, ")
    text.append(f"{summary.keep_rate:.0%} kept")
    for verdict in (Verdict.CRASH, Verdict.TIMEOUT, Verdict.INVALID, Verdict.STALE):
        if count := summary.verdicts.get(verdict):
            text.append(f", {count} {verdict}")
    if summary.stop_reason:
        text.append(f"\nstopped: {one_line(summary.stop_reason, 300)}")
    return text


def sparkline(summary: Summary, width: int = 60) -> str:
    """The recent experiments' scores as blocks: taller is better."""
    scores = [summary.metric.orient(e.score) for e in summary.recent if e.score is not None]
    scores = scores[-width:]
    if len(scores) < 2 or max(scores) == min(scores):
        return ""
    low, high = min(scores), max(scores)
    return "".join(_BLOCKS[int((s - low) / (high - low) * (len(_BLOCKS) - 1))] for s in scores)


def _running(summary: Summary) -> RenderableType:
    running = summary.running
    if running is None:
        return Text("between experiments", style="dim")
    elapsed = (datetime.now(UTC) - running.since).total_seconds()
    words = one_line(running.description, 60) or "the agent thinks"
    line = Table.grid(padding=(0, 1))
    cells: list[RenderableType] = [Text(f"now  #{running.n} {words}", style="cyan")]
    if running.phase == "measuring":
        budget = summary.arena.run.budget
        cells.append(ProgressBar(total=budget, completed=min(elapsed, budget), width=20))
        left = max(budget - elapsed, 0)
        clock = "of processor time " if summary.arena.run.clock == "cpu" else ""
        cells.append(Text(f"{elapsed:.0f} s, about {left:.0f} s {clock}left"))
    else:
        cells.append(Text(f"{elapsed:.0f} s"))
    line.add_row(*cells)
    return line


def results_table(experiments: Iterable[Experiment], metric: Metric) -> Table:
    """Experiments as a table, in the order given."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("n", "verdict", metric.name, "gain", "time"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for e in experiments:
        words = one_line(e.description, 160)
        if e.verdict in (Verdict.CRASH, Verdict.TIMEOUT, Verdict.INVALID, Verdict.STALE):
            words += f" — {one_line(e.reason, 100)}"
        table.add_row(
            str(e.n),
            Text(e.verdict or "under way", style=_COLOURS.get(e.verdict, "red")),
            "" if e.score is None else f"{e.score:.6g}",
            "" if e.gain is None else f"{e.gain:+.4g}",
            "" if e.seconds is None else format_duration(e.seconds),
            Text(words),
        )
    return table


def experiment_text(e: Experiment, arena: Arena) -> Text:
    """Everything about one experiment, for a person."""
    text = Text()
    text.append(f"#{e.n} {one_line(e.description)}\n", style="bold")
    if e.hypothesis:
        text.append(f"{one_line(e.hypothesis, 2000)}\n")
    text.append(f"verdict    {e.verdict or 'under way'}\n")
    for line in e.reason.splitlines()[:30]:
        text.append(f"           {one_line(line, 400)}\n")
    if e.score is not None:
        text.append(f"score      {arena.metric.name} {e.score:.6g}")
        text.append(f", gain {e.gain:+.6g}\n" if e.gain is not None else "\n")
    text.append(
        f"agent      {one_line(e.agent)}\ncandidate  {e.candidate}\nparent     {e.parent}\n"
    )
    for m in e.measurements:
        stages = ", ".join(f"{name} {s:.2f} s" for name, s in m.stage_seconds.items())
        text.append(
            f"measured   seed {m.seed}: {m.outcome} {m.score}  ({stages}; .overnight/{m.log})\n"
        )
        numbers = "  ".join(f"{one_line(name)} {value:.6g}" for name, value in m.numbers.items())
        text.append(f"           {numbers}\n")
    if e.dropped:
        text.append(f"dropped    {one_line(', '.join(e.dropped), 1000)}\n")
    return text


def last_screen(summary: Summary, files: Sequence[Path], console: Console) -> None:
    """In plain words what was gained and where to look."""
    text = Text()
    text.append(summary.gained + ".\n", style="bold green")
    if summary.arena.score is None:
        text.append("These scores are self-reported: no referee checked them.\n", style="yellow")
    for e in summary.wins[-_SHOWN:]:
        text.append(f"  #{e.n}  {e.gain:+.4g}  {one_line(e.description, 100)}\n")
    text.append(f"\nIt stopped because {one_line(summary.stop_reason or 'it was closed', 300)}.\n")
    text.append(f"The branch {summary.branch} holds only the wins. To take them:\n")
    text.append(f"  cd '{summary.arena.root}' && git merge {summary.branch}\n")
    text.append("Look at:\n")
    for file in files:
        text.append(f"  {file}\n")
    if console.is_terminal:
        console.print(Panel(text, title="overnight"))
    else:
        console.print(text, soft_wrap=True)
