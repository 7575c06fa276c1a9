"""Experiments, agents and replays as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, OverflowMethod
from rich.table import Table
from rich.text import Text

from overnight.arena.arena import Arena
from overnight.arena.settings import Metric
from overnight.core.experiment import FAILED, Experiment, Purpose, Verdict
from overnight.core.quantity import format_count, format_dollars, format_duration
from overnight.core.spending import Spent
from overnight.core.text import one_line
from overnight.insights.readings import charges_of
from overnight.insights.track_record import TrackRecord, held, measured_gain
from overnight.views.summary import median_of, score_words

if TYPE_CHECKING:  # each takes long to import
    from overnight.agents.roster import Entry
    from overnight.campaign.ablation import Ablated
    from overnight.campaign.replay import Replay
    from overnight.doctor.rehearsal import Rehearsal

_COLOURS = {
    Verdict.KEEP: "green",
    Verdict.PROVISIONAL: "cyan",
    Verdict.DISCARD: "bright_black",
    None: "yellow",
}
_KINDS = {
    Purpose.JUDGE: "measured",
    Purpose.HOLDOUT: "final exam",
    Purpose.REPLAY: "replay",
    Purpose.ABLATION: "ablation",
    Purpose.CHECK: "checked",
}

_LEAST_NAME = 16
"""Fewest characters for an agent's name; columns are left out to make room for it."""
_GAP = 2
"""Characters between columns."""


def plain_line(e: Experiment, metric: Metric, why: bool = True) -> str:
    """One experiment on one line: `#12 keep val_bpb 1.748 (+0.031) 21 s  DEPTH 4 → 2`. With `why`,
    a failure's reason follows."""
    score = f" {metric.name} {score_words(e)}" if e.score is not None else ""
    gain = f" ({e.claim:+.4g})" if e.claim is not None else ""
    seconds = f" {format_duration(e.seconds)}" if e.seconds is not None else ""
    return f"#{e.n} {e.verdict or 'under way'}{score}{gain}{seconds}  {_what(e, why)}"


def _what(e: Experiment, why: bool = True) -> str:
    """The description, the caveats and, with `why`, the reason of a failure."""
    scoreless = e.verdict in FAILED or e.score is None
    reason = f" — {one_line(e.reason, 120)}" if why and scoreless and e.reason else ""
    caveats = f" ({', '.join(e.caveats)})" if e.caveats else ""
    return one_line(e.description, 160) + caveats + reason


def results_table(
    experiments: Iterable[Experiment], metric: Metric, one_line_each: bool = False
) -> Table:
    """Experiments as a table, in the order given; long descriptions are wrapped, or cut with
    `one_line_each`. The column `measured` says of how many measurements a score is
    the median."""
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=one_line_each)
    shown = list(experiments)
    costs = ["cost"] if any(e.usage.dollars for e in shown) else []
    measured = ["measured"] if any(map(median_of, shown)) else []
    for name in ("n", "verdict", metric.name, *measured, "gain", "time", *costs):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    overflow: OverflowMethod = "ellipsis" if one_line_each else "fold"
    ratio = 1 if one_line_each else None
    table.add_column("what", overflow=overflow, no_wrap=one_line_each, ratio=ratio)
    for e in shown:
        table.add_row(
            str(e.n),
            Text(e.verdict or "under way", style=_COLOURS.get(e.verdict, "red")),
            "" if e.score is None else f"{e.score:.6g}",
            *(str(median_of(e) or "") for _ in measured),
            "" if e.claim is None else f"{e.claim:+.4g}",
            "" if e.seconds is None else format_duration(e.seconds),
            *(_cost(e) for _ in costs),
            Text(_what(e)),
        )
    return table


def _cost(e: Experiment) -> str:
    """The cost of its proposal; empty when that was free."""
    if e.usage.dollars is None:
        return "unknown" if e.n and e.verdict else ""
    return format_dollars(e.usage.dollars) if e.usage.dollars else ""


def experiment_text(e: Experiment, arena: Arena) -> Text:
    """Everything about one experiment, for the terminal."""
    text = Text()
    text.append(f"#{e.n} {one_line(e.description)}\n", style="bold")
    if e.hypothesis:
        text.append(f"{one_line(e.hypothesis, 2000)}\n")
    text.append(f"verdict    {e.verdict or 'under way'}\n")
    for line in e.reason.splitlines()[:30]:
        text.append(f"           {one_line(line, 400)}\n")
    if e.score is not None:
        text.append(f"score      {arena.metric.name} {score_words(e)}")
        text.append(f", gain {e.claim:+.6g}" if e.claim is not None else "")
        low, high = e.interval or (None, None)
        text.append("\n" if low is None else f", 95 % interval {low:+.4g} to {high:+.4g}\n")
    if e.expected is not None:
        text.append(f"expected   {expectation_words(e)}\n")
    if e.score is not None and (charges := charges_of(arena, e)):
        words = ", ".join(f"{cost:.4g} for {name}" for name, cost in charges.items())
        counts = arena.metric.orient(arena.metric.orient(e.score) - sum(charges.values()))
        text.append(f"           counts as {counts:.6g}: soft constraints cost {words}\n")
    if e.caveats:
        text.append(f"           {', '.join(e.caveats)}\n", style="yellow")
    text.append(f"agent      {one_line(e.agent)}\n")
    if e.n and e.verdict and not (spent := Spent.of(e)).free:
        text.append(f"spent      {spent.words}\n")
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


def expectation_words(e: Experiment) -> str:
    """`+0.01, measured +0.004: not met`; without a result, the expected gain alone."""
    gain, met = measured_gain(e), held(e)
    if gain is None or met is None:
        return f"{e.expected:+.4g}"
    what = f"measured {gain:+.4g}" if e.gain is not None or e.foreseen is not None else "failed"
    return f"{e.expected:+.4g}, {what}: {'met' if met else 'not met'}"


def agents_page(records: Sequence[TrackRecord], metric: Metric, width: int) -> Group:
    """A table of what each agent has achieved and used, and below it how well its expectations were
    met. To fit into `width` characters, names are wrapped and the last columns left out."""
    spent = [r.spent for r in records]
    columns = {
        "kept": [f"{r.kept:,} of {r.experiments:,} ({r.keep_rate:.0%})" for r in records],
        f"gain\n({metric.unit})" if metric.unit else "gain": [
            f"{r.gain:+.4g}" if r.kept > r.members else "" for r in records
        ],
        "tokens": [_known(format_count(s.tokens) if s.counted else "", s.uncounted) for s in spent],
        "dollars": [_known(f"{s.dollars:.2f}" if s.priced else "", s.unpriced) for s in spent],
        "minutes": [f"{s.thought / 60:.1f}" for s in spent],
    }
    while columns and sum(map(_wide, columns.items())) + _LEAST_NAME + _GAP > width:
        columns.popitem()
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("agent", overflow="fold")
    for header in columns:
        table.add_column(Text(header), justify="right", no_wrap=True)
    for r, *cells in zip(records, *columns.values(), strict=True):
        table.add_row(Text(one_line(r.agent)), *map(Text, cells))
    expectations = [
        Text(f" {one_line(r.agent)}, expected gains: {r.calibration}")
        for r in records
        if r.calibration
    ]
    return Group(table, *expectations)


def _wide(column: tuple[str, Sequence[str]]) -> int:
    """Characters that a column takes, with the gap."""
    header, cells = column
    return _GAP + max(cell_len(line) for cell in (header, *cells) for line in cell.split("\n"))


def roster_lines(entries: Sequence[Entry]) -> Text:
    """One line for each agent: its name, whether it is ready, and what is missing."""
    text = Text()
    width = max(len(e.name) for e in entries)
    for e in entries:
        text.append(f"{one_line(e.name):<{width}}  ", style="bold")
        text.append("ready      " if e.ready else "not ready  ", style="green" if e.ready else "")
        text.append(f"{one_line(e.words)}\n")
    text.right_crop(1)
    return text


def rehearsal_text(name: str, rehearsal: Rehearsal) -> str:
    """Whether an agent works, and what it used."""
    e, transcript = rehearsal.experiment, rehearsal.transcript
    if rehearsal.words and e and e.candidate:
        return f"{name} changed the file, but not as asked: {rehearsal.words}"
    if rehearsal.words or e is None:
        said = f"\nIts last output:\n{transcript}" if transcript else ""
        return f"{name} made no change: {rehearsal.words}{said}"
    took = [format_duration(e.thought or 0.0)]
    if tokens := (e.usage.tokens_in or 0) + (e.usage.tokens_out or 0):
        cost = "cost unknown" if e.usage.dollars is None else f"${e.usage.dollars:.4f}"
        took += [f"{tokens:,} tokens", cost]
    return f"{name} works: it changed the file as asked ({', '.join(took)})."


def _known(total: str, unknown: int) -> str:
    """`3.20`, `unknown`, or `3.20` with `+ 12 unknown` on a second line."""
    if not unknown:
        return total
    return f"{total}\n+ {unknown:,} unknown" if total else "unknown"


def replay_text(replay: Replay) -> Text:
    """The scores that count for a candidate, beside those of its replay."""
    e, text = replay.experiment, Text()
    text.append(f"#{e.n} {one_line(e.description)}\n", style="bold")
    text.append(f"verdict     {e.verdict or 'under way'}, which stands\n")
    for label, scores in (("before", replay.before), ("now", replay.scores)):
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


def ablated_line(found: Ablated) -> str:
    """The effect of taking one win back, on one line."""
    gain = "" if found.gain is None else f" ({found.gain:+.4g} with it)"
    words = one_line(f"{found.description} — {found.words}", 240)
    return f"#{found.n} {found.weight}{gain}  {words}"


def removal_text(found: Sequence[Ablated], branch: str) -> Text:
    """Which wins could be removed from the final program, and the commands for it."""
    idle = [ablated for ablated in found if ablated.weight == "none seen"]
    if not idle:
        return Text("Every win that could be taken back makes a measurable difference.\n")
    numbers = ", ".join(f"#{a.n}" for a in idle)
    text = Text(f"No loss was seen without {numbers}. To remove them:\n")
    text.append(f"  git switch {branch}\n")
    for ablated in reversed(idle):
        text.append(f"  git revert {ablated.commit[:10]}\n")
    return text.append("Remove one, then measure again: each may do the work of another.\n")
