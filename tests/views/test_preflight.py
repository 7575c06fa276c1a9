"""What is said before a run: how many experiments fit, what they cost, which limit ends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from models.server import answering
from overnight import Arena, Campaign, Experiment, Idea, Limits, Verdict
from overnight.agents.base import Agent, Workbench
from overnight.agents.programs.coding import CodingAgent
from overnight.agents.programs.command import CommandAgent
from overnight.agents.programs.preset import presets
from overnight.agents.tuner.agent import Tuner
from overnight.arena.settings import AgentTable
from overnight.campaign.limits import Stretch
from overnight.core.experiment import Event, Proposal
from overnight.core.spending import Spent
from overnight.core.usage import FREE, UNKNOWN, Left, Usage
from overnight.insights.wall_time import walls
from overnight.search.portfolio import Portfolio
from overnight.views.preflight import Past, preflight
from overnight.views.summary import summarize
from test_caps import SAME, SONNET, dear, experiments, ran
from toy import ARENA, command, make_toy, write_toy
from writer import Writer

MORNING = datetime(2026, 7, 1, tzinfo=UTC)
GREEDY = '\n[judge]\nrule = "greedy"\n'
SETUP = '\n[setup]\ncommand = "true"\ntimeout = "4h"\n'


@dataclass
class Priced:
    """An agent with a table, which is never asked here."""

    name: str
    table: AgentTable = AgentTable(command="true")  # noqa: RUF009
    free: ClassVar[bool] = False

    def propose(self, bench: Workbench) -> Idea | None:
        raise AssertionError(bench)


def after(seconds: float) -> datetime:
    return MORNING + timedelta(seconds=seconds)


def using(e: Experiment, usage: Usage, thought: float = 60.0) -> Experiment:
    """The experiment as one of a proposal that used so much."""
    of = Proposal(e.n, e.agent, 0, 0, e.started, e.started, usage, thought, "candidate", e.n)
    return replace(e, proposal=of)


def past(*agents: str, left: Left | None = None, **more: object) -> Past:
    """A night in which these took turns, 300 s each, of which 60 s of thought for $0.15 and 5,000
    tokens, but for the tuner."""
    done = [Experiment(0, "baseline", after(0), verdict=Verdict.KEEP, ended=after(300))]
    for n, agent in enumerate(agents, 1):
        e = Experiment(
            n, agent, after(300 * n), verdict=Verdict.DISCARD, ended=after(300 * n + 200)
        )
        free = agent == "tuner"
        done.append(using(e, FREE if free else Usage(5000, dollars=0.15), 1.0 if free else 60.0))
    turns = [Event(1, "start", after(0), {}), Event(2, "stop", after(300 * len(done)), {})]
    spent = [
        Spent(agent, len(mine), len(mine), sum(e.usage.dollars or 0.0 for e in mine))
        for agent in dict.fromkeys(agents)
        if (mine := [e for e in done if e.agent == agent])
    ]
    found = Past(done if agents else [], turns, spent, left or Left(), False)
    return replace(found, **more)  # type: ignore[arg-type]


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena.load(write_toy(tmp_path / "arena", ARENA.replace('"20s"', '"5m"', 1) + SETUP))


def said(
    arena: Arena,
    known: Past,
    agents: Sequence[Agent] = (Priced("claude"),),
    shares: dict[str, float] | None = None,
    **limits: float,
) -> str:
    return preflight(arena, Portfolio(agents, shares), Limits(**limits), known)  # type: ignore[arg-type]


FIVE = ("claude",) * 5
BY = "at the rates of the last five"


@pytest.mark.parametrize(
    ("limits", "left", "words"),
    [
        ({"hours": 8}, Left(seconds=28800), "about 96 experiments for about $14 until --hours 8"),
        ({"hours": 8}, Left(seconds=1000), "about 3 experiments for about $0.50 until --hours 8"),
        ({"hours": 800}, Left(seconds=2.88e6), "about 9,600 experiments for about $1,400 until"),
        ({"hours": 0}, Left(seconds=0), "hardly one experiment until --hours 0 ends it"),
        (
            {"experiments": 30, "hours": 8},
            Left(experiments=30, seconds=28800),
            "30 experiments in about 2.5 h for about $4.50 until --experiments 30 ends it, " + BY,
        ),
        (
            {"dollars": 5, "hours": 8},
            Left(dollars=5, seconds=28800),
            "about 33 experiments in about 2.8 h until --dollars 5 ends it, " + BY,
        ),
        (
            {"tokens": 10_000},
            Left(tokens=10_000),
            "about 2 experiments in about 10 min for about $0.30 until --tokens 10000 ends it",
        ),
        ({}, Left(), "about 12 experiments and $1.80 an hour, until you stop it, " + BY),
        (
            {"target": 1.5, "plateau": 9},
            Left(),
            "about 12 experiments and $1.80 an hour, until --target 1.5 or --plateau 9 ends it",
        ),
        ({"hours": 1, "plateau": 9}, Left(seconds=3600), "at most about 12 experiments for about"),
    ],
)
def test_the_limit_that_is_reached_first_is_named(
    arena: Arena, limits: dict[str, float], left: Left, words: str
) -> None:
    assert said(arena, past(*FIVE, left=left), **limits).startswith(words)


def test_less_than_five_are_told_and_costs_are_those_of_the_newest(arena: Arena) -> None:
    assert said(arena, past("claude")).endswith("at the rates of the last one")
    known = past(*("claude",) * 9)
    dear = [using(e, Usage(dollars=9.0)) if e.n < 5 else e for e in known.newest]
    forgotten = [using(e, UNKNOWN) if e.n == 9 else e for e in dear]
    assert "$1.80 an hour" in said(arena, replace(known, newest=dear))
    assert "$23 an hour" in said(arena, replace(known, newest=forgotten)), "the last five known"


def test_what_costs_nothing_is_not_told_in_dollars(arena: Arena) -> None:
    tuner = said(arena, past(*("tuner",) * 5), [Tuner()])
    assert tuner == f"about 12 experiments an hour, until you stop it, {BY}"
    assert "cost" not in said(arena, past(), [Tuner()])


def test_unknown_costs_are_never_none(arena: Arena) -> None:
    known = past("codex", "claude", "codex")
    silent = [using(e, UNKNOWN) if e.agent == "codex" else e for e in known.newest]
    known = replace(known, newest=silent, left=Left(dollars=5, tokens=9, seconds=3600))
    alone = said(arena, known, [Priced("codex")], hours=1, dollars=5, tokens=9)
    assert alone == (
        "about 12 experiments until --hours 1 ends it, at the rates of the last 2; codex does "
        "not report what its proposals cost, so --dollars 5 does not count them; codex does "
        "not report the tokens of its proposals, so --tokens 9 does not count them"
    )
    both = said(arena, replace(known, left=Left()), [Priced("codex"), Priced("claude")])
    assert "$0.72 an hour" in both and "of the last 2 of each" in both
    assert both.endswith("; codex does not report what its proposals cost")


def test_what_will_never_be_known_is_told_before_the_first_proposal(arena: Arena) -> None:
    never = CommandAgent("shell", AgentTable(command="true"))
    alone = said(arena, past(), [never], hours=1, dollars=5, tokens=9)
    assert alone.endswith(
        "; shell does not report what its proposals cost, so --dollars 5 does not count them; "
        "shell does not report the tokens of its proposals, so --tokens 9 does not count them"
    )
    both = said(arena, past(), [never, Priced("claude")])
    assert both.endswith(
        "; what claude takes and costs is not known yet; shell does not report what its "
        "proposals cost"
    )
    for model, known in (("no-such-model", False), ("gpt-4o", True)):
        agent = CodingAgent("codex", AgentTable(model=model), presets()["codex"])
        assert ("does not report what" in said(arena, past(), [agent])) is not known


def test_an_agent_that_was_never_asked_is_not_known(arena: Arena) -> None:
    agents = [Priced("claude"), Priced("codex"), Tuner()]
    words = said(arena, past(*FIVE), agents)
    assert words.startswith("about 12 experiments and $1.80 an hour")
    assert words.endswith("; what codex takes and costs is not known yet")


def test_agents_count_by_their_shares_and_leave_with_their_own_caps(arena: Arena) -> None:
    capped = Priced(
        "claude", AgentTable.model_validate({"command": "x", "campaign": {"dollars": 2}})
    )
    known = past(*("claude", "tuner") * 5, left=Left(experiments=40))
    agents: list[Agent] = [capped, Tuner()]
    words = said(arena, known, agents, {"claude": 3.0, "tuner": 1.0}, experiments=40)
    # $1.25 of the $2 are left: 8.3 proposals, of every four experiments three.
    assert words == (
        "40 experiments in about 3.3 h for about $1.20 until --experiments 40 ends it, at the "
        "rates of the last five of each; claude has used up its share of this campaign after "
        "about 11 experiments"
    )
    alone = said(arena, known, [capped], experiments=40)
    assert alone.startswith(
        "about 8 experiments in about 42 min for about $1.20 until the agents' own"
    )
    spent = replace(known, spent=[Spent("claude", 9, 9, 2.5)])
    assert "claude has used up its share of this campaign already" in said(
        arena, spent, agents, experiments=40
    )


@pytest.mark.parametrize(
    ("limits", "left", "words"),
    [
        (
            {"hours": 8},
            Left(seconds=28800),
            "at most about 93 experiments until --hours 8 ends it, if each run uses its whole "
            "budget of 5 min; what proposals cost is not known yet",
        ),
        (
            {"experiments": 30},
            Left(experiments=30),
            "30 experiments, which take 2.8 h or more if each run uses its whole budget of 5 min; "
            "what proposals cost is not known yet",
        ),
        (
            {"dollars": 5},
            Left(dollars=5),
            "at most about 12 experiments an hour if each run uses its whole budget of 5 min, "
            "until --dollars 5 ends it; what proposals cost is not known yet",
        ),
        (
            {},
            Left(),
            "at most about 12 experiments an hour if each run uses its whole budget of 5 min,",
        ),
        ({"hours": 0.1}, Left(seconds=360), "hardly one experiment until --hours 0.1 ends it, if"),
        (
            {"experiments": 30, "plateau": 3},
            Left(experiments=30),
            "at most 30 experiments, which take 2.8 h or more if",
        ),
    ],
)
def test_without_any_history_it_is_said_what_is_possible(
    arena: Arena, limits: dict[str, float], left: Left, words: str
) -> None:
    assert said(arena, past(left=left), **limits).startswith(words)


def test_the_setup_comes_first_where_this_machine_has_not_run_it(arena: Arena) -> None:
    assert said(arena, past(setup=True)).endswith("; first the setup, up to 4 h")
    assert "setup" not in said(arena, past())


def test_a_campaign_that_was_run_tells_what_runs_take_and_how_fast_it_was(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy", ARENA + GREEDY)
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Writer(["X=12\n", "X=13\n"]), Limits(experiments=2))
        words = said(campaign.arena, Past.read(campaign.book, campaign.workspace, Limits()))
        took = walls(campaign.book.finished, campaign.book.events("start", "stop"))
        assert summarize(campaign.book).pace == pytest.approx((took[1] + took[2]) / 2)
    assert re.match(
        r"at most about [\d,]+ experiments an hour because a run takes [\d.]+ s, until", words
    ), "by the runs of other agents"


# -- what an experiment takes


def test_pairs_count_and_pauses_and_dead_drivers_do_not() -> None:
    begun = [0, 100, 160, 5000, 5100, 9000]
    done = [
        Experiment(
            n,
            "a",
            after(at),
            verdict=Verdict.DISCARD,
            ended=after(at + 40),
            proposal=Proposal(n, "a", 0, 0, after(at), thought=40.0),
        )
        for n, at in enumerate(begun)
    ]
    turns = [
        Event(1, "start", after(-10), {}),
        Event(2, "stop", after(260), {}),
        Event(3, "start", after(4990), {}),  # and died
        Event(4, "resume", after(8990), {"died": after(5140).isoformat()}),
        Event(5, "stop", after(9090), {}),
    ]
    assert walls(done, turns) == {0: 100, 1: 60, 2: 110, 3: 100, 4: 50, 5: 90}
    assert walls(done[:2], []) == {0: 40, 1: 40}, "tried one by one"
    assert walls([], turns) == {}


# -- from the ledger, by the command


def ahead(text: str) -> str:
    (line,) = re.findall(r"Ahead: (.*?)\.(?:\s|$)", text)
    return str(line)


@pytest.mark.slow
def test_the_command_foretells_how_many_fit_into_its_hours(tmp_path: Path) -> None:
    toy = make_toy(
        tmp_path / "arena",
        SAME,
        run="sleep 0.5\n" + "cp value.py $OVERNIGHT_OUT/value\n",
        value="X=10  # -20..20\n",
    )
    first = command(toy, "run", "--experiments", "3", "--tag", "t")
    assert ahead(first.stdout) == (
        "3 experiments, which take 2 min or more if each run uses its whole budget of 20 s"
    )
    done = command(toy, "run", "--hours", "0.003", "--tag", "t")
    words = re.match(
        r"about (\d+) experiments until --hours 0.003 ends it, at the", ahead(done.stdout)
    )
    assert words, done.stdout
    came = len(experiments(toy)) - 3
    assert came / 2 <= int(words[1]) <= 2 * came, (words[0], came)


def test_the_command_foretells_what_models_cost(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", SAME + SONNET % 99)
    with answering(*(dear(f"X={n}") for n in range(9, 0, -1))) as server:
        words = ("--agent", "sonnet", "--experiments", "2")
        assert "; what proposals cost is not known yet" in ran(toy, server, *words)[1]
        code, shown = ran(toy, server, "--agent", "sonnet", "--dollars", "0.28")
    assert code == 3
    assert re.search(
        r"Ahead: about 3 experiments in about \S+ \S+ until --dollars 0.28 ends", shown
    )
    assert len(experiments(toy)) - 2 in (3, 4), "a cap is reached by the one that crosses it"


def test_a_run_that_is_taken_up_again_has_less_ahead(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA + GREEDY)
    with Campaign.open(toy, "t") as campaign:
        Stretch.begin(campaign.book, Limits(experiments=3))  # its driver died
        campaign.try_(Writer(["X=12\n"]))
    line = "command:echo X=8.$OVERNIGHT_EXPERIMENT > value.py"
    words = ("run", "--agent", line, "--experiments", "3", "--tag", "t")
    done = command(toy, *words)
    assert ahead(done.stdout).startswith("2 experiments, which take "), done.stdout
    assert len(experiments(toy)) == 3
    again = command(toy, *words)
    assert ahead(again.stdout).startswith("3 experiments in about ")
    assert ahead(again.stdout).endswith("; command does not report what its proposals cost")
