"""How many experiments fit into what is left, which limit ends them, and what they cost, by what
each agent's newest experiments took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from overnight.core.experiment import Experiment
from overnight.core.spending import Spent
from overnight.core.usage import Allowance
from overnight.insights.limits_left import Left

NEWEST = 5
"""Experiments of each agent that tell of its rates."""
MOMENT = 1e-3
"""Seconds that an experiment takes at least."""


@dataclass(frozen=True)
class Rates:
    """What an experiment of one agent takes, by its newest."""

    known: int
    """How many of these there are, 1 to NEWEST."""
    seconds: float
    """Wall clock, with all that it brings about."""
    thought: float
    """Of it, what the proposal takes."""
    dollars: float | None
    """None: not known of any."""
    tokens: float | None

    @classmethod
    def of(cls, experiments: Sequence[Experiment], walls: Mapping[int, float]) -> Rates | None:
        """By one agent's experiments, oldest first; None without any. Costs are those of the newest
        of which they are known."""
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
        """What of each limit so many experiments use; of what is unknown, nothing."""
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
    """What lies ahead."""

    binds: str = ""
    """The limit that is reached first: a field of Left; "agents" when all have used up their own
    share before. Empty where nothing ends it: then the rest is that of an hour."""
    uses: dict[str, float] = field(default_factory=dict)
    """By the fields of Left, as far as it is known."""
    gone: dict[str, float] = field(default_factory=dict)
    """Agent → after how many experiments its own share is used up, in this order."""


def forecast(
    rates: Mapping[str, Rates],
    mix: Mapping[str, float],
    left: Left,
    caps: Mapping[str, Allowance],
) -> Forecast:
    """Let agents take turns by their shares in `mix` until a limit is reached; who has used up its
    own, in `caps`, leaves its turns to the others."""
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
            found.binds = key
            return found
        for name in active:
            own[name] = {k: v - step * uses[name][k] for k, v in own[name].items()}
        found.gone[soonest] = found.uses["experiments"]
        del active[soonest]
    return found


def _own(cap: Allowance) -> dict[str, float]:
    limits = {"dollars": cap.dollars, "tokens": cap.tokens, "thought": cap.seconds}
    return {key: math.inf if value is None else value for key, value in limits.items()}


def _first(room: Mapping[str, float], uses: Mapping[str, float]) -> tuple[str, float]:
    """The limit that is reached first, and after how many experiments."""
    steps = {
        key: max(left, 0.0) / uses[key] if uses[key] else math.inf for key, left in room.items()
    }
    key = min(steps, key=lambda key: steps[key])
    return key, steps[key]
