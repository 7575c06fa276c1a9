"""The portfolio template: what is earned, what was luck, and what only pretends to be skill."""

from __future__ import annotations

import json
import re
import shutil
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
from template import imported, run_here, scored
from toy import git, overnight

TEMPLATE = Path(__file__).parents[2] / "src/overnight/templates/portfolio"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """$OVERNIGHT_HOME with the prices as the template prepares them."""
    home = tmp_path_factory.mktemp("home")
    run_here(TEMPLATE, "prepare.py", HOME=home)
    return home


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
    """The arena as a user makes it, with two hidden years; its prices below `home` beside it."""
    folder = tmp_path_factory.mktemp("arena") / "arena"
    make_arena("portfolio", folder)
    shortened(folder)
    git(folder, "commit", "-qam", "two years")
    run_here(folder, "prepare.py", HOME=folder.with_name("home"))
    return folder


@pytest.fixture
def modules(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The template's own modules, in this process, on its own prices."""
    monkeypatch.setenv("OVERNIGHT_HOME", str(home))
    with imported(TEMPLATE, "luck") as luck, imported(TEMPLATE, "market") as market:
        yield SimpleNamespace(luck=luck, market=market)


def judged(
    arena: Path, place: Path, strategy: str = "", home: Path | None = None, experiment: int = 0
) -> dict[str, Any]:
    """What the referee says of the candidate with this code after its own."""
    candidate = place / "candidate"
    shutil.copytree(arena, candidate)
    with (candidate / "strategy.py").open("a") as file:
        file.write("\n\n" + strategy)
    home = home or arena.with_name("home")
    return scored(arena, candidate, HOME=home, EXPERIMENT=experiment)


EQUAL = """
def weights(past, held):
    return np.full(len(held), 1 / len(held))
"""


@pytest.fixture(scope="module")
def equal(arena: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the referee says of equal weights, after 199 experiments."""
    return judged(arena, tmp_path_factory.mktemp("equal"), EQUAL, experiment=199)


def test_equal_weights_are_the_yardstick_and_nothing_of_it_is_luck(equal: dict[str, Any]) -> None:
    assert equal["deflated_sharpe"] == equal["sharpe"] == equal["yardstick_sharpe"] != 0
    assert equal["tries"] == 200


def test_the_hundredth_try_must_show_more_than_the_first(arena: Path, tmp_path: Path) -> None:
    first = judged(arena, tmp_path / "a")
    later = judged(arena, tmp_path / "b", experiment=99)
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
    found = judged(arena, tmp_path, cheat)
    assert set(found) == {"invalid"}, found


def test_what_it_leaves_in_the_other_process_is_not_there(
    arena: Path, tmp_path: Path, equal: dict[str, Any]
) -> None:
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
    found = judged(arena, tmp_path, cheat)
    # Not to the last digit: what an honest rule earns differs by as much from run to run.
    assert found["sharpe"] == pytest.approx(equal["sharpe"], abs=5e-3)


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
    found = judged(TEMPLATE, tmp_path, fitted, home)
    assert knowing.annualized_sharpe_ratio > 10
    assert found["sharpe"] < 6


def test_constants_fitted_to_the_hidden_days_gain_nothing(
    arena: Path, tmp_path: Path, modules: SimpleNamespace
) -> None:
    prices = np.load(arena.with_name("home") / "portfolio" / "hidden" / "test.npy")
    returns = np.diff(prices, axis=0) / prices[:-1]
    best = returns.argmax(axis=1)[250:]

    def knowing(past: np.ndarray, held: np.ndarray) -> np.ndarray:
        return np.eye(len(held))[best[len(past) - 251]]

    cheated = modules.market.walk_forward(prices, knowing)
    found = judged(arena, tmp_path, DATED.format(best=best.tolist()))
    assert cheated.annualized_sharpe_ratio > 10
    assert found["sharpe"] < 3


def test_the_best_of_many_without_skill_is_ahead_before_the_deflation_and_not_after(
    modules: SimpleNamespace,
) -> None:
    prices = modules.market.load("hidden/test")[250:]
    returns = np.diff(prices, axis=0) / prices[:-1]
    usual, tries = returns.mean(axis=1), 200
    assert 0.5 < modules.luck.sharpe(usual) * 252**0.5 < 0.6
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
assert open({public!r}, "rb").read()
for path in {hidden!r}:
    try:
        open(path, "rb").read()
    except OSError as refused:
        print("could not:", refused)
    else:
        raise SystemExit(path)
"""


@pytest.mark.parametrize(
    "sandbox", ["landlock", pytest.param("bubblewrap", marks=pytest.mark.slow)]
)
def test_a_peek_sees_nothing(
    arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    prices = arena.with_name("home") / "portfolio"
    bundled = Path((prices / "hidden.txt").read_text().strip())
    hidden = [str(file) for file in (*prices.glob("hidden/*.npy"), *bundled.glob("*csv*"))]
    assert len(hidden) > 2
    monkeypatch.setenv("OVERNIGHT_HOME", str(prices.parent))
    place = tmp_path / "arena"
    shutil.copytree(arena, place)
    with (place / "strategy.py").open("a") as file:
        file.write(PEEK.format(public=str(prices / "public" / "prices.npy"), hidden=hidden))
    git(place, "commit", "-qam", "a look around")
    found = Arena.load(place)
    with Doctor(found, Workspace.open(place, found.state)) as examiner:
        measured = examiner.measured(sandbox)
    assert measured.score is not None, measured.detail
    log = (found.state / measured.log / "run.log").read_text()
    assert log.count("could not:") == len(hidden)


@pytest.mark.slow
def test_the_proofs_are_kept_and_refused(
    arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERNIGHT_HOME", str(arena.with_name("home")))
    place = tmp_path / "arena"
    shutil.copytree(arena, place)
    with (place / "arena.toml").open("a") as contract:
        contract.write('\n[judge]\nrule = "greedy"\n')
    git(place, "commit", "-qam", "one measurement")
    done = overnight(place, "run", "--experiments", "2", "--agent", "patches:proofs", timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(overnight(place, "log", "--json").stdout)
    assert [one["verdict"] for one in found] == ["keep", "discard", "keep"], done.stdout
    assert found[2]["gain"] > 0.2
    exam = json.loads(overnight(place, "status", "--json").stdout)["holdout"]
    assert exam["read"] == 2 and None not in exam.values(), "the baseline and the end"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [True, False])
def test_reading_tomorrow_pays_only_where_the_owner_left_it_open(
    arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    home = arena.with_name("home")
    monkeypatch.setenv("OVERNIGHT_HOME", str(home))
    place = tmp_path / "arena"
    shutil.copytree(arena, place)
    text = re.sub("best_possible.*", "", (place / "arena.toml").read_text())
    text += '\n[judge]\nrule = "threshold"\ngain = 0.5\n'
    if not closed:
        text = re.sub(r"data = .*?\nhidden = .*?\n]", 'data = ["$OVERNIGHT_HOME/portfolio"]', text,
                      flags=re.DOTALL)  # fmt: skip
        file = place / "attacks" / "read_tomorrow.py"
        where = repr([str(home / "portfolio" / "hidden")])
        file.write_text(file.read_text().replace('DOCTOR["hidden"]', where))
    (place / "arena.toml").write_text(text)
    git(place, "commit", "-qam", "another rule")
    found = Arena.load(place)
    workspace = Workspace.open(place, found.state)
    doctor = Doctor(found, workspace)
    known = {attack.name: attack for attack in attacks(workspace, doctor.base)}
    attack = known["read tomorrow"]
    doctor.prepare()
    row = doctor.run(attack, "landlock")
    assert row.verdict == ("blocked" if closed else "through"), row


def test_an_unfit_strategy_is_told_so_in_the_run(arena: Path, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(arena, candidate)
    with (candidate / "strategy.py").open("a") as file:
        file.write("def weights(past, held):\n    return np.ones(3)\n")
    with pytest.raises(SystemExit) as ended:
        run_here(candidate, "backtest.py", HOME=arena.with_name("home"))
    assert ended.value.code == "strategy.py: the weights have the shape (3,); expected (20,)"


def test_the_tuner_finds_the_knobs() -> None:
    source = (TEMPLATE / "strategy.py").read_text()
    names = {constant.name for constant in find_constants("strategy.py", source)}
    assert names >= {"LOOKBACK", "SKIPPED", "HOLDINGS", "EVERY", "WEIGHTING", "INVESTED"}
