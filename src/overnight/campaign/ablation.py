"""Which wins still matter: the final program is measured against itself without each win.

Each win is reverted on its own by a three-way merge, so that later wins stay, and the judge is
asked whether the final program is better than the rest. A win whose removal loses nothing is
offered for removal: the program is simpler and has the same score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from overnight.arena.arena import Arena
from overnight.campaign.slots import Measure
from overnight.core.experiment import Experiment, Purpose
from overnight.judge.base import Side
from overnight.judge.head_to_head import duel
from overnight.judge.rules import judge_for
from overnight.repo.workspace import Stale

FIRST_SEED = 3_000_000
"""Seed of a campaign's first measurement in an ablation; later ones count up, so that a second
ablation is independent evidence. Other kinds of measurements have other seeds."""
_PAIRS = 4
"""Fewest pairs that are measured: a win was confirmed once, so one bad draw says little."""

Without = Callable[[Experiment], str]
"""Makes the commit of the final program without a win. Raises Stale if later wins conflict."""


class Weight(StrEnum):
    """What a win still adds to the final program."""

    CARRIES = "carries"
    """Without it the program is worse."""
    NONE_SEEN = "none seen"
    """Without it the program scores as well, as far as was measured."""
    NEEDED = "needed"
    """Without it the program does not run, or breaks a rule."""
    INSEPARABLE = "inseparable"
    """Later wins change the same lines."""


@dataclass(frozen=True)
class Ablated:
    """One win, and the final program without it."""

    n: int
    description: str
    commit: str
    """The win's, on the branch."""
    weight: Weight
    gain: float | None
    """How much better the final program is with it; None when that was not measured."""
    measurements: int
    words: str

    def document(self) -> dict[str, object]:
        """What `overnight ablate --json` prints."""
        return asdict(self)


class _NoScore(Exception):
    """Internal: the program without the win gave no score."""


def ablate(
    arena: Arena,
    final: Experiment,
    wins: list[Experiment],
    without: Without,
    measure: Measure,
    newest_seed: int | None,
) -> Iterator[Ablated]:
    """Revert each win of the final program in turn, oldest first, and measure the rest.
    `newest_seed`: the largest that an ablation of this campaign has had."""
    seed = FIRST_SEED if newest_seed is None else newest_seed + 1
    for win in wins:
        assert win.candidate is not None
        try:
            left = replace(win, candidate=without(win))
        except Stale:
            words = "later wins stand on the same lines"
            yield Ablated(win.n, win.description, win.candidate, Weight.INSEPARABLE, None, 0, words)
            continue
        found = _Ablation(arena, final, left, measure, seed).result(win.candidate)
        seed += found.measurements
        yield found


class _Ablation:
    """The measurements for one win."""

    def __init__(
        self, arena: Arena, final: Experiment, left: Experiment, measure: Measure, seed: int
    ) -> None:
        self._arena = arena
        self._final = final
        self._left = left
        self._measure = measure
        self._seed = seed
        self._count = 0

    def result(self, commit: str) -> Ablated:
        gain: float | None = None
        try:
            word = duel(judge_for(self._arena), self._take, _PAIRS, self._seed)
            weight, gain, words = Weight.NONE_SEEN, word.gain, word.reason
            if word.keep:
                weight = Weight.CARRIES
        except _NoScore as failure:
            weight, words = Weight.NEEDED, str(failure)
        n, title = self._left.n, self._left.description
        return Ablated(n, title, commit, weight, gain, self._count, words)

    def _take(self, side: Side, seed: int) -> float:
        program = self._final if side is Side.CANDIDATE else self._left
        measurement = self._measure(Purpose.ABLATION, program, seed)
        self._count += 1
        if measurement.score is None:
            raise _NoScore(f"{measurement.outcome}: {measurement.detail}")
        return self._arena.worth(measurement)
