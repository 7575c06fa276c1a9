"""Forecasts how many experiments fit into what is left, which limit is reached first, and what they
cost, from each agent's newest experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from overnight.core.experiment import Experiment
from overnight.core.spending import Spent
from overnight.core.usage import Allowance, Left

NEWEST = 5
"""Newest experiments of each agent from which its rates are computed."""
MOMENT = 1e-3
"""Least seconds of an experiment in the forecast."""


@dataclass(frozen=True)
class Rates:
    """Means over an agent's newest experiments, per experiment."""

    known: int
    """Number of these experiments, 1 to NEWEST."""
    seconds: float
    """Wall seconds, with the pairs and exams that follow."""
    thought: float
    """Wall seconds of its proposal, part of `seconds`."""
    dollars: float | None
    """None while no cost is known."""
    tokens: float | None

    @classmethod
    def of(cls, experiments: Sequence[Experiment], walls: Mapping[int, float]) -> Rates | None:
        """From one agent's experiments, oldest first; None without any. Costs are means over the
        newest experiments whose cost is known."""
        newest = experiments[-NEWEST:]
        if not newest:
            return None
        spent = [Spent.of(e) for e in experiments]
        return cls(
            len(newest),
            fmean(walls[e.n] for e in newest),
            fmean(e.thought or 0.0 for e in newest),
            _mean([one.dollars for one in spent if one.priced]),
            _mean([one.tokens for one in spent if one.counted]),
        )

    def uses(self, share: float) -> dict[str, float]:
        """How much of each limit this many experiments use; unknown costs count as 0."""
        return {
            "experiments": share,
            "seconds": share * self.seconds,
            "dollars": share * (self.dollars or 0.0),
            "tokens": share * (self.tokens or 0.0),
            "thought": share * self.thought,
        }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values[-NEWEST:]) if values else None


@dataclass
class Forecast:
    """The experiments until the first limit is reached."""

    limit: str = ""
    """The limit that is reached first: a field of Left, or "agents" when every agent reaches its
    own cap before. Empty if there is none: then `uses` is that of one hour."""
    uses: dict[str, float] = field(default_factory=dict)
    """How much of each limit is used, by the fields of Left."""
    capped: dict[str, float] = field(default_factory=dict)
    """Agent → after how many experiments it reaches its own cap, in this order."""


def forecast(
    rates: Mapping[str, Rates],
    mix: Mapping[str, float],
    left: Left,
    caps: Mapping[str, Allowance],
) -> Forecast:
    """Let agents take turns by their shares in `mix` until a limit is reached. An agent that has
    reached its own cap, in `caps`, leaves its turns to the others."""
    room = {key: math.inf if value is None else value for key, value in vars(left).items()}
    own = {name: _own(caps.get(name, Allowance())) for name in rates}
    active, found = dict(rates), Forecast("agents", dict.fromkeys(room, 0.0))
    while active:
        total = sum(mix[name] for name in active)
        shares = {n: mix[n] / total if total else 1 / len(active) for n in active}
        uses = {name: active[name].uses(share) for name, share in shares.items()}
        together = {key: sum(one[key] for one in uses.values()) for key in room}
        key, whole = _first(room, together)
        steps = {name: _first(own[name], uses[name])[1] for name in active}
        soonest = min(steps, key=lambda name: steps[name])
        step = min(whole, steps[soonest])
        if math.isinf(step):
            per_hour = 3600 / max(together["seconds"], MOMENT)
            return Forecast("", {key: per_hour * value for key, value in together.items()})
        for limit, value in together.items():
            room[limit] -= step * value
            found.uses[limit] += step * value
        if whole <= steps[soonest]:
            found.limit = key
            return found
        for name in active:
            own[name] = {k: v - step * uses[name][k] for k, v in own[name].items()}
        found.capped[soonest] = found.uses["experiments"]
        del active[soonest]
    return found


def _own(cap: Allowance) -> dict[str, float]:
    limits = {"dollars": cap.dollars, "tokens": cap.tokens, "thought": cap.seconds}
    return {key: math.inf if value is None else value for key, value in limits.items()}


def _first(room: Mapping[str, float], uses: Mapping[str, float]) -> tuple[str, float]:
    """The limit that is reached first, and after how many steps of these uses."""
    steps = {
        key: max(left, 0.0) / uses[key] if uses[key] else math.inf for key, left in room.items()
    }
    key = min(steps, key=lambda key: steps[key])
    return key, steps[key]
