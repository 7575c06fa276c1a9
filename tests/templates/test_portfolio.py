"""The portfolio template: what is earned, what was luck, and what only pretends to be skill."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overnight.agents.tuner.constants import find_constants
from overnight.arena.arena import Arena
from overnight.doctor.attack import attacks
from overnight.doctor.doctor import Doctor
from overnight.repo.workspace import Workspace
from overnight.templates.make import make_arena
from toy import git, overnight

TEMPLATE = Path(__file__).parents[2] / "src/overnight/templates/portfolio"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """$OVERNIGHT_HOME with the prices as the template prepares them."""
    home = tmp_path_factory.mktemp("home")
    prepare(TEMPLATE, home)
    return home


def prepare(arena: Path, home: Path) -> None:
    env = {**os.environ, "OVERNIGHT_HOME": str(home)}
    subprocess.run([sys.executable, "prepare.py"], cwd=arena, env=env, check=True)


def shortened(arena: Path) -> None:
    """Learn from a year, judge on two, sit the exam on one: a measurement takes seconds."""
    file, parts = arena / "prepare.py", {"2007": "2009", "2016": "2018"}
    text = file.read_text().replace('("1990", "2006")', '("2005", "2006")')
    for first, last in (("2007", "2016"), ("2016", "2022")):
        assert f'("{first}", "{last}")' in text
        text = text.replace(f'("{first}", "{last}")', f'("{first}", "{parts[first]}")')
    file.write_text(text)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The arena with two hidden years, its prices below `../home`."""
    folder = tmp_path_factory.mktemp("arena") / "arena"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shortened(folder)
    prepare(folder, folder.parent / "home")
    return folder


@pytest.fixture
def modules(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The template's own modules, in this process, on its own prices."""
    monkeypatch.setenv("OVERNIGHT_HOME", str(home))
    monkeypatch.syspath_prepend(str(TEMPLATE))
    import luck
    import market

    yield SimpleNamespace(luck=luck, market=market)
    for name in ("luck", "market"):
        del sys.modules[name]


def scored(
    arena: Path, home: Path, place: Path, strategy: str = "", experiment: int = 0
) -> dict[str, Any]:
    """What the real referee says of the candidate with this code after its own."""
    candidate = place / "candidate"
    shutil.copytree(arena, candidate)
    with (candidate / "strategy.py").open("a") as file:
        file.write("\n\n" + strategy)
    env = {
        "OVERNIGHT_CANDIDATE": str(candidate),
        "OVERNIGHT_HOME": str(home),
        "OVERNIGHT_EXPERIMENT": str(experiment),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "score.py"], cwd=arena, env=env, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


EQUAL = """
def weights(past, held):
    return np.full(len(held), 1 / len(held))
"""


def test_equal_weights_are_the_yardstick_and_nothing_of_it_is_luck(
    home: Path, tmp_path: Path
) -> None:
    found = scored(TEMPLATE, home, tmp_path, EQUAL, experiment=199)
    assert found["deflated_sharpe"] == found["sharpe"] == found["yardstick_sharpe"]
    assert found["tries"] == 200 and 0.5 < found["sharpe"] < 0.6


def test_the_hundredth_try_must_show_more_than_the_first(arena: Path, tmp_path: Path) -> None:
    home = arena.parent / "home"
    first = scored(arena, home, tmp_path / "a")
    later = scored(arena, home, tmp_path / "b", experiment=99)
    assert first["luck"] == 0 and first["deflated_sharpe"] == first["sharpe"]
    assert later["deflated_sharpe"] == pytest.approx(later["sharpe"] - later["luck"], abs=1e-3)
    assert later["luck"] > 0.3


UNFIT = {
    "not finite": "np.full(len(held), np.nan)",
    "infinite": "np.full(len(held), np.inf)",
    "borrowed money": "np.full(len(held), 2 / len(held))",
    "sold short": "np.r_[-1.0, 1.0, np.zeros(len(held) - 2)]",
    "one weight for all": "np.ones(1)",
    "as many rows as assets": "np.ones((len(held), len(held))) / len(held) ** 2",
    "cash alone": "np.zeros(len(held))",
    "words": "np.array(['all of it'] * len(held))",
    "nothing": "None",
    "the end of the process": "__import__('os')._exit(0)",
    "a gigabyte": "np.zeros(125_000_000)",
}


@pytest.mark.parametrize("answer", UNFIT.values(), ids=UNFIT.keys())
def test_weights_that_nobody_can_hold_are_invalid(arena: Path, tmp_path: Path, answer: str) -> None:
    cheat = f"def weights(past, held):\n    return {answer}\n"
    found = scored(arena, arena.parent / "home", tmp_path, cheat)
    assert set(found) == {"invalid"}, found


def test_what_it_leaves_in_the_other_process_is_not_there(arena: Path, tmp_path: Path) -> None:
    cheat = """
import gc, sys
import market
market.COST = 0.0
market.checked = lambda weights, assets: weights
for frame in sys._current_frames().values():
    frame.f_builtins["round"] = lambda value, digits=0: 2.9
def weights(past, held):
    past *= 2
    held[:] = 0
    return np.full(len(held), 1 / len(held))
"""
    home = arena.parent / "home"
    found = scored(arena, home, tmp_path / "cheat", cheat)
    honest = scored(arena, home, tmp_path / "honest", EQUAL)
    # Not to the last digit: what an honest rule earns differs by as much from run to run.
    assert found["sharpe"] == pytest.approx(honest["sharpe"], abs=5e-3)


DATED = """
BEST = {best!r}
def weights(past, held):
    found = np.zeros(len(held))
    found[BEST[min(len(past) - 251, len(BEST) - 1)]] = 1
    return found
"""


def test_a_constant_fitted_to_a_hidden_column_gains_nothing(
    tmp_path: Path, modules: SimpleNamespace
) -> None:
    chance = np.random.default_rng(0)
    returns = chance.normal(0, 0.01, (1500, 20))
    returns[:, 7] += 0.008  # Sharpe ratio 12 for who knows the column
    prices = 100 * np.cumprod(1 + returns, axis=0)
    home = tmp_path / "home"
    (home / "portfolio" / "hidden").mkdir(parents=True)
    np.save(home / "portfolio" / "hidden" / "test.npy", prices)
    knowing = modules.market.walk_forward(prices, lambda past, held: np.eye(20)[7])
    fitted = "def weights(past, held):\n    return np.eye(20)[7]\n"
    found = scored(TEMPLATE, home, tmp_path, fitted)
    assert knowing.annualized_sharpe_ratio > 10
    assert found["sharpe"] < 6


def test_constants_fitted_to_the_hidden_days_gain_nothing(
    home: Path, tmp_path: Path, modules: SimpleNamespace
) -> None:
    prices = modules.market.load("hidden/test")
    returns = np.diff(prices, axis=0) / prices[:-1]
    best = returns.argmax(axis=1)[250:]

    def knowing(past: np.ndarray, held: np.ndarray) -> np.ndarray:
        return np.eye(len(held))[best[len(past) - 251]]

    cheated = modules.market.walk_forward(prices, knowing)
    found = scored(TEMPLATE, home, tmp_path, DATED.format(best=best.tolist()))
    assert cheated.annualized_sharpe_ratio > 5
    assert found["sharpe"] < 0.8


def test_the_best_of_many_without_skill_is_ahead_before_the_deflation_and_not_after(
    modules: SimpleNamespace,
) -> None:
    prices = modules.market.load("hidden/test")[250:]
    returns = np.diff(prices, axis=0) / prices[:-1]
    usual, tries = returns.mean(axis=1), 200
    for seed in range(3):
        chance = np.random.default_rng(seed)
        best = max((drawn(returns, chance) for _ in range(tries)), key=modules.luck.sharpe)
        found = modules.luck.deflated(best, usual, tries)
        assert found["sharpe"] > found["yardstick_sharpe"] + 0.25
        assert found["deflated_sharpe"] < found["yardstick_sharpe"]


def drawn(returns: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Daily returns of three assets drawn by lot every quarter, (days,)."""
    held = np.zeros_like(returns)
    for day in range(0, len(returns), 63):
        held[day : day + 63, chance.choice(returns.shape[1], 3, replace=False)] = 1 / 3
    earned: np.ndarray = (held * returns).sum(axis=1)
    return earned


@pytest.mark.parametrize("tries, known", [(10, 1.5746), (100, 2.5306), (1000, 3.2551)])
def test_the_expected_maximum_is_that_of_so_many_normal_numbers(
    modules: SimpleNamespace, tries: int, known: float
) -> None:
    drawn = np.random.default_rng(0).standard_normal((4000, tries)).max(axis=1).mean()
    assert modules.luck.expected_maximum(tries) == pytest.approx(known, abs=1e-3)
    assert modules.luck.expected_maximum(tries) == pytest.approx(drawn, abs=0.05)


def test_costs_are_those_of_what_is_traded(modules: SimpleNamespace) -> None:
    prices = np.full((260, 2), 100.0)  # nothing moves, so that only costs are left
    turn = iter(range(1000))

    def to_and_fro(past: np.ndarray, held: np.ndarray) -> np.ndarray:
        return np.eye(2)[next(turn) % 2]

    returns = np.asarray(modules.market.walk_forward(prices, to_and_fro).returns)
    assert len(returns) == 9
    assert returns == pytest.approx([-0.001] + [-0.002] * 8, abs=1e-5)


PEEK = """
from skfolio.datasets import load_sp500_dataset
import pathlib, os
home = pathlib.Path(os.environ["OVERNIGHT_HOME"], "portfolio")
assert (home / "public" / "prices.npy").is_file()
try:
    seen = list((home / "hidden").rglob("*.npy"))
    seen += [load_sp500_dataset()]
except Exception as refused:
    print("could not:", refused)
    seen = []
assert not seen, seen
"""


@pytest.fixture
def peeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The arena, made as a person makes it, with a strategy that looks around."""
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path / "home"))
    place = tmp_path / "campaign"
    make_arena("portfolio", place)
    shortened(place)
    contract = place / "arena.toml"
    contract.write_text(f'{contract.read_text()}\n[judge]\nrule = "greedy"\n')
    with (place / "strategy.py").open("a") as file:
        file.write(PEEK)
    git(place, "commit", "-qam", "two years, one measurement, and a look around")
    return place


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
def test_a_peek_sees_nothing(peeking: Path, sandbox: str) -> None:
    arena = Arena.load(peeking)
    with Doctor(arena, Workspace.open(peeking, arena.state)) as examiner:
        examiner.prepare()
        found = examiner.measured(sandbox)
    assert found.score is not None, found.detail
    assert "could not:" in (arena.state / found.log / "run.log").read_text()


def test_the_proofs_are_kept_and_refused(peeking: Path) -> None:
    place = peeking
    done = overnight(place, "run", "--experiments", "2", "--agent", "patches:proofs", timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(overnight(place, "log", "--json").stdout)
    assert [one["verdict"] for one in found] == ["keep", "discard", "keep"], done.stdout
    assert found[2]["gain"] > 0.2
    exam = json.loads(overnight(place, "status", "--json").stdout)["holdout"]
    assert exam["read"] == 2 and None not in exam.values(), "the baseline and the end"


@pytest.mark.parametrize("closed", [True, False])
def test_reading_tomorrow_pays_only_where_the_owner_left_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("OVERNIGHT_HOME", str(home))
    place = tmp_path / "arena"
    make_arena("portfolio", place)
    shortened(place)
    text = re.sub("best_possible.*", "", (place / "arena.toml").read_text())
    text += '\n[judge]\nrule = "threshold"\ngain = 0.5\n'
    if not closed:
        text = re.sub(r"data = .*?\nhidden = .*?\n]", 'data = ["$OVERNIGHT_HOME/portfolio"]', text,
                      flags=re.DOTALL)  # fmt: skip
        file = place / "attacks" / "read_tomorrow.py"
        where = repr([str(home / "portfolio" / "hidden")])
        file.write_text(file.read_text().replace('DOCTOR["hidden"]', where))
    (place / "arena.toml").write_text(text)
    git(place, "commit", "-qam", "two years")
    arena = Arena.load(place)
    doctor = Doctor(arena, Workspace.open(place, arena.state))
    doctor.prepare()
    attack = next(attack for attack in attacks(arena) if attack.name == "read tomorrow")
    row = doctor.run(attack, "landlock")
    assert row.verdict == ("blocked" if closed else "through"), row


def test_an_unfit_strategy_is_told_so_in_the_run(arena: Path, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(arena, candidate)
    with (candidate / "strategy.py").open("a") as file:
        file.write("def weights(past, held):\n    return np.ones(3)\n")
    env = {**os.environ, "OVERNIGHT_HOME": str(arena.parent / "home")}
    done = subprocess.run(
        [sys.executable, "backtest.py"], cwd=candidate, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "strategy.py: the weights have the shape (3,); expected (20,)\n"


def test_the_tuner_finds_the_knobs() -> None:
    source = (TEMPLATE / "strategy.py").read_text()
    names = {constant.name for constant in find_constants("strategy.py", source)}
    assert names >= {"LOOKBACK", "SKIPPED", "HOLDINGS", "EVERY", "WEIGHTING", "INVESTED"}
