"""Draws what each rule keeps and claims, over the true gain of a candidate: docs/judging.png."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from judge import TABLES, lone_gain, many

GAINS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]
COLOURS = {"greedy": "#d55e00", "threshold": "#9aa0a6", "confirm": "#009e73"}
PICTURE = Path("build") / "judging.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="campaigns for each point")
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    times = given.times
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    kept, claims = figure.subplots(1, 2)
    for rule in TABLES:
        found = [many(lone_gain, times, rule, "Gaussian", gain) for gain in GAINS]
        chances = [
            sum(s.false if not gain else s.true >= gain for s in scores) / times
            for gain, scores in zip(GAINS, found, strict=True)
        ]
        claimed = [sum(s.claimed for s in scores) / times for scores in found]
        true = [sum(s.true for s in scores) / times for scores in found]
        kept.plot(GAINS[1:], chances[1:], color=COLOURS[rule], marker="o", label=rule)
        kept.plot(0, chances[0], color=COLOURS[rule], marker="X", markersize=9, clip_on=False)
        claims.plot(true, claimed, color=COLOURS[rule], marker="o", label=rule)
        print(
            rule, *(f"{gain:g}:{chance:.3f}" for gain, chance in zip(GAINS, chances, strict=True))
        )
    kept.set(
        xlabel="true gain of one candidate in 20, in sigmas",
        ylabel="campaigns that keep it  (cross: that keep luck)",
    )
    claims.plot([0, 5], [0, 5], color="#3c4043", linewidth=0.8, linestyle="--")
    claims.set(xlabel="true gain of the campaign, in sigmas", ylabel="what it claims")
    for axes in (kept, claims):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out)
    print(given.out)


if __name__ == "__main__":
    main()
