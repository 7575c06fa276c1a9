"""Draws power.png: the chance that a gain is kept, over its size."""

from __future__ import annotations

from matplotlib.figure import Figure

from overnight.core.text import one_line
from overnight.views.power import Night

_GREEN, _GREY = "#009e73", "#9aa0a6"


def draw_power(night: Night) -> None:
    """Draw the chances into the night's picture; its noise must be above 0."""
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    sigmas = [step / 20 for step in range(101)]
    rows = [night.row(s) for s in sigmas]
    unit = f" ({night.metric.unit})" if night.metric.unit else ""
    axes.plot([row.gain for row in rows], [row.chance for row in rows], color=_GREEN, linewidth=2)
    axes.axvline(night.visible, color=_GREY, linewidth=1, linestyle="--")
    axes.annotate(
        f"{night.visible:.3g}: kept in four of five campaigns",
        (night.visible, 0.06),
        xytext=(6, 0),
        textcoords="offset points",
        fontsize=9,
    )
    axes.set_xlabel(one_line(f"true gain in {night.metric.name}{unit}", 80), parse_math=False)
    axes.set_ylabel("chance that it is kept")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, rows[-1].gain)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.25)
    axes.spines["right"].set_visible(False)
    upper = axes.twiny()
    upper.set_xlim(0, rows[-1].sigmas)
    upper.spines["right"].set_visible(False)
    upper.set_xlabel("in standard deviations of one measurement (sigmas)")
    night.folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(night.picture)
