"""The tuner: what it proposes after which history, on real files."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.agents.base import Workbench
from overnight.agents.tuner.agent import Tuner
from overnight.agents.tuner.constants import find_constants
from overnight.agents.tuner.gaussian_process import GaussianProcess
from overnight.arena.arena import Arena
from overnight.core.errors import AgentError
from overnight.core.experiment import (
    FORESEEN,
    Experiment,
    Idea,
    Measurement,
    Outcome,
    Value,
    Verdict,
)
from toy import ARENA, write_toy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Values = dict[str, Value]
Loss = Callable[[Values], float | None]
TRAIN = """
WIDTH = 64  # 8..512 log
RATE = 0.02  # 0.002..0.2 log
DROPOUT = 0.1  # 0..0.5
ACTIVATION = "relu"  # one of: relu, gelu, silu
MOMENTUM = 0.9
SHARE = False
"""


@dataclass
class Search:
    """A campaign with a greedy judge and a computed loss, in place of runs and git."""

    folder: Path
    sources: dict[str, str]
    loss: Loss
    prior: Sequence[Experiment] = ()
    history: list[Experiment] = field(default_factory=list)
    direction: str = "minimize"

    def __post_init__(self) -> None:
        editable = '"train.py", "x.py", "deep/**"'
        text = ARENA.replace('"value.py"', editable).replace("minimize", self.direction)
        write_toy(self.folder, text)
        self.reset()
        self.arena = Arena.load(self.folder)
        score = self.loss(self.values())
        self.history.append(
            Experiment(0, "baseline", NOW, verdict=Verdict.KEEP, score=score, candidate="0" * 40)
        )

    def reset(self) -> None:
        """The files of the incumbent, as a private worktree has them."""
        for path, text in self.sources.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(text.encode("utf-8", "surrogateescape"))

    def values(self) -> Values:
        """The constants that Python reads from the files now."""
        space: Values = {}
        for path in self.sources:
            exec((self.folder / path).read_text(), {}, space)
        return {name: value for name, value in space.items() if name.isupper()}

    def bench(self) -> Workbench:
        self.reset()
        return Workbench(
            arena=self.arena,
            folder=self.folder,
            private=self.folder,
            brief="",
            n=len(self.history),
            start=[e for e in self.history if e.kept][-1],
            history=self.history,
            prior=self.prior,
            transcript=self.folder / "transcript",
        )

    def propose(self) -> Idea | None:
        return Tuner().propose(self.bench())

    def steps(self, most: int) -> Iterator[tuple[Experiment, Values]]:
        """Experiments with the values that each tried, until there is nothing left to propose."""
        while len(self.history) <= most and (idea := self.propose()):
            yield self.judge(idea), self.values()

    def judge(self, idea: Idea) -> Experiment:
        best = [e for e in self.history if e.kept][-1]
        n, score = len(self.history), self.loss(self.values())
        experiment = Experiment(
            n,
            "tuner",
            NOW,
            parent=best.candidate,
            candidate=f"{n:040}",
            verdict=Verdict.CRASH,
            parameters=idea.parameters,
            description=idea.title,
        )
        if score is not None and best.score is not None:
            gain = (best.score - score) * (1 if self.direction == "minimize" else -1)
            verdict = Verdict.KEEP if gain > 0 else Verdict.DISCARD
            experiment = replace(experiment, verdict=verdict, score=score, gain=gain)
        if experiment.kept:
            self.sources = {path: (self.folder / path).read_text() for path in self.sources}
        self.history.append(experiment)
        return experiment


def number(value: Value) -> float:
    assert not isinstance(value, str)
    return float(value)


def bowl(seed: int) -> Loss:
    """A smooth loss with its best place elsewhere; the start is within three steps of it."""
    draw = random.Random(seed)
    width, rate = 64 * 2 ** draw.uniform(-2, 2), 0.02 * 2 ** draw.uniform(-2, 2)
    dropout, name = draw.uniform(0, 0.4), draw.choice(["relu", "gelu", "silu"])

    def loss(values: Values) -> float:
        off = math.log2(number(values["WIDTH"]) / width) ** 2
        off += math.log2(number(values["RATE"]) / rate) ** 2
        off += 4 * abs(number(values["DROPOUT"]) - dropout)
        return off + (values["ACTIVATION"] != name) + draw.gauss(0, 0.02)

    return loss


def rough(values: Values) -> float | None:
    """Half of the space crashes."""
    return None if number(values["RATE"]) > 0.02 else number(values["WIDTH"])


def test_it_wins_within_twelve_experiments(tmp_path: Path) -> None:
    wins = []
    for seed in range(10):
        search = Search(tmp_path / str(seed), {"train.py": TRAIN}, bowl(seed))
        wins.append(any(experiment.kept for experiment, _ in search.steps(12)))
    assert sum(wins) >= 9, wins


def test_it_never_tries_the_same_twice_and_stays_in_the_ranges(tmp_path: Path) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, bowl(3))
    tried = [search.values()]
    for experiment, values in search.steps(60):
        assert values not in tried, experiment
        tried.append(values)
        assert 8 <= number(values["WIDTH"]) <= 512 and type(values["WIDTH"]) is int
        assert 0.002 <= number(values["RATE"]) <= 0.2
        assert 0 <= number(values["DROPOUT"]) <= 0.5
        assert all(
            value == float(f"{value:.3g}") for value in values.values() if type(value) is float
        )
        assert values["ACTIVATION"] in ("relu", "gelu", "silu")
        assert type(values["SHARE"]) is bool
    assert len(tried) == 61


def test_it_begins_with_a_few_constants_near_the_incumbent(tmp_path: Path) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, lambda values: 1.0)
    start = search.values()
    for experiment, values in search.steps(8):
        moved = sum(values[name] != start[name] for name in start)
        assert 1 <= moved <= (2 if experiment.n <= 4 else 4)
        assert 0.25 <= number(values["WIDTH"]) / 64 <= 4
        assert 0.25 <= number(values["RATE"]) / 0.02 <= 4


def test_the_title_and_the_parameters_say_what_the_file_has(tmp_path: Path) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, bowl(1))
    for _ in range(12):
        search.reset()
        before = search.values()
        idea = search.propose()
        assert idea is not None and idea.hypothesis
        for name, value in search.values().items():
            assert idea.parameters[f"train.py:{name}"] == value
            assert (f"{name} " in idea.title) is (value != before[name])
        search.judge(idea)


def test_the_same_history_gets_the_same_proposal_from_a_new_tuner(tmp_path: Path) -> None:
    titles = []
    for name in ("a", "b"):
        search = Search(tmp_path / name, {"train.py": TRAIN}, bowl(5))
        titles.append([experiment.description for experiment, _ in search.steps(30)])
    assert titles[0] == titles[1] and len(set(titles[0])) == 30


def test_it_avoids_the_region_that_crashed(tmp_path: Path) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, rough)
    verdicts = [experiment.verdict for experiment, _ in search.steps(40)]
    assert len(verdicts) == 40 and Verdict.CRASH in verdicts
    assert verdicts[20:].count(Verdict.CRASH) <= 2, verdicts
    best = [e for e in search.history if e.kept][-1]
    assert best.score is not None and best.score <= 16


def ended_early(experiment: Experiment, gain: float) -> Experiment:
    """The experiment as if its run had been ended early, with this predicted gain."""
    run = Measurement("c", 0, NOW, Outcome.PRUNED, numbers={FORESEEN: gain})
    verdict = Verdict.DISCARD
    return replace(experiment, verdict=verdict, score=None, gain=None, measurements=(run,))


def test_a_run_that_was_ended_early_counts_with_its_predicted_gain(tmp_path: Path) -> None:
    def told(gain: float) -> float:
        constants = find_constants("train.py", "WIDTH = 64  # 8..512 log\n")
        key = constants[0].key
        one = Experiment(1, "tuner", NOW, "0", "1", Verdict.DISCARD, parameters={key: 128})
        others = [replace(one, n=n, parameters={key: 64}, gain=1.0) for n in range(2, 5)]
        model = GaussianProcess(constants, [ended_early(one, gain), *others], lambda e: {key: 64})
        return float(model.predict({key: 64}, [{key: 128}])[0][0])

    assert told(-4.0) < told(-1.0) < told(-0.1) < 0


def test_a_run_that_was_ended_early_counts_as_the_worst_and_not_as_a_failure(
    tmp_path: Path,
) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, bowl(5))
    list(search.steps(12))
    worst = max(e.score for e in search.history if e.score is not None)
    search.history[5] = ended_early(search.history[5], -1.0)
    seen: list[float | None] = []

    def suggestions(constants: object, trials: object, seed: int) -> Iterator[Values]:
        assert isinstance(trials, list)
        seen.extend(score for _, score in trials)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("overnight.agents.tuner.tpe.suggestions", suggestions)
        assert search.propose() is not None
    assert None not in seen and seen[4] == min(s for s in seen if s is not None) >= -worst


def test_it_goes_on_when_everything_crashes(tmp_path: Path) -> None:
    search = Search(tmp_path / "a", {"train.py": TRAIN}, lambda values: 9.0)
    search.loss = lambda values: None
    assert len(list(search.steps(40))) == 40


def test_a_larger_metric_is_better_where_the_arena_says_so(tmp_path: Path) -> None:
    search = Search(
        tmp_path / "a",
        {"train.py": "WIDTH = 64  # 8..512 log\n"},
        lambda values: number(values["WIDTH"]),
        direction="maximize",
    )
    list(search.steps(12))
    assert "WIDTH = 512 " in search.sources["train.py"]


def test_an_earlier_campaign_shows_what_is_not_worth_a_try(tmp_path: Path) -> None:
    def loss(values: Values) -> float:
        return number(values["WIDTH"]) * (4 if values["ACTIVATION"] != "relu" else 1)

    first = Search(tmp_path / "a", {"train.py": TRAIN}, loss)
    list(first.steps(30))
    with_prior = Search(tmp_path / "b", {"train.py": TRAIN}, loss, prior=first.history)
    (experiment, values), *_ = with_prior.steps(1)
    assert experiment.kept and number(values["WIDTH"]) < 64
    assert values["ACTIVATION"] == "relu"


def test_it_ends_when_all_has_been_tried(tmp_path: Path) -> None:
    text = 'A = 1  # 1..3\nB = "x"  # one of: x, y\n'
    search = Search(tmp_path / "a", {"train.py": text}, lambda values: 1.0)
    tried = [tuple(values.values()) for _, values in search.steps(99)]
    assert 4 <= len(tried) == len(set(tried)) <= 5
    assert search.propose() is None


def test_constants_of_several_files_are_told_apart(tmp_path: Path) -> None:
    sources = {"train.py": "X = 4\n", "deep/down/a b.py": "Y = 8.0\nX = 2\n", "score.py": "Z = 3\n"}
    search = Search(tmp_path / "a", sources, lambda values: number(values["X"]))
    titles = [experiment.description for experiment, _ in search.steps(12)]
    assert any("train.py:X 4 → " in title for title in titles)
    assert any("deep/down/a b.py:X 2 → " in title for title in titles)
    assert (search.folder / "score.py").read_text() == "Z = 3\n"


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "x.py"
    outside.write_text("X = 5\n")
    search = Search(tmp_path / "a", {"train.py": "A = 1  # 1..4\n"}, lambda values: 1.0)
    (search.folder / "x.py").symlink_to(outside)
    list(search.steps(9))
    assert outside.read_text() == "X = 5\n"


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"train.py": "x = 1\n"}, "no tunable constant .*`LEARNING_RATE = 0.01"),
        ({"train.py": "def f(:\n"}, "train.py is not valid Python"),
        ({"x.py": ""}, "no tunable constant"),
        ({"train.py": "A = 1 # \udcff\n"}, r"train\.py cannot be read"),
    ],
)
def test_the_tuner_says_what_it_cannot_tune(
    tmp_path: Path, sources: dict[str, str], words: str
) -> None:
    search = Search(tmp_path / "a", {"train.py": "A = 1\n"}, lambda values: 1.0)
    search.sources = sources
    (search.folder / "train.py").unlink()
    with pytest.raises(AgentError, match=words):
        search.propose()
