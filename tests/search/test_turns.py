"""Several agents in one campaign: turns, rests, plateaus, caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from night import Night
from overnight import Arena, Campaign, Experiment, Idea, Limits, Verdict
from overnight.agents.base import Workbench
from overnight.campaign.limits import Stop, StopKind
from overnight.core.errors import AgentError, Trouble
from overnight.core.usage import FREE, Usage
from overnight.search.portfolio import Ask, Portfolio, portfolio_named
from overnight.search.strategy import PLATEAU, HillClimb
from toy import ARENA, command, git, make_toy

SAME = ARENA + "\n[judge]\nsame_programs = true\n"
"""Movers come by one program again and again: here it is measured each time."""
GREEDY = SAME + 'rule = "greedy"\n'


@dataclass
class Mover:
    """Moves X by a step that is told by the number of its own turn."""

    name: str
    step: Callable[[int], float]
    usage: Usage = field(default_factory=Usage)
    heeds_brief: bool = True
    seen: list[Workbench] = field(default_factory=list)

    def propose(self, bench: Workbench) -> Idea | None:
        self.seen.append(bench)
        file = bench.folder / "value.py"
        x = float(file.read_text().split("=")[1].split("#")[0])
        file.write_text(f"X={x + self.step(len(self.seen)):.3f} # {bench.n}\n")
        return Idea(f"{self.name} {bench.n}", usage=self.usage)


@dataclass
class Failing:
    """Fails with one error after another, then moves X towards the best."""

    errors: list[AgentError]
    name: str = "failing"

    def propose(self, bench: Workbench) -> Idea | None:
        if self.errors:
            raise self.errors.pop(0)
        (bench.folder / "value.py").write_text(f"X={10 - bench.n / 10}\n")
        return Idea("at last")


class Clock:
    """A clock on which every look costs ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10.0
        return self.now


def ran(
    toy: Path, portfolio: Portfolio, tag: str = "t", **limits: float
) -> tuple[Stop, list[Experiment]]:
    with Campaign.open(toy, tag) as campaign:
        stop = campaign.run(portfolio, Limits(**limits))  # type: ignore[arg-type]
        return stop, campaign.ledger.experiments(tag)[1:]


def words(toy: Path, kind: str) -> list[str]:
    with Campaign.open(toy, "t") as campaign:
        return [str(event.data["words"]) for event in campaign.ledger.events("t", kind)]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make_toy(tmp_path / "arena", GREEDY)


def better(turn: int) -> float:
    return -0.05


@dataclass
class Named:
    """An agent of which the test knows what its changes come to."""

    name: str
    gain: float = 0.0
    usage: Usage = FREE
    heeds_brief: bool = True

    def propose(self, bench: Workbench) -> Idea | None:
        raise AssertionError(bench)


def asked(night: Night, portfolio: Portfolio, many: int) -> list[Ask]:
    """So many experiments of agents whose turn it was."""
    asks = []
    for _ in range(many):
        (start,) = HillClimb().wanted(night.book(), 1)
        ask = portfolio.ask(night.book(), start)
        assert isinstance(ask.agent, Named) and ask.against is night.book().tip
        score = (night.book().incumbent.score or 0.0) - ask.agent.gain
        night.add(score, agent=ask.agent.name, usage=ask.agent.usage)
        asks.append(ask)
    return asks


def names(asks: list[Ask]) -> list[str]:
    return [ask.agent.name for ask in asks]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    night = Night(tmp_path / "night")
    night.add(10.0)
    return night


def test_the_agent_that_gains_more_has_more_turns(night: Night) -> None:
    turns = Counter(names(asked(night, Portfolio([Named("good", 0.05), Named("poor")]), 40)))
    assert turns["good"] > 25 and turns["poor"] >= 1, "and the other is not forgotten"


def test_dollars_count_as_much_as_gains(night: Night) -> None:
    cheap = Named("cheap", 0.05, Usage(dollars=0.01))
    dear = Named("dear", 0.05, Usage(dollars=1.0))
    turns = Counter(names(asked(night, Portfolio([dear, cheap]), 30)))
    assert turns["cheap"] > 2 * turns["dear"]


@pytest.mark.parametrize("shares", [{"a": 3.0, "b": 1.0}, {"a": 0.5, "b": 0.5}])
def test_fixed_shares_are_kept_to(night: Night, shares: Mapping[str, float]) -> None:
    turns = Counter(names(asked(night, Portfolio([Named("a"), Named("b")], shares), 8)))
    assert turns["a"] == 8 * shares["a"] / sum(shares.values())


@pytest.mark.parametrize("shares", [{"old": 1.0, "new": 1.0}, {"old": 3.0, "new": 1.0}])
def test_an_agent_that_joins_late_has_its_share_and_no_more(
    night: Night, shares: Mapping[str, float]
) -> None:
    old, new = Named("old", 0.05), Named("new", 0.05)  # never on a plateau
    asked(night, Portfolio([old], shares), 10)
    turns = names(asked(night, Portfolio([old, new], shares), 16))
    assert turns[:3] == ["new", "new", "old"], "it is behind, in the newest turns"
    assert Counter(turns[:8])["new"] == Counter(turns[8:])["new"] == 8 / sum(shares.values())


def test_on_a_plateau_the_agent_the_words_and_the_start_change(night: Night) -> None:
    for score in (9.0, 8.0):
        night.add(score)
    shares = {"first": 100.0, "second": 0.01}
    asks = asked(night, Portfolio([Named("first"), Named("second")], shares), 4 * PLATEAU)
    switches = {n: ask.switch for n, ask in enumerate(asks) if ask.switch}
    assert list(switches) == [PLATEAU, 2 * PLATEAU, 3 * PLATEAU], "each is said once"
    other, bolder, back = switches.values()
    assert "the turn goes to second" in other and "bolder" in bolder
    assert "every other change" in back and "experiment 1" in back, "the win before the newest"
    assert "second" not in names(asks[:PLATEAU]) and "second" in names(asks[PLATEAU:])
    assert not any(ask.hint for ask in asks[: 2 * PLATEAU])
    assert all("a different kind of change" in ask.hint for ask in asks[2 * PLATEAU : 3 * PLATEAU])
    starts = [ask.start.n for ask in asks[3 * PLATEAU :]]
    assert starts == [1, 2] * (PLATEAU // 2)
    assert "experiment 1" in asks[3 * PLATEAU].hint


def test_words_and_starts_change_for_those_alone_who_read_them(night: Night) -> None:
    deaf = Named("deaf", heeds_brief=False)
    for ask in asked(night, Portfolio([deaf]), 4 * PLATEAU):
        assert (ask.start.n, ask.hint, ask.switch) == (0, "", "")


def test_an_agent_in_trouble_rests_and_the_others_go_on(toy: Path) -> None:
    busy = Failing([AgentError("try later", trouble) for trouble in list(Trouble)[1:4]])
    _, done = ran(toy, Portfolio([busy, Mover("good", better)]), experiments=3)
    assert Counter(e.agent for e in done) == {"good": 3}
    assert len(words(toy, "trouble")) == 1, "it rests for longer than three experiments take"
    assert "failing could not work (rate limit): try later" in words(toy, "trouble")[0]
    assert [e.n for e in done] == [1, 2, 3], "it costs no experiment"


def test_an_agent_alone_waits_and_goes_on(toy: Path) -> None:
    errors = [AgentError("overloaded", Trouble.OVERLOAD) for _ in range(2)]
    stop, done = ran(toy, Portfolio([Failing(errors)], clock=Clock()), experiments=2)
    assert stop.kind is StopKind.EXPERIMENTS
    assert [str(e.verdict) for e in done] == ["keep", "keep"]
    assert len(words(toy, "trouble")) == 2


def test_a_rest_is_as_long_as_the_server_asks_up_to_half_an_hour() -> None:
    busy = Failing([])
    portfolio = Portfolio([busy], clock=lambda: 0.0)
    rests = []
    for wait in (0.0, 1.0, 600.0, 9e9):
        portfolio.proposal_ended(busy, AgentError("try later", Trouble.RATE, wait=wait))
        rests.append(portfolio.wait)
    assert rests == [30, 60, 600, 1800]


def test_who_cannot_sign_in_is_not_asked_again(toy: Path) -> None:
    error = AgentError("the key was refused; run `x login`", Trouble.SIGN_IN)
    stop, done = ran(toy, Portfolio([Failing([error])]), experiments=5)
    assert stop.kind is StopKind.AGENT and "run `x login`" in stop.words
    assert [e.verdict for e in done] == [Verdict.INVALID] and not done[0].measurements
    error = AgentError("the key was refused; run `x login`", Trouble.SIGN_IN)
    both = Portfolio([Failing([error]), Mover("good", better)], {"failing": 9.0, "good": 1.0})
    stop, done = ran(toy, both, "u", experiments=3)
    assert [e.agent for e in done] == ["failing", "good", "good"]
    with Campaign.open(toy, "u") as campaign:
        warnings = [event.data["words"] for event in campaign.ledger.events("u", "warning")]
    said = "failing needs you (sign-in): the key was refused; run `x login`"
    assert warnings == [f"{said}; the campaign goes on without it"]


@pytest.mark.slow
def test_a_campaign_on_a_plateau_changes_the_agent_the_words_and_the_start(toy: Path) -> None:
    gain = Mover("first", lambda turn: -1.0 if turn <= 2 else 0.3)
    other = Mover("second", lambda turn: 0.4)
    portfolio = Portfolio([gain, other], {"first": 100.0, "second": 0.01})
    _, done = ran(toy, portfolio, experiments=2 + 4 * PLATEAU)
    switched = words(toy, "switch")
    assert "the turn goes to second" in switched[0]
    assert "bolder changes" in switched[1] and "every other change starts from" in switched[2]
    agents = [e.agent for e in done]
    assert "second" not in agents[: 2 + PLATEAU] and "second" in agents[2 + PLATEAU :]
    assert any("## This time" in bench.brief for bench in gain.seen)
    back = next(bench for bench in gain.seen if "earlier keep" in bench.brief)
    assert back.start.n == 1, "the win before the newest"
    tried = next(e for e in done if e.n == back.n)
    assert tried.parent == done[1].candidate, "it is held against the newest all the same"
    assert git(toy, "show", f"{tried.candidate}:value.py").startswith("X=9.3")


def test_a_cap_on_dollars_or_tokens_ends_the_campaign_with_exit_code_3(toy: Path) -> None:
    spender = Mover("spender", better, Usage(1000, 0, 50, dollars=0.4))
    stop, done = ran(toy, Portfolio([spender]), dollars=1.0, experiments=50)
    assert (stop.kind, stop.kind.exit_code, len(done)) == (StopKind.DOLLARS, 3, 3)
    left = [bench.allowance.dollars for bench in spender.seen]
    assert left == pytest.approx([1.0, 0.6, 0.2])
    stop, done = ran(toy, Portfolio([spender]), "u", tokens=2000, experiments=50)
    assert (stop.kind, len(done)) == (StopKind.TOKENS, 2) and "2,000 tokens" in stop.words


def test_several_names_make_a_portfolio_and_the_tuner_joins_where_it_can(tmp_path: Path) -> None:
    table = '\n[agents.one]\ncommand = "echo X=9 > value.py"\n[agents.two]\ncommand = "false"\n'
    toy = make_toy(tmp_path / "arena", GREEDY + table, value="X=10  # -20..20\n")
    joined = portfolio_named("one,two", Arena.load(toy))
    assert [agent.name for agent in joined.agents] == ["one", "two", "tuner"]
    done = command(toy, "run", "--agent", "one,two", "--experiments", "1", "--tag", "t")
    assert done.returncode == 0, done.stderr
    unknown = command(toy, "run", "--agent", "one,tow")
    assert unknown.returncode == 2 and "Did you mean two?" in unknown.stderr
    empty = command(toy, "run", "--agent", "portfolio")
    assert empty.returncode == 2 and "[portfolio]" in empty.stderr


def test_shares_of_nobody_are_a_mistake_in_arena_toml(tmp_path: Path) -> None:
    table = '\n[portfolio]\nagents = ["tuner", "x"]\nshares = { tuner = 1.0, y = 2.0 }\n'
    toy = make_toy(tmp_path / "arena", GREEDY + table)
    done = command(toy, "run")
    assert done.returncode == 2
    assert "shares: y takes no part" in done.stderr and "shares: x has no share" in done.stderr
