"""Which run is lost: learned from curves alone, whatever the metric's direction, scale and zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.prune import (
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
    value_at,
)
from overnight.tables import Metric

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
    return Pruning(metric, known, [best.curve], best.score + least)


def said(p: Pruning, values: Values) -> list[bool]:
    """Whether it is lost at each point."""
    points = curve(values)
    return [p.lost(points[: n + 1]) is not None for n in range(len(points))]


numbers = st.integers(-1000, 1000).map(float)
whole = st.tuples(*[numbers] * len(GRID))
night = st.lists(st.tuples(whole, numbers), min_size=1, max_size=11)


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


@given(night, st.integers(0, 8))
def test_no_run_is_lost_that_goes_as_one_went_that_ended_well_enough(
    runs: list[tuple[Values, float]], which: int
) -> None:
    """Whatever was learned from is never ended itself, had it been good enough to be kept."""
    winner = runs[which % len(runs)]
    p = pruning(LOWER, runs, -1.0)
    if winner[1] == min(s for _, s in runs):
        lost = [p.lost(curve(winner[0])[: n + 1]) for n in range(len(GRID))]
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


def test_the_margin_is_what_others_gained_more_and_some_of_their_spread() -> None:
    # They gained 5 to 7 from any point on; the incumbent gained 5, and has 10 there.
    runs = [flat(10 + 9 * n, 5 + 9 * n - gain) for n, gain in enumerate((0, 0, 1, 1, 2, 2))]
    lost = pruning(LOWER, runs).lost(curve((99.0, 99.0, 99.0)))
    assert lost is not None and (lost.at, lost.value, lost.incumbent) == (0.3, -99, -10)
    assert lost.margin == pytest.approx(2 + CAUTION * 2 / 5)
    words = "at 30% of the budget: loss 99 there, the incumbent had 10 (margin 2.8)"
    assert lost.words(LOWER) == words


def test_where_leads_shrink_a_run_must_be_further_behind() -> None:
    # Half of every lead is gone at the end.
    runs = [flat(10 + 2 * n, 5 + n) for n in range(LEAST)]
    p = pruning(LOWER, runs, least=-1.0)
    assert [said(p, (v,) * 3)[-1] for v in (11.9, 12.1)] == [False, True]


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
