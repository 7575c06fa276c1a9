"""progress.png: every experiment a dot, wins labelled, the best so far a step line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from overnight.arena import Arena
from overnight.experiment import Experiment
from overnight.message import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _GREEN, _RED = "#9aa0a6", "#009e73", "#d55e00"
_MOST_LABELS = 12


def draw(experiments: Sequence[Experiment], arena: Arena, path: Path, title: str) -> None:
    """Draw the finished experiments of a campaign into a PNG, replaced atomically."""
    # Loaded late: it takes half a second, which no other command should pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_results(axes, experiments, arena)
    unit = f" ({arena.metric.unit})" if arena.metric.unit else ""
    better = "lower" if arena.metric.direction == "minimize" else "higher"
    axes.set_ylabel(f"{arena.metric.name}{unit}, {better} is better")
    axes.set_xlabel("experiment")
    source = ", self-reported" if arena.score is None else ""
    axes.set_title(f"{arena.name}{source}: {title}", loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    temporary = path.with_suffix(".part")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _draw_results(axes: Axes, experiments: Sequence[Experiment], arena: Arena) -> None:
    scored = [e for e in experiments if e.score is not None]
    kept = [e for e in scored if e.kept]
    others = [e for e in scored if not e.kept]
    failed = [e for e in experiments if e.score is None and e.verdict is not None]
    size = 30 if len(experiments) < 300 else 9
    last = max((e.n for e in experiments), default=1)
    if scored:
        _frame(axes, scored, arena)
    low, high = axes.get_ylim()
    axes.scatter(
        [e.n for e in others],
        [min(max(_score(e), low), high) for e in others],
        s=size,
        c=_GREY,
        alpha=0.7,
        linewidths=0,
        label="discarded",
    )
    if kept:
        steps = [e.n for e in kept] + [last]
        best = [_score(e) for e in kept] + [_score(kept[-1])]
        axes.step(steps, best, where="post", color=_GREEN, linewidth=1.6, label="best so far")
        axes.scatter([e.n for e in kept], best[:-1], s=size * 2, c=_GREEN, zorder=3, label="kept")
        _label(axes, kept[1:][-_MOST_LABELS:], arena)
    if failed:
        edge = high if arena.metric.direction == "minimize" else low
        axes.scatter(
            [e.n for e in failed],
            [edge] * len(failed),
            s=size,
            c=_RED,
            marker="x",
            clip_on=False,
            label="crashed, timed out or invalid",
        )
    axes.set_xlim(-0.5, last + max(1.0, 0.12 * last))
    axes.legend(frameon=False, fontsize=8, loc="best")


def _score(e: Experiment) -> float:
    assert e.score is not None
    return e.score


def _frame(axes: Axes, scored: Sequence[Experiment], arena: Arena) -> None:
    """The range of the axis: outliers on the bad side are drawn at its edge."""
    sign = 1 if arena.metric.direction == "minimize" else -1
    values = sorted(sign * _score(e) for e in scored)
    best, start = values[0], sign * _score(scored[0])
    spread = max(start - best, 2 * (median(values) - best), abs(best) * 1e-3, 1e-9)
    worst = min(values[-1], start + 1.5 * spread)
    bounds = sign * (best - 0.12 * spread), sign * (worst + 0.12 * spread)
    axes.set_ylim(min(bounds), max(bounds))


def _label(axes: Axes, wins: Sequence[Experiment], arena: Arena) -> None:
    """Descriptions beside the wins, on the side where the step line leaves room."""
    below = arena.metric.direction == "minimize"
    for place, e in enumerate(wins):
        axes.annotate(
            one_line(e.description, 42),
            (e.n, _score(e)),
            xytext=(7, (9 + 9 * (place % 2)) * (1 if below else -1)),
            textcoords="offset points",
            fontsize=7,
            color="#3c4043",
            # What an agent wrote is text, never a formula.
            parse_math=False,
        )
