"""Settings of arena.toml: names and ledgers, cards, and what constraints cost and refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight import Campaign, Limits
from overnight.arena.arena import Arena
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Measurement, Outcome
from toy import ARENA, make_toy
from writer import Writer


def test_arenas_share_a_ledger_and_are_told_apart_by_their_names(tmp_path: Path) -> None:
    ledger = f'ledger = "sqlite:///{tmp_path}/both.db"\neditable'
    for name in ("one", "two"):
        text = ARENA.replace('"toy"', f'"{name}"').replace("editable", ledger, 1)
        with Campaign.open(make_toy(tmp_path / name, text), "same") as campaign:
            assert [c.arena for c in campaign.ledger.campaigns()] == [name]
    assert (tmp_path / "both.db").exists()


def test_a_campaign_asks_for_as_many_cards_as_a_run_needs(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA.replace("[run]", "[run]\ngpus = 64"))
    with (
        Campaign.open(toy, "t") as campaign,
        pytest.raises(MeasurementImpossible, match=r"run.gpus: found 64"),
    ):
        campaign.run(Writer([]), Limits())


def with_constraint(bounds: str, direction: str = "minimize") -> Arena:
    text = f"{ARENA}\n[constraints]\nsize = {{ {bounds} }}\n".replace("minimize", direction)
    return Arena.parse(text, Path("/nowhere"))


def test_soft_bounds_cost_in_the_units_of_the_metric() -> None:
    measurement = Measurement(
        "c", 0, datetime.now(UTC), Outcome.FINISHED, score=2.0, numbers={"size": 150.0}
    )
    worths = {
        bounds: with_constraint(bounds).worth(measurement)
        for bounds in ("max = 200", "soft = 200", "soft = 100", "soft = 100, cost = 10.0")
    }
    assert list(worths.values()) == [-2.0, -2.0, -3.0, -7.0]
    assert with_constraint("soft = 100", "maximize").worth(measurement) == 1.0


@pytest.mark.parametrize(
    ("bounds", "value", "words"),
    [
        ("max = 10", 11.0, "is 11, above the maximum 10"),
        ("min = 10", 9.0, "is 9, below the minimum 10"),
        ("min = 10, max = 10", 10.0, None),
        ("max = 10", None, "was not measured"),
        ("soft = 10", None, None),
    ],
)
def test_hard_bounds_are_broken_by_numbers_beyond_them(
    bounds: str, value: float | None, words: str | None
) -> None:
    assert with_constraint(bounds).constraints["size"].broken_by(value) == words
