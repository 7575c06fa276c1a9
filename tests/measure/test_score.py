"""The referee's last line: which score it is, or what is wrong with it."""

from __future__ import annotations

import pytest

from overnight.arena.settings import Metric
from overnight.core.experiment import Outcome
from overnight.measure.score import read_score

LOSS = Metric(name="loss", direction="minimize")


def test_the_metric_and_the_other_numbers_are_read() -> None:
    ending, numbers = read_score('{"loss": 1.5, "tokens": 3, "name": "a", "odd": NaN}', LOSS)
    assert ending == (Outcome.FINISHED, 1.5, "") and numbers == {"tokens": 3.0}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing of the kind", "must print a JSON object"),
        ("", "it printed nothing"),
        ("[" * 100_000, "must print a JSON object"),
        ('{"other": 1}', "has no \"loss\"; it has ['other']"),
        ('{"loss": NaN}', "not a finite number"),
        ('{"loss": 1e999}', "not a finite number"),
        ('{"loss": true}', "not a finite number"),
        ('{"loss": "0.1"}', "not a finite number"),
    ],
)
def test_a_line_without_a_usable_score_is_a_sentence(line: str, words: str) -> None:
    (outcome, score, detail), _ = read_score(line, LOSS)
    assert outcome is not Outcome.FINISHED and score is None and words in detail
