"""Several agents in one campaign: which is asked next, and which must wait.

Turns follow fixed shares or, without them, Thompson sampling of the verified gain per cost
(Thompson, 1933): a Bayesian bootstrap (Rubin, 1981) of each agent's newest experiments draws a
plausible rate, and the agent with the largest draw has the turn. Cost is dollars plus machine time.
A single agent is a portfolio of one.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from overnight.agents.base import Agent, caps_of, heeds_brief
from overnight.agents.named import agent_named
from overnight.arena.arena import PORTFOLIO, Arena
from overnight.core.errors import AgentError, Trouble, UsageError
from overnight.core.experiment import Experiment
from overnight.core.spending import Spent
from overnight.core.usage import UNLIMITED, Allowance
from overnight.record.book import Book
from overnight.search.strategy import PLATEAU, Start

DOLLARS_PER_HOUR = 2.0
"""Default price of an hour of machine time, added to the dollars of a model."""
_NEWEST = 50
"""Number of an agent's newest experiments from which its rate is estimated."""
_IMAGINED = 2
"""Number of imagined experiments with the mean of all agents, so that a new agent is tried."""
_FEWEST_TURNS = 2
"""Fixed shares hold over a window in which the agent with the least share has this many turns."""
_FIRST_WAIT, _LONGEST_WAIT = 30.0, 1800.0
"""Seconds."""
_MOST_FAILURES = 10
"""Failures in a row after which an agent is not asked again."""


@dataclass(frozen=True)
class Ask:
    """A request to an agent for a change."""

    agent: Agent
    start: Experiment
    """The experiment whose candidate it changes."""
    against: Experiment
    """The experiment whose candidate the change must beat."""
    hint: str = ""
    """An addition to the brief, for this request only."""
    switch: str = ""
    """A sentence for the user on what changes with this request because of a plateau, or empty."""
    allowance: Allowance = UNLIMITED
    """What the agent may use at most."""


class Out(StrEnum):
    """Why an agent is not asked any more. If all are out, the first reason in this order counts."""

    FAILED = "failed"
    CAPPED = "capped"
    """It has reached a cap of its own for the campaign, or too little is left for a proposal."""
    EXHAUSTED = "exhausted"
    """It has nothing left to propose."""


@dataclass
class _Member:
    agent: Agent
    left: Allowance = UNLIMITED
    """What is left of its own caps."""
    failures: int = 0
    """Failures in a row."""
    waits: int = 0
    """Failures in a row after which it had to wait."""
    until: float = 0.0
    """When it may be asked again, on the monotonic clock."""
    out: Out | None = None
    reason: str = ""
    """Why it is out."""
    reported: bool = False
    """Whether the user has been warned that it is out."""

    def end(self, out: Out, reason: str) -> None:
        self.out, self.reason = out, reason


class Portfolio:
    """Agents that take turns. Their failures are kept here; their rates follow from the book."""

    def __init__(
        self,
        agents: Sequence[Agent],
        shares: Mapping[str, float] | None = None,
        dollars_per_hour: float = DOLLARS_PER_HOUR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shares`: relative shares of the turns, by agent; an agent without one gets no turns."""
        self.name = ", ".join(agent.name for agent in agents)
        self._members = [_Member(agent) for agent in agents]
        self._shares = shares or {}
        self._price = dollars_per_hour / 3600
        self._clock = clock

    @property
    def agents(self) -> Sequence[Agent]:
        """The agents that can still be asked."""
        return [member.agent for member in self._members if not member.out]

    def expected_shares(self, finished: Sequence[Experiment]) -> dict[str, float]:
        """Agent's name → its expected share of the next turns, 1 in total: the fixed share, or
        the recent one."""
        names = [agent.name for agent in self.agents]
        lately = Counter(e.agent for e in finished[-_NEWEST:])
        taken = {name: self._shares.get(name, 0.0) for name in names}
        if not any(taken.values()):
            taken = {name: 1.0 + lately[name] for name in names}
        return {name: turns / sum(taken.values()) for name, turns in taken.items()}

    @property
    def over(self) -> tuple[Out, str] | None:
        """Why no agent can be asked any more, and each agent's reason; None while one can be."""
        why = {member.out for member in self._members if member.out}
        if any(member.out is None for member in self._members):
            return None
        reasons = "; ".join(f"{m.agent.name} {m.reason}" for m in self._members)
        return next(out for out in Out if out in why), reasons

    def newly_out(self) -> Iterator[str]:
        """A sentence for each agent that is out although it might have more to propose; later calls
        do not repeat it."""
        for member in self._members:
            if member.out in (Out.FAILED, Out.CAPPED) and not member.reported:
                member.reported = True
                yield f"{member.agent.name} {member.reason}"

    def enforce_caps(self, accounts: Sequence[Spent]) -> None:
        """Take out the agents that have reached a cap of their own for the campaign."""
        used = {one.agent: one for one in accounts}
        for member in self._members:
            name, caps = member.agent.name, caps_of(member.agent)
            member.left = caps.left(used.get(name, Spent(name)))
            if member.out is None and (cap := caps.reached(member.left)):
                member.end(Out.CAPPED, f"has used up its {cap} for this campaign")

    @property
    def wait(self) -> float:
        """Seconds until an agent may be asked; 0 when one may be asked now."""
        waiting = [member.until - self._clock() for member in self._members if not member.out]
        return max(min(waiting, default=0.0), 0.0)

    def ask(self, book: Book, start: Start) -> Ask:
        """Choose the agent for this change; at least one must be ready. The same book and the same
        failures give the same answer."""
        ready = [m.agent for m in self._members if not m.out and m.until <= self._clock()]
        agent, finished = self._chosen(ready, book.finished, book.next_number), book.finished
        if start.other and len(ready) > 1:
            recent = [e.agent for e in finished[-PLATEAU:]]
            agent = min(ready, key=lambda a: recent.count(a.name))
            words = f"{start.why}: the turn goes to {agent.name}, which had the fewest"
            start = replace(Start.plain(book), switch=words if start.switch else "")
        elif not heeds_brief(agent):
            start = Start.plain(book)
        left = next(m.left for m in self._members if m.agent is agent)
        return Ask(agent, start.start, start.against, start.hint, start.switch, left)

    def proposal_ended(self, agent: Agent, error: AgentError | None) -> None:
        """Note how a proposal ended; `error` is None for a candidate or a refused patch."""
        member = next(m for m in self._members if m.agent is agent)
        if error is None:
            member.failures = member.waits = 0
            return
        member.failures += 1
        if error.trouble.passes:
            pause = min(max(_FIRST_WAIT * 2**member.waits, error.wait), _LONGEST_WAIT)
            member.waits, member.until = member.waits + 1, self._clock() + pause
        elif error.trouble.stays:
            member.end(Out.FAILED, f"needs you ({error.trouble}): {error}")
        elif error.trouble is Trouble.SPENT:
            member.end(Out.CAPPED, f"has too little left for a proposal: {error}")
        elif member.failures >= _MOST_FAILURES:
            member.end(Out.FAILED, f"failed {member.failures} times in a row: {error}")

    def nothing_left(self, agent: Agent) -> None:
        """Note that an agent has nothing left to propose."""
        member = next(m for m in self._members if m.agent is agent)
        member.end(Out.EXHAUSTED, "has nothing left to propose")

    # -- whose turn

    def _chosen(self, ready: Sequence[Agent], finished: Sequence[Experiment], n: int) -> Agent:
        if len(ready) == 1:
            return ready[0]
        if self._shares:
            return self._furthest_behind(ready, finished)
        rates = self._rates(ready, finished, random.Random(n))
        turns = Counter(e.agent for e in finished)
        return max(ready, key=lambda agent: (rates[agent.name], -turns[agent.name]))

    def _furthest_behind(self, ready: Sequence[Agent], finished: Sequence[Experiment]) -> Agent:
        """The agent furthest below its share in the newest turns; older imbalance is ignored."""
        shares = {agent.name: self._shares.get(agent.name, 0.0) for agent in ready}
        least = min(filter(None, shares.values()), default=1.0)
        window = round(_FEWEST_TURNS * sum(shares.values()) / least)
        # The next turn is the last one of the window.
        before = max(window, 2) - 1
        taken = Counter([e.agent for e in finished if e.agent in shares][-before:])
        return max(ready, key=lambda agent: shares[agent.name] / (taken[agent.name] + 1))

    def _rates(
        self, ready: Sequence[Agent], finished: Sequence[Experiment], source: random.Random
    ) -> dict[str, float]:
        """A random draw of each agent's verified gain per dollar."""
        seen = {a.name: [self._worth(e) for e in finished if e.agent == a.name] for a in ready}
        every = [pair for pairs in seen.values() for pair in pairs] or [(0.0, 1.0)]
        gain = sum(pair[0] for pair in every) / len(every) or 1.0
        known = [(gain, sum(pair[1] for pair in every) / len(every))] * _IMAGINED
        return {name: _drawn([*pairs[-_NEWEST:], *known], source) for name, pairs in seen.items()}

    def _worth(self, e: Experiment) -> tuple[float, float]:
        """Verified gain in units of the metric, and cost in dollars."""
        gain = max(e.claim or 0.0, 0.0) if e.kept else 0.0
        return gain, (e.usage.dollars or 0.0) + (e.seconds or 0.0) * self._price + 1e-9


def _drawn(pairs: Sequence[tuple[float, float]], source: random.Random) -> float:
    """Gain per cost in a Bayesian bootstrap: each pair's weight is drawn from Exp(1)."""
    weights = [source.expovariate(1.0) for _ in pairs]
    gained = sum(w * gain for w, (gain, _) in zip(weights, pairs, strict=True))
    return gained / sum(w * cost for w, (_, cost) in zip(weights, pairs, strict=True))


def portfolio_named(names: str, arena: Arena) -> Portfolio:
    """The portfolio of `--agent`: one agent, several separated by commas, or `portfolio`, which
    means those of [portfolio] in arena.toml.

    The tuner joins several agents if there are constants to tune, unless `portfolio.tuner` is
    false. Raises UsageError.
    """
    table, chosen = arena.portfolio, _listed(names)
    if names == PORTFOLIO:
        if not table.agents:
            raise UsageError(
                "--agent portfolio: arena.toml names no agents; add [portfolio] and below it "
                'agents = ["claude", "tuner"], or name some: --agent claude,tuner'
            )
        chosen = [*table.agents]
    chosen = list(dict.fromkeys(name.strip() for name in chosen))
    agents = [agent_named(name, arena) for name in chosen]
    if len(agents) == 1:
        return Portfolio(agents)
    if table.tuner and "tuner" not in chosen and _has_constants(arena):
        agents.append(agent_named("tuner", arena))
    # The shares of [portfolio] are for its own agents only.
    shares = table.shares if names == PORTFOLIO else None
    return Portfolio(agents, shares, table.dollars_per_hour)


def _listed(names: str) -> list[str]:
    """Names separated by commas. From `command:` on, all is one name: shell lines have commas."""
    found = names.split(",")
    starts = (n for n, name in enumerate(found) if name.lstrip().startswith("command:"))
    last = next(starts, len(found) - 1)
    return [*found[:last], ",".join(found[last:])]


def _has_constants(arena: Arena) -> bool:
    from overnight.agents.tuner.constants import find_constants

    for path in arena.editable_files():
        if path.endswith(".py"):
            with suppress(AgentError):  # not valid Python, so nothing to tune
                if find_constants(path, (arena.root / path).read_text(errors="replace")):
                    return True
    return False
