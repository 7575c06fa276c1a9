"""Which run is lost: learned from curves alone, whatever the metric's direction, scale and zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.arena.settings import Metric
from overnight.core.experiment import Experiment, Measurement, Outcome
from overnight.judge.prune import (
    ALIKE,
    CAUTION,
    CONTROLS,
    EARLIEST,
    LATEST,
    LEAST,
    Curve,
    Known,
    Lost,
    Pruning,
    is_control,
    pruning_for,
    value_at,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)

LOWER = Metric(name="loss", direction="minimize")
HIGHER = Metric(name="wins", direction="maximize")
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# Not in the raster of the thresholds, so that no decision hangs on the last bit.
OFF = 0.123456

Values = tuple[float, ...]


def curve(values: Values) -> Curve:
    return list(zip(GRID, values, strict=False))


def pruning(metric: Metric, runs: list[tuple[Values, float]], least: float = 0.0) -> Pruning:
    """Held against the best of these runs, given as reported."""
    known = [Known(curve(tuple(map(metric.orient, c))), metric.orient(s)) for c, s in runs]
    best = max(known, key=lambda k: k.score)
    return Pruning(metric, known, [best], best.score + least)


def said(p: Pruning, values: Values) -> list[bool]:
    """Whether it is lost at each point."""
    points = curve(values)
    return [p.lost(points[: n + 1]) is not None for n in range(len(points))]


numbers = st.integers(-1000, 1000).map(float)
whole = st.tuples(*[numbers] * len(GRID))
night = st.lists(st.tuples(whole, numbers), min_size=1, max_size=ALIKE + 6)


@given(night, whole, st.integers(-3, 6), st.integers(-5000, 5000), st.integers(0, 50))
def test_scale_and_zero_of_the_metric_change_no_decision(
    runs: list[tuple[Values, float]], values: Values, power: int, zero: int, least: int
) -> None:
    def moved(v: float) -> float:
        return v * 2.0**power + zero

    candidate = tuple(v + OFF for v in values)
    others = [(tuple(map(moved, c)), moved(s)) for c, s in runs]
    before = said(pruning(LOWER, runs, least), candidate)
    scaled = pruning(LOWER, others, least * 2.0**power)
    assert said(scaled, tuple(map(moved, candidate))) == before


@given(night, whole)
def test_the_direction_of_the_metric_changes_no_decision(
    runs: list[tuple[Values, float]], values: Values
) -> None:
    candidate = tuple(v + OFF for v in values)
    mirrored = [(tuple(-v for v in c), -s) for c, s in runs]
    found = said(pruning(HIGHER, mirrored), tuple(-v for v in candidate))
    assert found == said(pruning(LOWER, runs), candidate)


@given(night, whole)
def test_no_run_that_is_ahead_of_the_incumbent_is_lost(
    runs: list[tuple[Values, float]], values: Values
) -> None:
    p = pruning(LOWER, runs)
    best = min(runs, key=lambda run: run[1])[0]
    ahead = tuple(min(v, b) for v, b in zip(values, best, strict=True))
    worst = max(best) - min(best)
    for n in range(len(GRID)):
        lost = p.lost(curve(ahead)[: n + 1])
        assert lost is None or (lost.diverged and worst > 0)


@given(night, st.integers(0, 20))
def test_no_run_is_lost_that_goes_as_one_went_that_ended_well_enough(
    runs: list[tuple[Values, float]], which: int
) -> None:
    """Whatever is learned from would not have been ended itself, had it been good enough."""
    values, score = runs[which % len(runs)]
    p = replace(pruning(LOWER, runs), needed=LOWER.orient(score))
    lost = [p.lost(curve(values)[: n + 1]) for n in range(len(GRID))]
    assert not any(one and not one.diverged for one in lost)


def flat(level: float, score: float) -> tuple[Values, float]:
    return (level,) * len(GRID), score


HOPELESS = (99.0,) * len(GRID)
NIGHT = [flat(10.0 + n, 5.0 + n) for n in range(LEAST)]


def test_nothing_is_lost_before_enough_is_known() -> None:
    assert not any(said(pruning(LOWER, NIGHT[:-1]), HOPELESS))
    assert said(pruning(LOWER, NIGHT), HOPELESS) == [EARLIEST <= at <= LATEST for at in GRID]
    assert not any(said(Pruning(LOWER, pruning(LOWER, NIGHT).finished), HOPELESS))
    assert pruning(LOWER, NIGHT).lost([]) is None


def test_a_run_may_end_as_well_as_others_did_from_there_and_some_of_their_spread_better() -> None:
    # They gained 5 to 7 from any point on; the incumbent gained 5, and has 10 there.
    runs = [flat(10 + 9 * n, 5 + 9 * n - gain) for n, gain in enumerate((0, 0, 1, 1, 2, 2))]
    lost = pruning(LOWER, runs).lost(curve((99.0, 99.0, 99.0)))
    assert lost is not None and (lost.at, lost.value, lost.incumbent) == (0.3, -99, -10)
    assert (lost.lead, lost.needed) == (-89, -5)
    assert lost.most == pytest.approx(-99 + 7 + CAUTION * 2 / 5)
    words = "at 30% of the budget: loss 99, the incumbent had 10; "
    assert lost.words(LOWER) == words + "it would end at 91.2 at best, 5 is needed"


def test_only_those_that_were_most_alike_are_asked() -> None:
    # Far behind there is much to gain; beside the incumbent, whatever one does, there is not.
    near = [flat(10.0 + n / 100, 5.0 + n / 100) for n in range(ALIKE)]
    far = [flat(90.0 + n, 6.0) for n in range(LEAST)]
    p = pruning(LOWER, [*near, *far])
    assert [said(p, (v,) * 3)[-1] for v in (10.05, 12.0, 90.0)] == [True, True, False]


def test_where_leads_shrink_a_run_must_be_further_behind() -> None:
    # Half of every lead is gone at the end.
    runs = [flat(10 + 2 * n, 5 + n) for n in range(LEAST)]
    p = pruning(LOWER, runs, least=-1.0)
    assert [said(p, (v,) * 3)[-1] for v in (11.9, 12.1)] == [False, True]
    lost = p.lost(curve((14.0,) * 3))
    assert lost is not None and lost.lead == -2.0


def test_a_run_that_diverges_is_lost_at_once_and_one_that_begins_badly_is_not() -> None:
    one = [((10.0, 9.0, 8.0, 7.0, 6.0, 5.5, 5.0), 5.0)]
    p = pruning(LOWER, one)
    found: list[Lost | None] = [p.lost(curve(v)) for v in ((30.0,), (12.0, 19.0), (12.0, 23.0))]
    assert [f is not None and f.diverged for f in found] == [False, False, True]
    assert found[2] and "23 has diverged, the incumbent's worst was 10" in found[2].words(LOWER)


def test_one_in_ten_is_a_control_and_always_the_same_ones() -> None:
    chosen = [is_control("nov25", n) for n in range(20_000)]
    assert abs(sum(chosen) / 20_000 - 1 / CONTROLS) < 0.01
    assert chosen == [is_control("nov25", n) for n in range(20_000)]
    assert chosen != [is_control("nov26", n) for n in range(20_000)]


def test_a_curve_is_read_between_its_points_only() -> None:
    read: Callable[[float], float | None] = lambda at: value_at([(0.2, 4.0), (0.4, 2.0)], at)  # noqa: E731
    assert [read(at) for at in (0.1, 0.2, 0.4, 0.5)] == [None, 4.0, 2.0, None]
    between = read(0.3)
    assert between is not None and abs(between - 3.0) < 1e-9


def test_what_is_known_comes_from_first_runs_and_what_is_to_beat_from_the_parents() -> None:
    def measured(score: float | None, at: float = 0.3) -> Measurement:
        outcome = Outcome.PRUNED if score is None else Outcome.FINISHED
        return Measurement("c", 0, NOW, outcome, score, curve=((at, 9.0),))

    tip = Experiment(1, "tuner", NOW, measurements=(measured(5.0), measured(4.0)))
    ended, silent = measured(None), replace(measured(7.0), curve=())
    others = [Experiment(n, "tuner", NOW, measurements=(m,)) for n, m in enumerate((ended, silent))]
    p = pruning_for(LOWER, [tip, *others], tip, -5.0, control=True)
    assert [k.score for k in p.finished] == [-5.0]
    assert [k.score for k in p.incumbent] == [-5.0, -4.0]
    assert p.incumbent[0].curve == [(0.3, -9.0)] and p.control and p.needed == -5.0
