"""The final exam beside the referee: when the report warns, and what it and `status` say."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exam import SECRET, TABLE, make_exam
from overnight.arena.settings import Metric
from overnight.core.experiment import Experiment, Measurement, Outcome
from overnight.insights.overfitting import OVERFITTED, Gap, Sitting
from overnight.judge.noise import Noise, Reading, noise_of
from toy import ARENA, command
from writer import Writer, run

METRIC = Metric(name="loss", direction="minimize")
NOW = datetime.now(UTC)
DOWN = [f"X={9 - n}\n" for n in range(3)]
GREEDY = '\n[judge]\nrule = "greedy"\n'
THRESHOLD = '\n[judge]\nrule = "threshold"\ngain = 0.5\nrepeats = 2\n'


def known(variance: float, repeats: int) -> Noise:
    return Noise(variance**0.5, 0.0, (1.0,) * repeats)


UNKNOWN = noise_of(())


def sitting(n: int, judged: list[float], exam: float) -> Sitting:
    taken = tuple(Measurement("c", k, NOW, Outcome.FINISHED, s) for k, s in enumerate(judged))
    middle = sorted(judged)[len(judged) // 2]
    return Sitting(Experiment(n, "a", NOW, score=middle, measurements=taken), exam)


def gap(first: Sitting, last: Sitting, noise: Noise) -> Gap:
    return Gap(METRIC, [first, last], [], last.experiment.n, 2, noise)


@pytest.mark.parametrize(
    ("referee", "exam", "noise", "warns"),
    [
        (1.0, 1.0, known(0.01, 30), False),
        (1.0, 0.6, known(0.0, 30), False),  # most of it is there
        (1.0, 0.4, known(0.01, 30), True),
        (1.0, 0.4, known(0.25, 30), False),  # luck explains it
        (1.0, -2.0, known(0.25, 30), True),
        (1.0, 0.4, known(0.0, 1), True),
        (1.0, -2.0, known(0.01, 1), True),
        (1.0, 0.4, known(0.01, 1), False),  # the noise itself is hardly known
        (1.0, 0.4, UNKNOWN, False),
        (1.0, 0.0, UNKNOWN, True),
        (-1.0, -5.0, known(0.0, 30), False),  # nothing that could have been over-fitted
    ],
)
def test_it_warns_when_most_of_the_gain_is_not_there_and_luck_does_not_explain_it(
    referee: float, exam: float, noise: Noise, warns: bool
) -> None:
    told = gap(sitting(0, [10.0], 20.0), sitting(7, [10 - referee], 20 - exam), noise)
    assert told.overfitted is warns
    assert told.gains == pytest.approx((referee, exam))


@pytest.mark.slow
@pytest.mark.parametrize("sigmas", [0.0, 1.0, 3.0])
def test_an_honest_gain_is_rarely_warned_of_and_an_over_fitted_one_often(sigmas: float) -> None:
    chance = random.Random(7)

    def one(exam_gain: float) -> bool:
        def side(mean: float, exam: float, n: int) -> Sitting:
            scores = [chance.gauss(mean, 1.0) for _ in range(3)]
            return sitting(n, scores, chance.gauss(exam, 1.0))

        pair = side(0, 0, 0), side(-sigmas, -exam_gain, 5)
        first, last = ([Reading(s, k, k) for k, s in enumerate(p.experiment.scores)] for p in pair)
        return gap(*pair, noise_of(first, [last])).overfitted

    honest = sum(one(sigmas) for _ in range(4000)) / 4000
    assert honest <= 0.03, honest
    if sigmas == 3:
        assert sum(one(-3.0) for _ in range(1000)) / 1000 >= 0.6


def test_without_a_baseline_there_is_nothing_to_compare() -> None:
    alone = Gap(METRIC, [sitting(3, [1.0], 2.0)], [0], 3, 1, UNKNOWN)
    assert alone.gains is None and alone.gap is None and not alone.overfitted


def test_an_over_fitted_campaign_is_warned_of_and_an_honest_one_is_not(tmp_path: Path) -> None:
    for name, best, warns in (("honest", 3, False), ("fitted", 20, True)):
        toy = make_exam(tmp_path / name, ARENA + THRESHOLD, TABLE + "every = 2\n", best=best)
        run(toy, Writer(DOWN))
        page = Path(command(toy, "report").stdout.strip()).read_text()
        assert (OVERFITTED in page) is warns
        assert (OVERFITTED in command(toy, "status").stdout.replace("\n", " ")) is warns
        assert "the referee saw a gain of 3" in page and "with a standard error of 0." in page
        assert "holdout.png" in page and "read 3 times" in page
        rows = [line.split(" | ")[0] for line in page.split("gain, exam")[1].splitlines()]
        assert rows[2:5] == ["| 0", "| 2", "| 3"]
        png = (toy / ".overnight" / "holdout.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 10_000


def test_every_exam_of_every_campaign_is_counted_where_a_person_looks(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena", ARENA + GREEDY, TABLE + "every = 2\n")
    reads = []
    for tag in ("one", "two"):
        words = ["--agent", "command:echo X=$((10 - OVERNIGHT_EXPERIMENT)) > value.py"]
        done = command(toy, "run", "--tag", tag, "--experiments", "3", *words)
        assert done.returncode == 0 and SECRET not in done.stdout + done.stderr
        status = json.loads(command(toy, "status", "--json").stdout)["holdout"]
        assert set(status) == {"baseline", "incumbent", "gap", "read"}
        assert (status["baseline"], status["incumbent"]) == pytest.approx((7.4321987, 4.4321987))
        assert status["gap"] == pytest.approx(0)
        reads.append(status["read"])
    assert reads == [3, 6], "of each: the baseline, the second keep and the end"


def test_show_has_the_exam_and_no_other_page_of_experiments_has(tmp_path: Path) -> None:
    toy = make_exam(tmp_path / "arena", ARENA + GREEDY)
    (toy / "value.py").write_text("X=8\n")
    said = command(toy, "try", "-m", "lower", "--json").stdout
    said += command(toy, "try", "-m", "again", "--json").stdout
    said += command(toy, "log", "--json").stdout + command(toy, "log").stdout
    assert SECRET not in said
    shown = json.loads(command(toy, "show", "0", "--json").stdout)
    assert {m["purpose"] for m in shown["measurements"]} == {"judge", "holdout"}
    assert "final exam seed 1000000: finished 7.4322" in command(toy, "show", "0").stdout


def test_without_a_holdout_no_page_speaks_of_one(toy: Path) -> None:
    run(toy, Writer(["X=8\n"]))
    page = Path(command(toy, "report").stdout.strip()).read_text()
    status = command(toy, "status").stdout
    assert "exam" not in page + status
    assert json.loads(command(toy, "status", "--json").stdout)["holdout"] is None
    assert not (toy / ".overnight" / "holdout.png").exists()
