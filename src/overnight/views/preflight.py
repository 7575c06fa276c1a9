"""Says in a sentence, before a run starts, how long it will take and what it will cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from overnight.agents.base import Agent, caps_of, is_free, unreported
from overnight.arena.arena import Arena
from overnight.campaign.limits import Limits, Stretch
from overnight.core.experiment import Event, Experiment
from overnight.core.quantity import format_dollars
from overnight.core.spending import Spent
from overnight.core.text import one_line
from overnight.core.usage import Left
from overnight.insights.wall_time import TURNS, walls
from overnight.measure.setup import needs_setup
from overnight.record.book import Book
from overnight.repo.workspace import Workspace
from overnight.search.portfolio import Portfolio
from overnight.views.forecast import MOMENT, NEWEST, Forecast, Rates, forecast

_LOOKED_AT = 200
"""How many of a campaign's newest experiments are searched for each agent's."""
_BASELINES = 3
"""Fewest measurements of the baseline under the rule `confirm`."""


@dataclass(frozen=True)
class Past:
    """What is known before the run."""

    newest: Sequence[Experiment]
    """The newest finished experiments, oldest first."""
    turns: Sequence[Event]
    """Start and stop events of the campaign, oldest first."""
    spent: Sequence[Spent]
    left: Left
    """What is left of the limits: less than the whole when an interrupted run continues."""
    setup: bool
    """Whether the arena's setup must run first."""

    @classmethod
    def read(cls, book: Book, workspace: Workspace, limits: Limits) -> Past:
        """Read the past of this campaign."""
        found = book.recent[-_LOOKED_AT:]
        left = Stretch.ahead(book, limits).left(book)
        setup = needs_setup(book.arena, workspace, book.record.base)
        turns = book.events(*TURNS)
        return cls(found, turns, book.spent, left, setup)


def preflight(arena: Arena, portfolio: Portfolio, limits: Limits, past: Past) -> str:
    """`about 95 experiments for about $14 until --hours 8 ends it, at the rates of the last five`:
    a forecast from each agent's newest experiments, or from the run's budget if there are none."""
    agents, took = portfolio.agents, walls(past.newest, past.turns)
    mine = {a.name: [e for e in past.newest if e.agent == a.name] for a in agents}
    rates = {name: one for name, es in mine.items() if (one := Rates.of(es, took))}
    if rates:
        used = {one.agent: one for one in past.spent}
        caps = {a.name: caps_of(a).left(used.get(a.name, Spent())) for a in agents}
        found = forecast(rates, portfolio.expected_shares(past.newest), past.left, caps)
        words = [_expected(found, limits, rates), *_capped(found)]
    else:
        words = [_possible(arena, limits, past)]
    words += _unknown(agents, rates, limits)
    if past.setup and arena.setup:
        words.append(f"first the setup, up to {_time(arena.setup.timeout)}")
    return "; ".join(words)


def _expected(found: Forecast, limits: Limits, rates: Mapping[str, Rates]) -> str:
    """The forecast from finished experiments, in words."""
    uses, bound = found.uses, found.limit
    if bound and uses["experiments"] < 1:
        return f"hardly one experiment until {_flag(limits, bound)} ends it"
    money = format_dollars(_rough(uses["dollars"])).removesuffix(".00") if uses["dollars"] else ""
    many = max(one.known for one in rates.values())
    last = {1: "one", NEWEST: "five"}.get(many, str(many))
    by = f"at the rates of the last {last}{' of each' * (len(rates) > 1)}"
    goals = _goals(limits)
    if not bound:
        each = _listed([_about(uses["experiments"]), *[money] * bool(money)])
        return f"{each} an hour, until {_ends(goals)}, {by}"
    number = round(uses["experiments"])
    words = _experiments(number) if bound == "experiments" else _about(number)
    words += f" in about {_time(uses['seconds'])}" * (bound != "seconds")
    words += f" for about {money}" * bool(money and bound != "dollars")
    return f"{'at most ' * bool(goals)}{words} until {_flag(limits, bound)} ends it, {by}"


def _possible(arena: Arena, limits: Limits, past: Past) -> str:
    """A bound from the time that runs take, or may take; proposals, pairs and exams are extra."""
    scored = [m for e in past.newest for m in e.judged if m.score is not None]
    run, why = arena.run.budget, f"if each run uses its whole budget of {_time(arena.run.budget)}"
    why += " of processor time" * (arena.run.clock == "cpu")
    if scored:
        run = max(fmean(m.seconds for m in scored), MOMENT)
        why = f"because a run takes {_time(run)}"
    first = 0.0 if past.newest else run * (_BASELINES if arena.judge.rule == "confirm" else 1)
    left, goals = past.left, [*_goals(limits), *_flags(limits, "dollars", "tokens")]
    fit = math.inf if left.seconds is None else (left.seconds - first) / run
    if left.experiments is not None and left.experiments <= fit:
        time = _time(first + left.experiments * run)
        words = f"{'at most ' * bool(goals)}{_experiments(left.experiments)}"
        return f"{words}, which take{'s' * (left.experiments == 1)} {time} or more {why}"
    if math.isinf(fit):
        return f"at most {_about(3600 / run)} an hour {why}, until {_ends(goals)}"
    number = f"at most {_about(round(fit))}" if fit >= 1 else "hardly one experiment"
    return f"{number} until {_flag(limits, 'seconds')} ends it, {why}"


def _capped(found: Forecast) -> Iterator[str]:
    """Which agents reach their own cap before the run ends."""
    for name, after in list(found.capped.items())[: -1 if found.limit == "agents" else None]:
        when = f"after {_about(round(after))}" if after >= 1 else "already"
        yield f"{one_line(name)} has used up its share of this campaign {when}"


def _unknown(agents: Sequence[Agent], rates: Mapping[str, Rates], limits: Limits) -> Iterator[str]:
    """Which costs the forecast lacks."""
    paid = [agent for agent in agents if not is_free(agent)]
    silent = [agent.name for agent in paid if _is_silent(agent, rates, "dollars")]
    new = [agent.name for agent in paid if agent.name not in {*rates, *silent}]
    if new:
        named = f"{_who(new, 'take')} and {_verb(new, 'cost')}"
        yield f"what {named if rates or silent else 'proposals cost'} is not known yet"
    if silent:
        so = "".join(f", so {flag} does not count them" for flag in _flags(limits, "dollars"))
        yield f"{_silence(silent, 'what {} proposals cost')}{so}"
    uncounted = [agent.name for agent in paid if _is_silent(agent, rates, "tokens")]
    for flag in _flags(limits, "tokens") if uncounted else ():
        yield f"{_silence(uncounted, 'the tokens of {} proposals')}, so {flag} does not count them"


def _is_silent(agent: Agent, rates: Mapping[str, Rates], what: str) -> bool:
    """Whether the agent has not reported its dollars or tokens, or is known never to."""
    seen = rates.get(agent.name)
    return what in unreported(agent) if seen is None else getattr(seen, what) is None


# -- words


def _flag(limits: Limits, bound: str) -> str:
    """The option that ends the run, as it was given."""
    if bound == "agents":
        return "the agents' own share of this campaign"
    name = {"seconds": "hours"}.get(bound, bound)
    return f"--{name} {getattr(limits, name):.10g}"


def _flags(limits: Limits, *names: str) -> list[str]:
    return [_flag(limits, name) for name in names if getattr(limits, name) is not None]


def _goals(limits: Limits) -> list[str]:
    """The options that may end the run at any time."""
    return _flags(limits, "target", "plateau")


def _ends(flags: Sequence[str]) -> str:
    return f"{' or '.join(flags)} ends it" if flags else "you stop it"


def _experiments(number: float) -> str:
    words = f"{number:,.0f}" if number >= 10 else f"{number:g}"
    return f"{words} experiment{'' if number == 1 else 's'}"


def _about(number: float) -> str:
    return f"about {_experiments(_rough(number))}"


def _rough(value: float) -> float:
    """The value rounded to two digits."""
    return round(value, 1 - math.floor(math.log10(value))) if value > 0 else 0.0


def _time(seconds: float) -> str:
    """`0.35 s`, `42 s`, `25 min`, `5.1 h`."""
    if _rough(seconds) < 100:
        return f"{_rough(seconds):g} s"
    if _rough(seconds / 60) < 100:
        return f"{_rough(seconds / 60):g} min"
    return f"{_rough(seconds / 3600):,g} h"


def _who(names: Sequence[str], verb: str) -> str:
    """`codex reports`, `codex and aider report`."""
    return f"{_listed([one_line(name) for name in names])} {_verb(names, verb)}"


def _silence(names: Sequence[str], what: str) -> str:
    """`codex does not report what its proposals cost`."""
    do, its = ("does", "its") if len(names) == 1 else ("do", "their")
    who = _listed([one_line(name) for name in names])
    return f"{who} {do} not report {what.format(its)}"


def _verb(names: Sequence[str], verb: str) -> str:
    return verb + "s" * (len(names) == 1)


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*[", ".join(words[:-1])] * (len(words) > 1), words[-1]])
