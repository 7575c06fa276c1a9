"""Between two experiments: the tip is measured again, confirmed with all below it, or dropped.

The order of a confirmation: the final commits exist, the ledger's rows are durable (all of them at
once), the branch moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime

from overnight.arena.arena import Arena
from overnight.campaign.judge_input import ROUND, rounds_of, standing_of
from overnight.campaign.measurements import Measuring
from overnight.campaign.state import Driven
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Closing, Experiment, Measurement, Verdict, estimate
from overnight.judge.base import Decision, Judge, More, Pair, Side
from overnight.judge.trials import MOST_TRIALS, RESERVE, Round
from overnight.repo.commit_message import kept_message

_MOMENT = 0.05
"""Seconds that a measurement takes at least."""
_FAILURES = 3
"""Failures of a keep one after another before it, or the machine, counts as broken."""
_PAIR = "pair"
"""The kind of event that tells of a pair before it is measured."""


def _turns(first: Side) -> list[Side]:
    return [first, Side.INCUMBENT if first is Side.TIP else Side.TIP]


def failure_of(arena: Arena, measurement: Measurement) -> Closing | None:
    """The verdict that a measurement forces, whatever the judge would say; None when it may."""
    if verdict := measurement.outcome.verdict:
        return Closing(verdict, f"{measurement.outcome}: {measurement.detail}")
    for name, bounds in arena.constraints.items():
        if wrong := bounds.broken_by(measurement.numbers.get(name)):
            return Closing(Verdict.INVALID, f"constraint {name} {wrong}")
    return None


class Reviews:
    """The judge's second look at the keeps of one campaign."""

    def __init__(self, driven: Driven, judge: Judge, measuring: Measuring) -> None:
        self.until: datetime | None = None
        """When the campaign's time is over, if it has a limit."""
        self.stopped: Callable[[], bool] = lambda: False
        """Whether a person wants no more of it now; a trial goes on when the campaign does."""
        self._driven = driven
        self._arena = driven.arena
        self._tag = driven.tag
        self._workspace = driven.workspace
        self._ledger = driven.ledger
        self._history = driven.history
        self._judge = judge
        self._measuring = measuring

    def review(self, final: bool = False) -> list[Experiment]:
        """Do what the judge asks for; the experiments whose verdict has changed.

        `final`: nothing comes afterwards, so that provisional keeps are tried as long as
        max_repeats allows. No measurement begins once the time is over.
        """
        changed = self._complete_pair()
        last = self._history.measured + 2 * MOST_TRIALS * self._arena.judge.max_repeats * final
        while (fits := self.fits()) >= 1 and not self.stopped():
            allowed = max(last - self._history.measured, fits if fits <= RESERVE else 0)
            standing = standing_of(self._driven)
            trial = min(max(standing.patience, allowed), fits)
            word = self._judge.review(replace(standing, patience=trial))
            if word is None:
                break
            if isinstance(word, Decision):
                changed += self._confirm(word) if word.keep else [self._drop(word)]
            else:
                changed += self._measure(word)
        return changed

    def measure(self, side: Side, seed: int | None = None) -> Measurement:
        """One more measurement of the tip or the incumbent.

        Raises MeasurementImpossible when the incumbent, which has run before, fails again and
        again; a single failure is no end of the night, and no verdict.
        """
        experiment = self._history.tip if side is Side.TIP else self._history.incumbent
        if seed is None and not self._judge.fresh_seeds:
            seed = len(experiment.judged)
        measurement = self._measuring.take(experiment, seed)
        self._history.refresh(experiment.n)
        latest = self._history.find(experiment.n).judged[-_FAILURES:]
        if experiment.kept and len(latest) == _FAILURES and all(m.score is None for m in latest):
            raise MeasurementImpossible(
                f"experiment {experiment.n}, the incumbent, was measured again and failed "
                f"{_FAILURES} times in a row: {measurement.outcome}: {measurement.detail}"
            )
        return measurement

    def fits(self) -> float:
        """How many measurements like the incumbent's last the time is enough for; infinite without
        a limit."""
        if self.until is None:
            return math.inf
        scored = [m for m in self._history.incumbent.judged if m.score is not None]
        seconds = sum(scored[-1].stage_seconds.values())
        left = (self.until - datetime.now(UTC)).total_seconds()
        return left / max(seconds, _MOMENT)

    def _measure(self, word: More | Pair) -> list[Experiment]:
        """Take what the judge asks for."""
        if isinstance(word, More):
            return self._measure_sides([word.of], None)
        self._begin_round()
        sides, seed = _turns(word.first), self._history.fresh_seed
        now = {"tip": self._history.tip.n, "incumbent": self._history.incumbent.n}
        self._ledger.add_event(self._tag, _PAIR, seed=seed, first=word.first.value, **now)
        return self._measure_sides(sides, seed)

    def _complete_pair(self) -> list[Experiment]:
        """The second measurement of a pair that a dead driver left half done."""
        event, history = self._ledger.newest_event(self._tag, _PAIR), self._history
        if event is None or len(history.stack) < 2:
            return []
        pair = {Side.TIP: history.tip, Side.INCUMBENT: history.incumbent}
        if any(event.data[side.value] != experiment.n for side, experiment in pair.items()):
            return []
        seed = int(event.data["seed"] or 0)
        missing = [
            side
            for side in _turns(Side(str(event.data["first"])))
            if all(m.seed != seed for m in pair[side].judged)
        ]
        return self._measure_sides(missing, seed) if len(missing) == 1 else []

    def _measure_sides(self, sides: list[Side], seed: int | None) -> list[Experiment]:
        """Measure them; the tip, when it failed at that and has a new verdict."""
        for side in sides:
            measurement = self.measure(side, seed)
            failure = failure_of(self._arena, measurement)
            if failure and side is Side.TIP:
                words = f"when measured again: {failure.reason}"
                return self._revise([replace(failure, reason=words)])
        return []

    def _begin_round(self) -> None:
        history, rounds = self._history, rounds_of(self._ledger, self._tag)
        now = Round(history.tip.n, history.incumbent.n, history.measured, history.latest.n)
        if not rounds or (rounds[-1].tip, rounds[-1].latest) != (now.tip, now.latest):
            self._ledger.add_event(self._tag, ROUND, **asdict(now))

    def _drop(self, decision: Decision) -> Experiment:
        score, gain = estimate(self._history.tip), decision.gain
        closing = Closing(Verdict.DISCARD, decision.reason, score, gain, decision.interval)
        return self._revise([closing])[0]

    def _confirm(self, decision: Decision) -> list[Experiment]:
        incumbent, *stack = self._history.stack
        parent, tip = incumbent.candidate, stack[-1].n
        # A stack of simplifications has no gain to tell.
        together = len(stack) > 1 and decision.interval is not None
        closings = []
        for experiment, share in zip(stack, decision.shares, strict=True):
            assert experiment.candidate is not None and parent is not None
            closing = Closing(
                Verdict.KEEP,
                decision.reason,
                estimate(experiment),
                share,
                decision.interval if experiment.n == tip else None,
                simpler=experiment.simpler,
                within=tip if together else None,
                whole=decision.gain if together and experiment.n == tip else None,
            )
            message = kept_message(self._tag, closing.of(experiment), self._arena.metric)
            parent = self._workspace.reword(experiment.candidate, message, parent)
            self._workspace.refs.record(self._tag, experiment.n, parent)
            closings.append(replace(closing, candidate=parent))
        return self._revise(closings)

    def _revise(self, closings: list[Closing]) -> list[Experiment]:
        """New verdicts of the uppermost of the stack, written at once."""
        stack = self._history.stack[-len(closings) :]
        revised = self._ledger.revise(
            self._tag, {e.n: closing for e, closing in zip(stack, closings, strict=True)}
        )
        self._history.revise(revised)
        return revised
