"""The terminal view: live while a campaign runs, plain lines where there is no terminal."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from overnight.ablation import Ablated, Weight
from overnight.arena import Arena
from overnight.errors import OvernightError
from overnight.experiment import Experiment, Purpose, Verdict
from overnight.gap import OVERFITTED, Gap
from overnight.ledger import Ledger
from overnight.message import one_line
from overnight.quantity import format_duration
from overnight.replay import Replay
from overnight.standing import charges_of
from overnight.summary import FAILED, Left, Summary, counted, direction_words, scale, summarize
from overnight.tables import Metric, Run

_COLOURS = {
    Verdict.KEEP: "green",
    Verdict.PROVISIONAL: "cyan",
    Verdict.DISCARD: "bright_black",
    None: "yellow",
}
_KINDS = {
    Purpose.JUDGE: "measured",
    Purpose.HOLDOUT: "holdout",
    Purpose.REPLAY: "replay",
    Purpose.ABLATION: "ablation",
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 20
_SHOWN = 8


def plain_line(e: Experiment, metric: Metric, why: bool = True) -> str:
    """One experiment on one line: `#12 keep val_bpb 1.748 (+0.031) 21 s  DEPTH 4 → 2`; of a
    failure also why, if that is wanted."""
    score = f" {metric.name} {e.score:.6g}" if e.score is not None else ""
    gain = f" ({e.claim:+.4g})" if e.claim is not None else ""
    seconds = f" {format_duration(e.seconds)}" if e.seconds is not None else ""
    return f"#{e.n} {e.verdict or 'under way'}{score}{gain}{seconds}  {_what(e, why)}"


def _what(e: Experiment, why: bool = True) -> str:
    """What was changed and, of a failure, why it failed."""
    scoreless = e.verdict in FAILED or e.score is None
    reason = f" — {one_line(e.reason, 120)}" if why and scoreless and e.reason else ""
    caveats = f" ({', '.join(e.caveats)})" if e.caveats else ""
    return one_line(e.description, 160) + caveats + reason


class LiveView:
    """Shows a campaign while it runs. Use it as a context manager; a fault of the view is shown
    in the view and never reaches the campaign.

    Without a terminal: a line per experiment, and one whenever `quiet_seconds` pass without any.
    """

    def __init__(
        self, arena: Arena, tag: str, console: Console, quiet_seconds: float = 180.0
    ) -> None:
        self._arena = arena
        self._tag = tag
        self._console = console
        self._quiet_seconds = quiet_seconds
        self._ledger = Ledger.at(arena.ledger_place, arena.name)
        self._spoke = threading.Event()
        self._over = False
        self._heart: threading.Thread | None = None
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._render, console=console, refresh_per_second=2, transient=True
            )
        else:
            self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def observe(self, experiment: Experiment) -> None:
        """An experiment has finished."""
        if self._heart is not None:
            self._say(plain_line(experiment, self._arena.metric))
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
                self._say(f"… {self._sign_of_life()}")

    def _sign_of_life(self) -> str:
        try:
            return running_text(summarize(self._arena, self._ledger, self._tag)).plain
        except OvernightError as error:
            return f"the ledger cannot be read just now: {error}"

    def _render(self) -> RenderableType:
        try:
            return screen(summarize(self._arena, self._ledger, self._tag))
        except OvernightError as error:
            return Text(f"the ledger cannot be read just now: {error}")

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
        self._ledger.close()


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
    if summary.riders:
        yield "came along", Text(rider_words(summary))
    if summary.provisional:
        yield "provisional", Text(provisional_words(summary), style="cyan")
    for words in summary.arena.uncharged(summary.baseline.judged) if summary.baseline else ():
        yield "", Text(words, style="yellow")
    if summary.noise_words:
        yield "noise", Text(summary.noise_words)
    if summary.experiments:
        tried = counted(summary.experiments, "experiment")
        yield "so far", Text(f"{tried} in {format_duration(summary.seconds)}: {summary.tally}")
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


def rider_words(summary: Summary) -> str:
    """Which keeps are on the branch without being wins."""
    numbers = ", ".join(f"#{e.n}" for e in summary.riders)
    return f"{numbers}: confirmed with wins, not shown to add anything; `overnight ablate` tells"


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
    words = one_line(running.description, 100) or "the agent thinks"
    text = Text(f"{number}{words}", style="cyan")
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


def results_table(
    experiments: Iterable[Experiment], metric: Metric, one_line_each: bool = False
) -> Table:
    """Experiments as a table, in the order given; long words are folded, or cut to one line."""
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=one_line_each)
    for name in ("n", "verdict", metric.name, "gain", "time"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    overflow: OverflowMethod = "ellipsis" if one_line_each else "fold"
    ratio = 1 if one_line_each else None
    table.add_column("what", overflow=overflow, no_wrap=one_line_each, ratio=ratio)
    for e in experiments:
        table.add_row(
            str(e.n),
            Text(e.verdict or "under way", style=_COLOURS.get(e.verdict, "red")),
            "" if e.score is None else f"{e.score:.6g}",
            "" if e.claim is None else f"{e.claim:+.4g}",
            "" if e.seconds is None else format_duration(e.seconds),
            Text(_what(e)),
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
        text.append(f", gain {e.claim:+.6g}" if e.claim is not None else "")
        text.append(f" [{e.interval[0]:+.4g}, {e.interval[1]:+.4g}]\n" if e.interval else "\n")
    if e.score is not None and (charges := charges_of(arena, e)):
        words = ", ".join(f"{cost:.4g} for {name}" for name, cost in charges.items())
        counts = arena.metric.orient(arena.metric.orient(e.score) - sum(charges.values()))
        text.append(f"           counts as {counts:.6g}: soft constraints cost {words}\n")
    if e.caveats:
        text.append(f"           {', '.join(e.caveats)}\n", style="yellow")
    text.append(f"agent      {one_line(e.agent)}\n")
    text.append(f"candidate  {e.candidate or 'none'}\nparent     {e.parent or 'none'}\n")
    for m in e.measurements:
        score = "" if m.score is None else f" {m.score:.6g}"
        stages = "".join(f", {name} {format_duration(s)}" for name, s in m.stage_seconds.items())
        kind = _KINDS[m.purpose]
        text.append(f"{kind:<10} seed {m.seed}: {m.outcome}{score}{stages}\n")
        for label, numbers in (("numbers", m.numbers), ("reported", m.reported)):
            if numbers:
                words = "  ".join(
                    f"{one_line(name)} {value:.6g}" for name, value in numbers.items()
                )
                text.append(f"  {label:<9}{words}\n")
        text.append(f"  logs     {arena.state / m.log}\n" if m.log else "")
    if e.dropped:
        text.append(f"dropped    {one_line(', '.join(e.dropped), 1000)}\n")
    return text


def replay_text(replay: Replay) -> Text:
    """What judged a candidate, and what it has now."""
    e, text = replay.experiment, Text()
    text.append(f"#{e.n} {one_line(e.description)}\n", style="bold")
    text.append(f"verdict     {e.verdict or 'under way'}, which stands\n")
    for label, scores in (("before", e.scores), ("now", replay.scores)):
        words = ", ".join(f"{score:.6g}" for score in scores)
        text.append(f"{label:<11} {words or 'no score'}\n")
    for m in replay.taken:
        if m.score is None:
            text.append(f"            seed {m.seed}: {m.outcome}: {one_line(m.detail)}\n")
    if replay.mean is not None:
        spread = "" if replay.spread is None else f", standard deviation {replay.spread:.3g}"
        text.append(f"mean        {replay.metric.name} {replay.mean:.6g}{spread}\n")
    if replay.difference is not None:
        word = "better" if replay.difference > 0 else "worse" if replay.difference < 0 else "same"
        text.append(f"difference  {replay.difference:+.6g} ({word})\n")
    return text


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
        gain = "" if e.gain is None else f"{e.gain:+.4g}"
        text.append(f"  #{e.n}  {gain}  {one_line(e.description, 100)}\n")
    if len(summary.wins) > _SHOWN:
        text.append(f"  and {counted(len(summary.wins) - _SHOWN, 'earlier win')}\n")
    if summary.riders:
        text.append(f"  {rider_words(summary)}\n", style="dim")
    if summary.provisional:
        text.append(f"  {provisional_words(summary)}\n", style="cyan")
    text.append(f"\nIt stopped: {one_line(summary.stop_reason or 'it was closed', 300)}\n")
    if summary.wins:
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


def ablated_line(found: Ablated) -> str:
    """One win taken back, on one line."""
    gain = "" if found.gain is None else f" ({found.gain:+.4g} with it)"
    words = one_line(f"{found.description} — {found.words}", 240)
    return f"#{found.n} {found.weight}{gain}  {words}"


def removal_text(found: Sequence[Ablated], branch: str) -> Text:
    """What could be taken out of the final program, and how."""
    idle = [ablated for ablated in found if ablated.weight is Weight.NONE_SEEN]
    if not idle:
        return Text("Every win that could be taken back carries weight.\n")
    text = Text(f"Without a visible loss: {', '.join(f'#{a.n}' for a in idle)}. To remove them:\n")
    text.append(f"  git switch {branch}\n")
    for ablated in reversed(idle):
        text.append(f"  git revert {ablated.commit[:10]}\n")
    return text.append("One at a time: two of them may stand in for each other.\n")
