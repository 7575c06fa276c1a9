"""The simple rules, greedy and threshold: what is kept, and when more is measured first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.arena.arena import Arena
from overnight.judge.base import Decision, Evidence, Judge, More, Side, Standing
from overnight.judge.noise import Reading
from overnight.judge.rules import judge_for
from toy import ARENA

scores = st.floats(-1e6, 1e6)


def judge(table: str = "", min_gain: float = 0.0) -> Judge:
    metric = f'direction = "minimize"\nmin_gain = {min_gain}'
    text = ARENA.replace('direction = "minimize"', metric) + table
    return judge_for(Arena.parse(text, Path("/nowhere")))


def greedy(min_gain: float = 0.0) -> Judge:
    return judge('\n[judge]\nrule = "greedy"\n', min_gain)


def threshold(gain: float, repeats: int) -> Judge:
    return judge(f'\n[judge]\nrule = "threshold"\ngain = {gain}\nrepeats = {repeats}\n')


def asked(rule: Judge, candidate: list[float], incumbent: list[float]) -> tuple[Decision, str]:
    """The decision, and whose score was measured meanwhile: `ci` is the candidate's, then the
    incumbent's. The lists are what each next measurement would give."""
    have, order = {Side.CANDIDATE: 1, Side.TIP: 1}, ""
    for _ in range(1000):
        sides = candidate[: have[Side.CANDIDATE]], incumbent[: have[Side.TIP]]
        mine, before = (
            tuple(Reading(score, k, k) for k, score in enumerate(seen)) for seen in sides
        )
        word = rule.decide(Evidence(mine, Standing((before,), (False,))))
        if isinstance(word, Decision):
            return word, order
        assert isinstance(word, More)
        have[word.of] += 1
        order += {Side.CANDIDATE: "c", Side.TIP: "i"}[word.of]
    raise AssertionError("the rule never comes to a decision")


@given(scores, scores)
def test_greedy_keeps_what_is_better_after_one_measurement(candidate: float, before: float) -> None:
    decision, order = asked(greedy(), [candidate], [before])
    assert not order and decision.keep == (candidate > before)
    assert decision.gain == candidate - before


@pytest.mark.parametrize(("score", "kept"), [(1.0, False), (1.04, False), (1.06, True)])
def test_a_gain_below_the_arenas_least_is_not_kept_and_the_reason_says_so(
    score: float, kept: bool
) -> None:
    decision, _ = asked(greedy(0.05), [score], [1.0])
    assert decision.keep is kept
    assert kept or "below the minimum of 0.05" in decision.reason or "no better" in decision.reason


@given(scores, scores)
def test_below_the_least_first_score_a_candidate_is_given_up_at_once(
    candidate: float, before: float
) -> None:
    for rule in (greedy(), greedy(0.5), threshold(0.5, 3)):
        least = rule.least(Standing(((Reading(before, 0, 0),),), (False,)), simpler=False)
        if candidate < least and least - candidate > 1e-12 * abs(before):
            decision, order = asked(rule, [candidate], [before])
            assert not decision.keep and not order


def test_an_equal_score_is_no_win() -> None:
    for rule in (greedy(), threshold(0.0, 3)):
        decision, order = asked(rule, [1.0] * 3, [1.0] * 3)
        assert not decision.keep and not order, "it is not measured again either"


def test_a_hopeless_candidate_costs_one_measurement() -> None:
    decision, order = asked(threshold(0.1, 5), [1.05, 9.0, 9.0], [1.0])
    assert not decision.keep and not order


def test_a_lucky_first_draw_is_found_out() -> None:
    decision, order = asked(threshold(0.5, 3), [9.0, 1.0, 1.0], [1.0] * 3)
    assert not decision.keep and order.startswith("c")


def test_a_lucky_incumbent_is_measured_again_before_it_may_lose() -> None:
    decision, order = asked(threshold(0.5, 3), [2.0] * 3, [1.0, 2.0, 2.0])
    assert not decision.keep and "i" in order


@given(
    st.floats(0, 10),
    st.integers(1, 7),
    st.lists(scores, min_size=7, max_size=7),
    st.lists(scores, min_size=7, max_size=7),
)
def test_threshold_decides_within_its_repeats_and_keeps_only_by_its_gain(
    gain: float, repeats: int, candidate: list[float], incumbent: list[float]
) -> None:
    decision, order = asked(threshold(gain, repeats), candidate, incumbent)
    assert order.count("c") < repeats and order.count("i") < repeats
    if decision.keep:
        assert decision.gain >= gain and decision.gain > 0
        assert order.count("c") == order.count("i") == repeats - 1, "a keep has all its repeats"


READS_THE_NOISE = """
import sys
import overnight.insights.readings, overnight.judge.odds, overnight.judge.rules
from overnight.judge.noise import Reading, noise_of

pool = [[Reading(score, at, 0) for at, score in enumerate(s)] for s in ([0, 9, 1], [4, 5, 4])]
assert noise_of(pool[0], pool[1:]).sigma
print({"numpy", "scipy"} & set(sys.modules))
"""


def test_the_noise_needs_neither_numpy_nor_scipy() -> None:
    """`overnight status` prints it; importing them would take longer than all the rest."""
    done = subprocess.run([sys.executable, "-c", READS_THE_NOISE], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
