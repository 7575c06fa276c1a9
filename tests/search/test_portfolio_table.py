"""What [portfolio] in arena.toml decides: who takes turns, how often, and what time costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment, Verdict
from overnight.core.spending import Spent
from overnight.search.portfolio import Portfolio, portfolio_named
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
    assert fixed.mix([]) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("cap", "words"),
    [("dollars = 2.5", "$2.50"), ("tokens = 700", "700 tokens"), ('time = "9s"', "9.0 s")],
)
def test_an_agent_leaves_when_its_caps_of_a_campaign_are_used_up(
    tmp_path: Path, cap: str, words: str
) -> None:
    agents = f'\n[agents.c]\nkind = "acp"\ncommand = "true"\ncampaign = {{ {cap} }}\n'
    made = portfolio_named("c,tuner", Arena.load(write_toy(tmp_path, ARENA + agents)))
    made.charge([Spent("c", dollars=2.4, tokens=699, thought=8.9)])
    assert [agent.name for agent in made.agents] == ["c", "tuner"]
    made.charge([Spent("c", dollars=2.5, tokens=700, thought=9.0)])
    assert list(made.gone()) == [f"c has used up its {words} of this campaign"]


@pytest.mark.parametrize(("price", "turn"), [(0.0, "b"), (100.0, "a")])
def test_an_hour_of_the_machine_costs_what_it_says(tmp_path: Path, price: float, turn: str) -> None:
    """Both gain the same; a spends a dollar and a second, b an hour and a cent."""
    began, spent = datetime.now(UTC), {"a": (1.0, 1), "b": (0.01, 3600)}
    done = [
        Experiment(
            n, name, began, verdict=Verdict.KEEP, gain=1.0, dollars=dollars,
            ended=began + timedelta(seconds=seconds),
        )
        for n, (name, (dollars, seconds)) in enumerate([*spent.items()] * 20)
    ]  # fmt: skip
    history = SimpleNamespace(latest=done[-1], incumbent=done[-1], finished=done)
    made = portfolio(tmp_path, f"tuner = false\ndollars_per_hour = {price}")
    assert made.turn(history).agent.name == turn  # type: ignore[arg-type]
