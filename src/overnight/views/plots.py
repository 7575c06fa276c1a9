"""Draws progress.png, with a dot for each experiment, labels on wins and a line of the best so far,
and holdout.png, with the gains by the referee and by the final exam.

Importing this file loads matplotlib, which takes half a second: import it only to draw.
"""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, IdentityTransform

from overnight.arena.arena import Arena
from overnight.arena.settings import Metric
from overnight.core.experiment import FAILED, Experiment, Verdict
from overnight.core.text import one_line
from overnight.insights.overfitting import OVERFITTED, Gap
from overnight.views.summary import NO_SANDBOX, SELF_REPORTED, direction_words, scale

_GREY, _GREEN, _RED, _INK = "#9aa0a6", "#009e73", "#d55e00", "#3c4043"
_BLUE = "#0072b2"
_MOST_LABELS = 12
_FONTS = ["DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Noto Emoji"]
_PIXELS = IdentityTransform()
_HUGE = 1e300
"""Larger numbers overflow in matplotlib's axes."""

_Point = tuple[float, float]
_Points = Sequence[_Point]
_Place = tuple[Bbox, tuple[_Point, _Point]]
"""Where a label is drawn: the box of its text, and the line from its dot."""


def draw(experiments: Sequence[Experiment], arena: Arena, path: Path, title: str) -> None:
    """Draw the finished experiments of a campaign, oldest first, into a PNG of 1540 by 840 pixels,
    which is replaced atomically."""
    words = textwrap.fill(one_line(f"{arena.name}: {title}", 300), 105)
    if arena.score is None:
        words += f"\n{SELF_REPORTED}"
    if any("no sandbox" in e.caveats for e in experiments):
        words += f"\n{NO_SANDBOX}"
    with _figure(path, words, 6) as figure:
        _draw_all(figure, [e for e in experiments if e.verdict is not None], arena)


def draw_gap(gap: Gap, arena: Arena, path: Path) -> None:
    """Draw the gains over the baseline by the referee and by the final exam into a PNG of 1540 by
    630 pixels, which is replaced atomically. The scores themselves may have different levels."""
    words = one_line(f"{arena.name}: the final exam beside the referee", 100)
    if gap.overfitted:
        words += f"\nWarning: {OVERFITTED}"
    with _figure(path, words, 4.5) as figure:
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axhline(0, color=_GREY, linewidth=0.8)
        axes.grid(axis="y", alpha=0.25)
        axes.set_xlabel("experiment")
        unit = one_line(arena.metric.unit, 40)
        axes.set_ylabel(f"gain{f' ({unit})' if unit else ''}, higher is better", parse_math=False)
        _draw_gains(axes, gap)
        figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=8)


def _draw_gains(axes: Axes, gap: Gap) -> None:
    numbers = [s.experiment.n for s in gap.sittings]
    gains = (gap.gains_of(s) or (0.0, 0.0) for s in gap.sittings)
    referee, exam = zip(*(map(_drawable, pair) for pair in gains), strict=True)
    # The baseline's gain is 0 by definition; its noise is in the error bars of the others.
    errors = [(gap.errors_of(s) if s.experiment.n else None) or (0.0, 0.0) for s in gap.sittings]
    if (lost := [one > other for one, other in zip(referee, exam, strict=True)]) and any(lost):
        axes.fill_between(
            numbers, referee, exam, where=lost, interpolate=True,
            color=_RED, alpha=0.1, linewidth=0, label="gain that is missing on the exam",
        )  # fmt: skip
    shift = numbers[-1] / 250  # so that no bar hides another
    bars = " (bars: one standard error)" if gap.noise.differences else ""
    for curve, side, x, colour, style, label in (
        (referee, 0, numbers, _GREEN, "o-", f"referee{bars}"),
        (exam, 1, [n + shift * bool(n) for n in numbers], _RED, "s--", "final exam"),
    ):
        axes.errorbar(
            x, curve, [pair[side] for pair in errors], fmt=style, color=colour, label=label,
            markersize=5, capsize=2, elinewidth=0.8, linewidth=1.6,
        )  # fmt: skip


@contextmanager
def _figure(path: Path, words: str, height: float) -> Iterator[Figure]:
    """A figure of 11 by `height` inches with a title; it is written as a PNG on exit."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _any_script():
        figure = Figure(figsize=(11, height), dpi=140, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(words, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
        yield figure
        figure.savefig(temporary, format="png")
    os.replace(temporary, path)


@contextmanager
def _any_script() -> Iterator[None]:
    """Use fonts for as many scripts as are installed; a box replaces what no font has."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    with warnings.catch_warnings(), rc_context({"font.family": [f for f in _FONTS if f in known]}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _draw_all(figure: Figure, experiments: Sequence[Experiment], arena: Arena) -> None:
    last = max((e.n for e in experiments), default=0)
    size = 30 if last < 300 else 9
    failed = [e for e in experiments if e.verdict in FAILED]
    compared = [e for e in experiments if e.verdict not in FAILED and e.score is not None]
    kinds = [verdict for verdict in FAILED if any(e.verdict is verdict for e in failed)]
    heights = [24, len(kinds)] if kinds else [24]
    rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(-0.02 * last - 0.2, max(1.02 * last, 3) + 0.2)
        axes.xaxis.get_major_locator().set_params(integer=True)
    rows[-1].set_xlabel("experiment")
    if kinds:
        _draw_failures(rows[1], failed, kinds, size)
    _draw_scores(rows[0], compared, arena.metric, size)
    if line := _corners([_point(e) for e in compared if e.kept], last):
        rows[0].plot(*_columns(line), color=_GREEN, linewidth=1.6, label="best so far")
        figure.legend(loc="outside lower right", ncols=5, frameon=False, fontsize=8)
        figure.draw_without_rendering()  # fixes the layout that labels need
        _label_wins(rows[0], compared, line, up=arena.metric.orient(1.0))


def _draw_failures(
    axes: Axes, failed: Sequence[Experiment], kinds: Sequence[Verdict], size: int
) -> None:
    """A strip with a row for each kind of failure, which has no score."""
    rows = [kinds.index(e.verdict) for e in failed if e.verdict]
    axes.scatter([e.n for e in failed], rows, s=size, c=_RED, marker="x", linewidths=1)
    axes.set_yticks(range(len(kinds)), kinds, fontsize=8, color=_RED)
    axes.set_ylim(len(kinds) - 0.4, -0.6)


def _draw_scores(axes: Axes, compared: Sequence[Experiment], metric: Metric, size: int) -> None:
    unit = f" ({metric.unit})" if metric.unit else ""
    words = one_line(f"{metric.name}{unit}, {direction_words(metric)}", 80)
    axes.set_ylabel(words, parse_math=False)
    bounds = scale(compared, metric)
    if bounds is None:
        axes.set_yticks([])
        return
    worst, best = map(metric.orient, bounds)
    low, high = _limits(worst, best, up=metric.orient(1.0))
    axes.set_ylim(low, high)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(axis="y", alpha=0.25)
    provisional = [_point(e) for e in compared if e.verdict is Verdict.PROVISIONAL]
    points = [_point(e) for e in compared if e.verdict is Verdict.DISCARD]
    _dots(axes, [p for p in points if low <= p[1] <= high], size, "o", "discarded")
    above = [(n, high) for n, score in points if score > high]
    below = [(n, low) for n, score in points if score < low]
    _dots(axes, above, size, "^", "off the scale")
    # A label that begins with an underscore is not in the legend.
    _dots(axes, below, size, "v", "_" if above else "off the scale")
    _dots(axes, provisional, 2 * size, "D", "provisional, not confirmed", _BLUE)
    others = [_point(e) for e in compared if e.kept and e.n and not e.won]
    _dots(axes, others, size, "o", "kept with a win, or as simpler", _GREEN)
    wins = [_point(e) for e in compared if e.won or (e.kept and not e.n)]
    _dots(axes, wins, 2 * size, "o", "kept", _GREEN)


def _drawable(number: float) -> float:
    return min(max(number, -_HUGE), _HUGE)


def _limits(worst: float, best: float, up: float) -> tuple[float, float]:
    """The axis' lower and upper end, with room for labels beyond the best score."""
    worst, best = map(_drawable, (worst, best))
    margin = (best - worst) / 10 or up * (abs(best) / 10 or 1.0)
    ends = worst - margin, best + 3 * margin
    return min(ends), max(ends)


def _dots(
    axes: Axes, points: _Points, size: int, marker: str, label: str, colour: str = _GREY
) -> None:
    if points:
        x, y = _columns(points)
        alpha = 0.7 if colour == _GREY else 1.0
        dots = axes.scatter(x, y, s=size, c=colour, marker=marker, label=label, alpha=alpha)
        dots.set(linewidths=0, clip_on=False, zorder=3)


def _point(e: Experiment) -> _Point:
    assert e.score is not None
    return float(e.n), e.score


def _columns(points: _Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _corners(kept: _Points, last: int) -> _Points:
    """The line of the best so far: each keep holds until the next one."""
    corners: list[_Point] = []
    for (n, score), (until, _) in pairwise([*kept, (last, 0.0)]):
        corners += [(n, score), (until, score)]
    return corners


def _label_wins(axes: Axes, compared: Sequence[Experiment], line: _Points, up: float) -> None:
    """Label the largest wins where the text hides no line, no dot and no other label. `up` is 1 if
    larger scores are better, else -1: there is most room on the better side of the line."""
    lines = [_box(start, end).padded(3) for start, end in pairwise(_pixels(axes, line))]
    dots = _pixels(axes, [_point(e) for e in compared])
    wins = sorted((e for e in compared if e.won), key=lambda e: -(e.claim or 0.0))
    choices: list[tuple[Text, list[_Place]]] = []
    for e in sorted(wins[:_MOST_LABELS], key=lambda e: e.n):
        note = _note(axes, e)
        (dot,) = _pixels(axes, [_point(e)])
        free = [
            (text, leader)
            for text, leader in _places(dot, note.get_window_extent(), up)
            if axes.bbox.count_contains(text.corners()) == 4
            and not text.count_overlaps(lines)
            and not text.padded(5).count_contains(dots)
        ]
        choices.append((note, free))
    # Place labels in both orders and keep the result with more of them.
    chosen = max((_chosen(order) for order in (choices, choices[::-1])), key=len)
    for note, _ in choices:
        if note not in chosen:
            note.remove()
    for note, (text, leader) in chosen.items():
        note.set_position((text.x0, text.y0))
        axes.add_artist(Line2D(*_columns(leader), color=_GREY, linewidth=0.6, transform=_PIXELS))


def _chosen(choices: Sequence[tuple[Text, list[_Place]]]) -> dict[Text, _Place]:
    """A place for each label in turn, if those before it leave one free."""
    labels: list[Bbox] = []
    chosen = {}
    for note, places in choices:
        for text, leader in places:
            if not text.count_overlaps(labels) and not _box(*leader).count_overlaps(labels):
                chosen[note] = text, leader
                labels += [text, _box(*leader)]
                break
    return chosen


def _pixels(axes: Axes, points: _Points) -> _Points:
    return [(float(x), float(y)) for x, y in axes.transData.transform(points)]


def _note(axes: Axes, e: Experiment) -> Text:
    words = f"#{e.n} {one_line(e.description, 42)}"
    # An agent's text must not be parsed as a formula.
    note = axes.text(0, 0, words, fontsize=7.5, color=_INK, parse_math=False)
    note.set(transform=_PIXELS, in_layout=False)
    return note


def _places(dot: _Point, size: Bbox, up: float) -> Iterator[_Place]:
    """Places for a label, in pixels: the better side first, and there the nearest first."""
    for side, distance, right in product((up, -up), range(12, 160, 12), (-1, 1)):
        near = dot[0] + 6 * right, dot[1] + side * distance
        far = near[0] + size.width * right, near[1] + side * size.height
        yield _box(near, far), (dot, near)


def _box(one: _Point, other: _Point) -> Bbox:
    (left, right), (low, high) = (sorted(ends) for ends in zip(one, other, strict=True))
    return Bbox.from_extents(left, low, right, high)
