"""What ending lost runs early saves, and whether it costs a win, on recorded curves.

nanogpt-curves.jsonl has curves of the nanogpt template, recorded on a machine with two cores:
`tuner`, a campaign of the built-in tuner with 15 s of processor time a run and pruning switched
off, in its order; `tuner 60 s`, another with the template's own budget; and `hand`, 18
architectures by hand with 60 s a run, which have no order. A campaign is played again with each
rule: a candidate goes on to its end, or is ended at the first point at which the rule calls it
lost. Only what went to its end is learned from, and one in ten of those that would be ended is let
through. A win is a first score better than the incumbent's by 0.02, what the recorded campaigns
asked for. `learned` ends what cannot reach that; `confirm` what cannot reach a score
that speaks for a gain before the default judge: half the noise better than the incumbent's, 0.01.
`oracle` knows every score at a quarter of the budget and ends all but the wins.

The rule's constants were chosen on `tuner` and `hand`. That the runs most alike are asked, not all,
came from the first forty of `tuner 60 s`.

Compute is the candidates' first runs; 100 % is every one to its end. Wins lost and controls are
per campaign. The order as recorded is played with many choices of the controls.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from overnight.arena.settings import Metric
from overnight.judge.prune import EARLIEST, LEAST, Curve, Known, Pruning, is_control, value_at

CURVES = Path(__file__).with_name("nanogpt-curves.jsonl")
METRIC = Metric(name="val_bpb", direction="minimize")
GAIN = 0.02


@dataclass(frozen=True)
class Run:
    """One candidate. Values are oriented: larger is better."""

    all: Sequence[Known]
    """Its measurements: one, or two when it was worth a second."""
    score: float
    """The judge's estimate, from all measurements."""
    kept: bool

    @property
    def first(self) -> Known:
        """What may be ended early."""
        return self.all[0]


Rule = Callable[[Sequence[Known], Run, Curve, float], bool]
"""Whether a run is lost: what is finished, the incumbent, the curve so far, and the score at the
end, at which only the oracle looks."""


def pruned(gain: float) -> Rule:
    """overnight's own, where less than this gain is discarded at once."""

    def rule(finished: Sequence[Known], incumbent: Run, curve: Curve, end: float) -> bool:
        reported = [(at, METRIC.orient(value)) for at, value in curve]
        pruning = Pruning(METRIC, finished, incumbent.all, incumbent.score + gain)
        return pruning.lost(reported) is not None

    return rule


def behind(margin: float) -> Rule:
    """Worse than the incumbent there by a margin that somebody has chosen."""

    def rule(finished: Sequence[Known], incumbent: Run, curve: Curve, end: float) -> bool:
        at, value = curve[-1]
        best = [v for k in incumbent.all if (v := value_at(k.curve, at)) is not None]
        return at >= EARLIEST and bool(best) and value < statistics.mean(best) - margin

    return rule


def median(finished: Sequence[Known], incumbent: Run, curve: Curve, end: float) -> bool:
    """Worse than half of the finished ones there: what many tuners do."""
    at, value = curve[-1]
    others = [v for k in finished if (v := value_at(k.curve, at)) is not None]
    return at >= EARLIEST and len(others) >= LEAST and value < statistics.median(others)


def oracle(finished: Sequence[Known], incumbent: Run, curve: Curve, end: float) -> bool:
    return curve[-1][0] >= EARLIEST and end < incumbent.score + GAIN


RULES: dict[str, Rule] = {
    "none": lambda *_: False,
    "learned": pruned(GAIN),
    "confirm": pruned(0.01),
    "median": median,
    "margin 0.1": behind(0.1),
    "margin 0.05": behind(0.05),
    "margin 0": behind(0.0),
    "oracle": oracle,
}


@dataclass
class Played:
    """How one campaign went."""

    used: float = 0.0
    """Share of the compute of all candidates."""
    wins: float = 0
    lost: float = 0
    prunes: float = 0
    controls: float = 0


def play(runs: Sequence[Run], rule: Rule, tag: str, as_judged: bool) -> Played:
    """A campaign that begins with the first of these; wins are those that were kept when it was
    recorded, or those whose first score is good enough."""
    incumbent, finished, played = runs[0], [runs[0].first], Played()
    for n, run in enumerate(runs[1:], 1):
        curve, end = run.first.curve, run.first.score
        points = range(1, len(curve) + 1)
        looks = (curve[:k] for k in points if rule(finished, incumbent, curve[:k], end))
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
    known = [
        Known([(at, METRIC.orient(v)) for at, v in one["curve"]], METRIC.orient(one["val_bpb"]))
        for one in measured
    ]
    score = statistics.median(k.score for k in known)
    return Run(known, score, bool(measured[0]["kept"]))


def row(name: str, campaigns: Sequence[Played]) -> str:
    """A line of the table: means over the campaigns."""
    counts = ((p.prunes, p.controls, p.wins + p.lost, p.lost) for p in campaigns)
    means = [statistics.mean(values) for values in zip(*counts, strict=True)]
    used = statistics.mean(p.used for p in campaigns)
    hit = sum(p.lost > 0 for p in campaigns) / len(campaigns)
    return f"  {name:12}{used:9.1%}" + "".join(f"{m:10.2f}" for m in means) + f"{hit:10.1%}"


def compare(title: str, orders: Sequence[Sequence[Run]], as_judged: bool = False) -> Played:
    """Print how these campaigns go with each rule; the means of the learned one."""
    print(title)
    own: list[Played] = []
    for name, rule in RULES.items():
        played = [play(runs, rule, f"t{n}", as_judged) for n, runs in enumerate(orders)]
        own = played if name == "learned" else own
        print(row(name, played), flush=True)
    return Played(*(statistics.mean(values) for values in zip(*map(astuple, own), strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=300, help="shuffles of each set of curves")
    orders = parser.parse_args().orders
    columns = ("pruned", "controls", "wins", "wins lost", "lost in")
    print(f"{'rule':14}{'compute':>9}" + "".join(f"{column:>10}" for column in columns))
    chance = random.Random(0)
    totals = []
    for name in ("tuner", "tuner 60 s", "hand"):
        runs = recorded(name)
        if name != "hand":
            own = compare(f"{name}: the {len(runs)} runs as they came", [runs] * 20, True)
            totals.append(f"saved on {name}: {1 - own.used:.2f}; wins lost: {own.lost:g}")
        shuffled = [chance.sample(runs, len(runs)) for _ in range(orders)]
        compare(f"{name}: the {len(runs)} runs in {orders} random orders", shuffled)
    print("\n".join(totals))


if __name__ == "__main__":
    main()
