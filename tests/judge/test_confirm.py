"""The rule `confirm`: luck is not kept, gains are, and no choice of units changes a decision."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean

import pytest
from benchmarks.judge import (
    NOISES,
    Campaign,
    Machine,
    lone_gain,
    nulls,
    progress,
    seeds,
    simplifications,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.arena.settings import JudgeTable
from overnight.core.experiment import Verdict
from overnight.judge.base import Decision, Evidence, MeasurePair, More, Side, Standing
from overnight.judge.confirm import Confirm
from overnight.judge.noise import Reading, noise_of
from overnight.judge.odds import CHANCES

RULE = Confirm(JudgeTable(), 0.0)

MIXED = ((0, 0.0), (1, 0.8), (2, -0.3))
"""An incumbent, a better keep, and a simplification of that which is worse than either."""
THREE = ((0, 0.0), (1, 3.0), (2, 2.2))


def readings(scores: list[float], first: int = 0) -> tuple[Reading, ...]:
    return tuple(Reading(score, place, seed=place) for place, score in enumerate(scores, first))


def paired(scores: list[float], first: int) -> list[Reading]:
    """One side of pairs that were taken one after another."""
    return [Reading(score, place, place, place) for place, score in enumerate(scores, first)]


def drawn(seed: int, count: int, mean: float = 0.0) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(mean, 1.0) for _ in range(count)]


def verdict_of(word: object) -> object:
    return word.verdict if isinstance(word, Decision) else word


# -- the error rate and the power, on few campaigns; benchmarks/judge.py runs many

slow = pytest.mark.slow


@pytest.mark.parametrize("campaigns", [3, pytest.param(30, marks=slow)])
def test_campaigns_of_identical_candidates_keep_nothing(campaigns: int) -> None:
    found = [nulls("confirm", noise, seed) for noise in NOISES for seed in range(campaigns)]
    assert sum(s.false for s in found) <= 0.05 * len(found)
    price = sum(s.measurements for s in found) / sum(s.experiments for s in found)
    assert price <= 1.6


@pytest.mark.parametrize("campaigns", [5, pytest.param(30, marks=slow)])
def test_a_candidate_that_repeats_its_own_seed_gains_nothing(campaigns: int) -> None:
    found = [seeds("confirm", "Gaussian", seed) for seed in range(campaigns)]
    assert sum(s.false for s in found) <= campaigns / 6


@pytest.mark.parametrize(
    ("gain", "campaigns"), [(3.0, 40), *(pytest.param(g, 120, marks=slow) for g in (1.0, 2.0, 3.0))]
)
def test_a_true_gain_is_kept_as_often_as_power_promises(gain: float, campaigns: int) -> None:
    """Within three standard errors; a gain that stands out is also reported as large as it is."""
    found = [lone_gain("confirm", "Gaussian", seed, gain) for seed in range(campaigns)]
    error = math.sqrt(CHANCES[gain] * (1 - CHANCES[gain]) / campaigns) + 0.01
    assert fmean(s.true >= gain for s in found) == pytest.approx(CHANCES[gain], abs=3 * error)
    if gain > 1:
        claimed = fmean(s.claimed for s in found if s.true >= gain)
        assert claimed == pytest.approx(gain, rel=0.15)


@pytest.mark.parametrize("campaigns", [8, pytest.param(30, marks=slow)])
def test_the_same_measurements_lead_further_than_by_greed_where_harms_are_common(
    campaigns: int,
) -> None:
    found = {
        rule: [progress(rule, "Gaussian", seed, "harms are common") for seed in range(campaigns)]
        for rule in ("greedy", "confirm")
    }
    truly = {rule: fmean(s.true for s in scores) for rule, scores in found.items()}
    claimed = {rule: fmean(s.claimed for s in scores) for rule, scores in found.items()}
    assert truly["confirm"] > truly["greedy"]
    assert claimed["greedy"] > 2 * truly["greedy"], "which is what is wrong with it"
    assert claimed["confirm"] < 1.35 * truly["confirm"]


# -- single decisions


def test_the_baseline_is_measured_until_its_noise_is_known() -> None:
    noisy = drawn(1, 5)
    words = [RULE.decide(Evidence(readings(noisy[:k]), Standing())) for k in range(1, 6)]
    assert [isinstance(word, More) for word in words] == [True, True, True, True, False]
    assert isinstance(RULE.decide(Evidence(readings([2.0] * 3), Standing())), Decision)


def test_without_noise_one_measurement_suffices_and_a_keep_at_three_times() -> None:
    standing = Standing((readings([1.0] * 3),), (False,))
    worse = RULE.decide(Evidence(readings([1.0], 3), standing))
    assert verdict_of(worse) is Verdict.DISCARD
    assert RULE.decide(Evidence(readings([1.1], 3), standing)) == More(Side.CANDIDATE)
    assert RULE.decide(Evidence(readings([1.1] * 2, 3), standing)) == More(Side.CANDIDATE)
    better = RULE.decide(Evidence(readings([1.1] * 3, 3), standing))
    assert isinstance(better, Decision) and better.verdict is Verdict.KEEP
    assert better.gain == pytest.approx(0.1)


def test_a_candidate_that_brings_chance_into_a_metric_without_noise_is_not_kept_for_a_draw() -> (
    None
):
    standing = Standing((readings([1.0] * 3),), (False,))
    word = RULE.decide(Evidence(readings([1.6, 0.4], 3), standing))
    assert verdict_of(word) is not Verdict.KEEP


@pytest.mark.parametrize("chance", [pytest.param(0.2, marks=slow), 0.4])
def test_a_metric_of_two_values_that_looked_deterministic_keeps_no_luck(chance: float) -> None:
    class Coin(Machine):
        def measure(self, true: float) -> float:
            self.count += 1
            return float(self.random.random() < chance)

    false = 0
    for seed in range(100):
        campaign = Campaign(RULE, Coin("Gaussian", seed))
        campaign.begin()
        for _ in range(20):
            campaign.attempt(0.0)
        false += campaign.false > 0
    assert false <= 6  # two looks at a keep: 8 and 11


def test_one_wild_reading_neither_keeps_nor_is_forgotten_in_the_noise() -> None:
    for seed in range(30):
        incumbent = drawn(seed, 8)
        tip = [2.0, *drawn(1000 + seed, 3)]
        stack = (readings(incumbent), readings(tip, 8))
        pairs = paired([1e6], 20) + paired(incumbent[:1], 20)
        stack = ((*stack[0], pairs[1]), (*stack[1], pairs[0]))
        word = RULE.review(Standing(stack, (False, False), patience=math.inf, now=21))
        assert verdict_of(word) is not Verdict.KEEP


def test_identical_repeats_beside_noisy_ones_count_as_one_draw_and_the_reason_says_so() -> None:
    incumbent, tip = drawn(3, 20), [1.5] * 10
    stack = (readings(incumbent), readings(tip, 10))
    standing = Standing(stack, (False, False), experiments=30, patience=math.inf, now=40)
    word = RULE.review(standing)
    for seed in range(40, 60):  # more pairs are asked for before it is given up
        if not isinstance(word, MeasurePair):
            break
        stack = ((*stack[0], *paired(drawn(seed, 1), seed)), (*stack[1], *paired([1.5], seed)))
        word = RULE.review(replace(standing, stack=stack))
    assert isinstance(word, Decision) and word.verdict is Verdict.DISCARD
    assert "fixes its seed" in word.reason and "one draw" in word.reason


def test_only_what_the_noise_may_explain_is_called_within_it() -> None:
    standing = Standing((readings(drawn(1, 8)),), (False,))
    words = [RULE.decide(Evidence(readings([score], 8), standing)) for score in (-0.7, -20.0)]
    near, far = (word.reason for word in words if isinstance(word, Decision))
    assert "within the noise" in near and "within the noise" not in far
    assert far.startswith("no better than its parent (-")


def test_a_discard_after_a_trial_reports_the_gain_that_was_measured() -> None:
    stack = (tuple(paired(drawn(1, 30, 0.0), 0)), tuple(paired(drawn(2, 30, 0.5), 0)))
    standing = Standing(stack, (False, False), patience=math.inf, now=40)
    words = [Confirm(JudgeTable(), least).review(standing) for least in (0.0, 2.0)]
    gains = [word.gain for word in words if isinstance(word, Decision)]
    assert [verdict_of(word) for word in words] == [Verdict.DISCARD] * 2
    assert gains[0] == pytest.approx(gains[1], abs=0.25), "drawn back from the least that counts"


def test_simpler_code_is_kept_when_it_is_as_good_and_the_rule_can_be_switched_off() -> None:
    standing = Standing((readings(drawn(5, 40)),), (False,))
    tip = fmean(drawn(5, 40))
    same = readings([tip] * 4, 40)
    plain = RULE.decide(Evidence(same, standing))
    simpler = RULE.decide(Evidence(same, standing, simpler=True))
    off = Confirm(JudgeTable(simplify=False), 0.0).decide(Evidence(same, standing, simpler=True))
    assert verdict_of(simpler) is Verdict.PROVISIONAL
    assert isinstance(simpler, Decision) and simpler.reason.startswith(
        "simpler, and as good to within"
    )
    assert verdict_of(plain) is not Verdict.PROVISIONAL and off == plain
    worse = RULE.decide(Evidence(readings([tip - 3.0] * 4, 40), standing, simpler=True))
    assert verdict_of(worse) is Verdict.DISCARD


def test_a_first_score_below_the_least_never_makes_a_provisional_keep() -> None:
    for seed in range(20):
        stack = (readings(drawn(seed, 5)), readings(drawn(100 + seed, 1 + seed % 3, 2.0), 5))
        standing = Standing(stack, (False, False), now=9)
        least, worst = (RULE.least(standing, simpler) for simpler in (False, True))
        assert worst < least
        word = RULE.decide(Evidence(readings([least - 1e-6], 9), standing))
        assert verdict_of(word) is not Verdict.PROVISIONAL
        word = RULE.decide(Evidence(readings([worst - 1e-6], 9), standing, simpler=True))
        assert verdict_of(word) is Verdict.DISCARD
        word = RULE.decide(Evidence(readings([least + 1.0], 9), standing))
        assert verdict_of(word) is Verdict.PROVISIONAL
    exact = Standing((readings([1.0] * 3),), (False,))
    assert RULE.least(exact, False) == RULE.least(exact, True) == 1.0


def test_a_pair_takes_turns_and_is_asked_for_only_at_a_fair_price() -> None:
    stack = (readings(drawn(7, 20)), readings(drawn(8, 6, 4.0), 20))
    poor = RULE.review(Standing(stack, (False, False), patience=0.0, now=30))
    assert poor is None
    first = RULE.review(Standing(stack, (False, False), patience=40.0, now=30))
    assert first == MeasurePair(Side.TIP)
    stack = ((*stack[0], *paired([0.1], 30)), (*stack[1], *paired([4.2], 30)))
    assert RULE.review(Standing(stack, (False, False), patience=40.0, now=32)) == MeasurePair(
        Side.INCUMBENT
    )


def test_pairs_are_matched_by_their_number_and_no_seed_is_looked_at() -> None:
    incumbent = (*readings(drawn(1, 10)), *paired(drawn(3, 12), 30))
    tip = (*readings(drawn(2, 4, 4.0), 12), *paired(drawn(4, 12, 4.0), 30))

    def word(**change: int | None) -> object:
        stack = tuple(tuple(replace(r, **change) for r in side) for side in (incumbent, tip))
        return RULE.review(Standing(stack, (False, False), patience=math.inf, now=60))

    assert isinstance(kept := word(), Decision) and kept.keep
    assert word(seed=7) == kept
    assert word(pair=None) == MeasurePair(Side.TIP), "no reading was taken beside another"


# -- units: what a person calls the metric must not matter

SCORES = st.lists(st.integers(-60, 60).map(lambda n: n / 8), min_size=4, max_size=12)


TINY, HUGE = 2.0**-664, 2.0**299
"""Scales that bring scores to about 1e-200 and 1e90; powers of two, so that no digit is lost."""


def asked(incumbent: list[float], candidate: list[float]) -> list[object]:
    """All that the rule says of a candidate, and of a tip with the same readings."""
    before, mine = readings(incumbent), readings(candidate, 50)
    pairs, beside = paired(candidate, 60), paired(incumbent, 60)
    parent = Standing((before,), (False,))
    tip = Standing((before, mine), (False, False), patience=30.0, now=70)
    trial = replace(tip, stack=((*before, *beside), (*mine, *pairs)), patience=math.inf, now=80)
    return [
        *(RULE.decide(Evidence(mine[:3], parent, simpler)) for simpler in (False, True)),
        *(RULE.review(standing) for standing in (tip, trial, replace(tip, simpler=(True, True)))),
    ]


@pytest.mark.filterwarnings("error")
@given(
    SCORES,
    SCORES,
    st.sampled_from([(0.25, -64.0), (2.0, 4096.0), (1024.0, 0.0), (TINY, 0.0), (HUGE, 0.0)]),
)
@settings(max_examples=200, deadline=None)
def test_scale_and_shift_of_the_metric_change_no_decision(
    incumbent: list[float], candidate: list[float], unit: tuple[float, float]
) -> None:
    scale, shift = unit
    moved = ([scale * score + shift for score in scores] for scores in (incumbent, candidate))
    for far, near in zip(asked(*moved), asked(incumbent, candidate), strict=True):
        assert verdict_of(far) == verdict_of(near)
        if not shift and isinstance(far, Decision) and isinstance(near, Decision):
            assert far.gain == scale * near.gain
            assert far.shares == tuple(scale * share for share in near.shares)
            assert far.interval == (near.interval and tuple(scale * end for end in near.interval))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wild", [1e90, -1e90, 1e-200, 0.0])
def test_one_score_of_another_world_ends_no_campaign(wild: float) -> None:
    """Among scores around 1e-200: what looks good at once, what does not, and a tip like that."""
    small = [TINY * score for score in drawn(1, 8)]
    for candidate in ([wild] * 3, [*small[:2], wild]):
        for word in asked(small, candidate) + asked(candidate, small):
            assert not isinstance(word, Decision) or math.isfinite(word.gain)


@given(SCORES, SCORES)
@settings(max_examples=100, deadline=None)
def test_the_noise_has_no_direction(incumbent: list[float], other: list[float]) -> None:
    pool = [readings(incumbent), readings(other, 50)]
    turned = [tuple(replace(r, score=-r.score) for r in series) for series in pool]
    assert noise_of(pool[0], pool[1:]).sigma == noise_of(turned[0], turned[1:]).sigma
    assert noise_of(pool[0], pool[1:]).drift == noise_of(turned[0], turned[1:]).drift


@given(st.permutations(range(6)), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_the_order_in_which_the_candidates_of_the_pool_arrive_does_not_matter(
    order: list[int], seed: int
) -> None:
    pool = [readings(drawn(seed + k, 3), 10 * k) for k in range(6)]
    standing = Standing((readings(drawn(seed, 5), 100),), (False,), repeats=tuple(pool))
    shuffled = replace(standing, repeats=tuple(pool[k] for k in order))
    for score in (-1.0, 0.3, 1.1, 4.0):
        evidence = Evidence(readings([score], 110), standing)
        other = Evidence(readings([score], 110), shuffled)
        assert verdict_of(RULE.decide(evidence)) == verdict_of(RULE.decide(other))


def test_a_simulated_campaign_is_the_same_every_time() -> None:
    runs = []
    for _ in range(2):
        campaign = Campaign(RULE, Machine("Gaussian", 5))
        campaign.begin()
        for n in range(30):
            campaign.attempt(1.0 if n % 7 == 0 else 0.0)
        runs.append((campaign.stack[0].true, campaign.claimed, campaign.machine.count))
    assert runs[0] == runs[1]


def test_what_a_stack_gained_is_dealt_out_as_it_is_believed() -> None:
    pairs, beside = paired(drawn(3, 12), 30), paired(drawn(4, 12, 4.0), 30)
    stack = ((*readings(drawn(1, 10)), *pairs), readings(drawn(2, 4, 0.3), 12))
    word = RULE.review(
        Standing(
            (*stack, (*readings(drawn(5, 4, 4.0), 20), *beside)),
            (False, False, False),
            on_trial=True,
            trials=1,
            now=42,
        )
    )
    assert isinstance(word, Decision) and word.verdict is Verdict.KEEP
    assert word.shares[0] < 1.0 < word.shares[1] and sum(word.shares) == pytest.approx(word.gain)


@pytest.mark.parametrize(
    "loss", [pytest.param(0.1, marks=slow), 0.3, pytest.param(1.0, marks=slow)]
)
def test_simplifications_lose_no_more_than_the_margin_however_many_there_are(loss: float) -> None:
    """The margin, one sigma here, is counted from the last keep that was better."""
    lost = [-simplifications("confirm", "Gaussian", seed, loss).true for seed in range(12)]
    # One in twenty may lose more than that, and then a step more.
    assert sum(each > 1.0 for each in lost) <= 2 and max(lost) <= 1.0 + loss


def test_exact_simplifications_lose_no_more_than_the_margin_either() -> None:
    rule = Confirm(JudgeTable(margin=1.0), 0.0)
    done = Campaign(rule, Machine("deterministic", 0))
    done.begin()
    for _ in range(10):
        done.attempt(-0.4, simpler=True)
    assert done.stack[0].true == pytest.approx(-0.8)


def test_a_simplification_of_what_is_still_provisional_is_decided_too() -> None:
    """Otherwise the search would go on from it, worse than what it was made from, for ever."""
    undecided, kept = 0, 0
    for seed in range(60):
        levels = [readings(drawn(4 * seed + k, 15, mean), 15 * k) for k, mean in MIXED]
        standing = Standing(tuple(levels), (False, False, True), patience=80.0, looks=2, now=45)
        word = RULE.review(standing)
        undecided += word is None
        kept += isinstance(word, Decision) and word.keep
    assert undecided <= 9 and kept == 0


def test_the_margin_is_counted_from_a_better_keep_that_is_provisional_too() -> None:
    flat = [readings([level - 0.5, level, level + 0.5] * 20, 60 * k) for k, level in THREE]
    standing = Standing(tuple(flat), (False, False, True), looks=2, now=180, patience=math.inf)
    word = RULE.review(standing)
    assert isinstance(word, Decision) and not word.keep, "it lost twice the margin"
    asked = Evidence(readings([flat[2][1].score - 0.05] * 6, 200), standing, simpler=True)
    assert verdict_of(RULE.decide(asked)) is Verdict.DISCARD, "nothing is left of the margin"
