"""What [portfolio] in arena.toml decides: who takes turns, how often, and what time costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment, Proposal, Verdict
from overnight.core.spending import Spent
from overnight.core.usage import Usage
from overnight.search.portfolio import Portfolio, portfolio_named
from overnight.search.strategy import Start
from toy import ARENA, write_toy

AGENTS = '\n[agents.a]\ncommand = "true"\n[agents.b]\ncommand = "true"\n'


def portfolio(folder: Path, table: str) -> Portfolio:
    text = f'{ARENA}{AGENTS}[portfolio]\nagents = ["a", "b"]\n{table}\n'
    return portfolio_named("portfolio", Arena.load(write_toy(folder, text)))


@pytest.mark.parametrize(
    ("table", "names"), [("", ["a", "b", "tuner"]), ("tuner = false", ["a", "b"])]
)
def test_its_agents_take_turns_and_the_tuner_joins(
    tmp_path: Path, table: str, names: list[str]
) -> None:
    assert [agent.name for agent in portfolio(tmp_path, table).agents] == names


def test_turns_go_by_its_shares(tmp_path: Path) -> None:
    fixed = portfolio(tmp_path, "tuner = false\nshares = { a = 3.0, b = 1.0 }")
    assert fixed.expected_shares([]) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("cap", "words"),
    [("dollars = 2.5", "$2.50"), ("tokens = 700", "700 tokens"), ('time = "9s"', "9.0 s")],
)
def test_an_agent_leaves_when_its_caps_of_a_campaign_are_used_up(
    tmp_path: Path, cap: str, words: str
) -> None:
    agents = f'\n[agents.c]\nkind = "acp"\ncommand = "true"\ncampaign = {{ {cap} }}\n'
    made = portfolio_named("c,tuner", Arena.load(write_toy(tmp_path, ARENA + agents)))
    made.enforce_caps([Spent("c", dollars=2.4, tokens=699, thought=8.9)])
    assert [agent.name for agent in made.agents] == ["c", "tuner"]
    made.enforce_caps([Spent("c", dollars=2.5, tokens=700, thought=9.0)])
    assert list(made.newly_out()) == [f"c has used up its {words} for this campaign"]


def test_shares_are_of_those_that_the_table_names(tmp_path: Path) -> None:
    text = f'{ARENA}{AGENTS}[agents.c]\ncommand = "true"\n'
    text += '[portfolio]\nagents = ["c"]\ntuner = false\nshares = { c = 1.0 }\n'
    others = portfolio_named("a,b", Arena.load(write_toy(tmp_path, text)))
    assert others.expected_shares([]) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(("price", "turn"), [(0.0, "b"), (100.0, "a")])
def test_an_hour_of_the_machine_costs_what_it_says(tmp_path: Path, price: float, turn: str) -> None:
    """Both gain the same; a spends a dollar and a second, b an hour and a cent."""
    began, spent = datetime.now(UTC), {"a": (1.0, 1), "b": (0.01, 3600)}
    done = []
    for n, (name, (dollars, seconds)) in enumerate([*spent.items()] * 20):
        usage = Usage(dollars=dollars)
        asked = Proposal(n, name, 0, 0, began, usage=usage, thought=float(seconds))
        kept = Experiment(n, name, began, verdict=Verdict.KEEP, gain=1.0, ended=began)
        done.append(replace(kept, proposal=asked))
    book = SimpleNamespace(finished=done, next_number=len(done))
    made = portfolio(tmp_path, f"tuner = false\ndollars_per_hour = {price}")
    start = Start(done[-1], done[-1])
    assert made.ask(book, start).agent.name == turn  # type: ignore[arg-type]
