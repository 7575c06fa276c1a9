"""What ending lost runs early saves, and whether it costs a win, on recorded curves.

nanogpt-curves.jsonl has curves of the nanogpt template, recorded on a machine with two cores:
`tuner`, a campaign of the built-in tuner with 15 s of processor time a run and pruning switched
off, in its order; and `hand`, 18 architectures by hand with 60 s a run, which have no order. A
campaign is played again with each rule: a candidate goes on to its end, or is ended at the first
point at which the rule calls it lost. Only what went to its end is learned from, and one in ten of
those that would be ended is let through. A win is a first score better than the incumbent's by
0.02, what the template's judge asks for.

Compute is the candidates' first runs; 100 % is every one to its end. Wins lost and controls are
per campaign. The order as recorded is played with many choices of the controls.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overnight.prune import EARLIEST, LEAST, Curve, Known, Pruning, is_control, value_at
from overnight.tables import Metric

CURVES = Path(__file__).with_name("nanogpt-curves.jsonl")
METRIC = Metric(name="val_bpb", direction="minimize")
GAIN = 0.02


@dataclass(frozen=True)
class Run:
    """One candidate. Values are oriented: larger is better."""

    first: Known
    """What may be ended early."""
    curves: Sequence[Curve]
    """Of all its measurements: one, or two when it was worth a second."""
    score: float
    """The judge's estimate, from all measurements."""
    kept: bool


Rule = Callable[[Sequence[Known], Run, Curve], bool]
"""Whether a run is lost: what is finished, the incumbent, and the curve so far."""


def learned(finished: Sequence[Known], incumbent: Run, curve: Curve) -> bool:
    """overnight's own."""
    reported = [(at, METRIC.orient(value)) for at, value in curve]
    pruning = Pruning(METRIC, finished, incumbent.curves, incumbent.score + GAIN)
    return pruning.lost(reported) is not None


def behind(margin: float) -> Rule:
    """Worse than the incumbent there by a margin that somebody has chosen."""

    def rule(finished: Sequence[Known], incumbent: Run, curve: Curve) -> bool:
        at, value = curve[-1]
        best = [v for one in incumbent.curves if (v := value_at(one, at)) is not None]
        return at >= EARLIEST and bool(best) and value < statistics.mean(best) - margin

    return rule


def median(finished: Sequence[Known], incumbent: Run, curve: Curve) -> bool:
    """Worse than half of the finished ones there: what many tuners do."""
    at, value = curve[-1]
    others = [v for k in finished if (v := value_at(k.curve, at)) is not None]
    return at >= EARLIEST and len(others) >= LEAST and value < statistics.median(others)


RULES: dict[str, Rule] = {
    "none": lambda *_: False,
    "learned": learned,
    "median": median,
    "margin 0.1": behind(0.1),
    "margin 0.05": behind(0.05),
    "margin 0.02": behind(0.02),
}


@dataclass
class Played:
    """How one campaign went."""

    used: float = 0.0
    """Share of the compute of all candidates."""
    wins: int = 0
    lost: int = 0
    prunes: int = 0
    controls: int = 0


def play(runs: Sequence[Run], rule: Rule, tag: str, as_judged: bool) -> Played:
    """A campaign that begins with the first of these; wins are those that were kept when it was
    recorded, or those whose first score is good enough."""
    incumbent, finished, played = runs[0], [runs[0].first], Played()
    for n, run in enumerate(runs[1:], 1):
        curve = run.first.curve
        points = range(1, len(curve) + 1)
        looks = (curve[:k] for k in points if rule(finished, incumbent, curve[:k]))
        ended = next(looks, None)
        won = run.kept if as_judged else run.first.score >= incumbent.score + GAIN
        if ended is not None and not is_control(tag, n):
            played.prunes += 1
            played.lost += won
            played.used += ended[-1][0] / (len(runs) - 1)
            continue
        played.controls += ended is not None
        played.used += 1 / (len(runs) - 1)
        finished.append(run.first)
        if won:
            played.wins += 1
            incumbent = run
    return played


def recorded(name: str) -> list[Run]:
    """The runs of one campaign, in its order."""
    runs: dict[str, list[dict[str, object]]] = {}
    for line in map(json.loads, CURVES.read_text().splitlines()):
        if line["campaign"] == name:
            runs.setdefault(line["run"], []).append(line)
    return [_run(measured) for measured in runs.values()]


def _run(measured: Sequence[Mapping[str, Any]]) -> Run:
    curves = [[(at, METRIC.orient(v)) for at, v in one["curve"]] for one in measured]
    scores = [METRIC.orient(one["val_bpb"]) for one in measured]
    first = Known(curves[0], scores[0])
    return Run(first, curves, statistics.median(scores), bool(measured[0]["kept"]))


def row(name: str, campaigns: Sequence[Played]) -> str:
    """A line of the table: means over the campaigns."""
    counts = ((p.prunes, p.controls, p.wins + p.lost, p.lost) for p in campaigns)
    means = [statistics.mean(values) for values in zip(*counts, strict=True)]
    used = statistics.mean(p.used for p in campaigns)
    hit = sum(p.lost > 0 for p in campaigns) / len(campaigns)
    return f"  {name:12}{used:9.1%}" + "".join(f"{m:10.2f}" for m in means) + f"{hit:10.1%}"


def compare(title: str, orders: Sequence[Sequence[Run]], as_judged: bool = False) -> list[Played]:
    """Print how these campaigns go with each rule; how they went with the learned one."""
    print(title)
    own: list[Played] = []
    for name, rule in RULES.items():
        played = [play(runs, rule, f"t{n}", as_judged) for n, runs in enumerate(orders)]
        own = played if rule is learned else own
        print(row(name, played), flush=True)
    return own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100, help="shuffles of each set of curves")
    orders = parser.parse_args().orders
    tuner, hand = recorded("tuner"), recorded("hand")
    columns = ("pruned", "controls", "wins", "wins lost", "lost in")
    print(f"{'rule':14}{'compute':>9}" + "".join(f"{column:>10}" for column in columns))
    own = compare(f"the tuner's {len(tuner)} runs as they came", [tuner] * 50, as_judged=True)
    chance = random.Random(0)
    for name, runs in (("tuner's", tuner), ("hand-made", hand)):
        shuffled = [chance.sample(runs, len(runs)) for _ in range(orders)]
        compare(f"the {len(runs)} {name} runs, {orders} random orders", shuffled)
    saved = 1 - statistics.mean(p.used for p in own)
    print(f"saved on the tuner's campaign: {saved:.2f}; wins lost: {sum(p.lost for p in own)}")


if __name__ == "__main__":
    main()
