"""Between two experiments: the tip is measured again, confirmed with all below it, or dropped.

The order of a confirmation: the final commits exist, the ledger's rows are durable (all of them at
once), the branch moves.
"""

from __future__ import annotations

from dataclasses import asdict

from overnight.arena import Arena
from overnight.errors import MeasurementImpossible
from overnight.experiment import Experiment, Measurement, Verdict
from overnight.history import History
from overnight.judge import Decision, Judge, More, Pair, Side, estimate
from overnight.ledger import Closing, Ledger
from overnight.measuring import Measuring
from overnight.message import kept_message
from overnight.patience import Round
from overnight.standing import ROUND, rounds_of, standing_of
from overnight.workspace import Workspace


class Reviews:
    """The judge's second look at the keeps of one campaign."""

    def __init__(
        self,
        arena: Arena,
        tag: str,
        workspace: Workspace,
        ledger: Ledger,
        history: History,
        judge: Judge,
        measuring: Measuring,
    ) -> None:
        self._arena = arena
        self._tag = tag
        self._workspace = workspace
        self._ledger = ledger
        self._history = history
        self._judge = judge
        self._measuring = measuring

    def review(self, final: bool = False) -> list[Experiment]:
        """Do what the judge asks for; the experiments whose verdict has changed.

        `final`: nothing comes afterwards, so that provisional keeps are tried as long as
        max_repeats allows.
        """
        changed: list[Experiment] = []
        last = self._history.measured + 2 * self._arena.judge.max_repeats * final
        while True:
            allowance = last - self._history.measured
            word = self._judge.review(
                standing_of(self._arena, self._ledger, self._tag, self._history, allowance)
            )
            if word is None:
                return changed
            if isinstance(word, Decision):
                changed += self._confirm(word) if word.keep else [self._drop(word)]
            else:
                changed += self._measure(word)

    def measure(self, side: Side, seed: int | None = None) -> Measurement:
        """One more measurement of the tip or the incumbent.

        Raises MeasurementImpossible when the incumbent fails, which has run before.
        """
        experiment = self._history.tip if side is Side.TIP else self._history.incumbent
        if seed is None and not self._judge.fresh_seeds:
            seed = len(experiment.judged)
        measurement = self._measuring.take(experiment, seed)
        if measurement.score is None and experiment.kept:
            raise MeasurementImpossible(
                f"experiment {experiment.n}, the incumbent, was measured again and failed: "
                f"{measurement.outcome}: {measurement.detail}"
            )
        self._history.refresh(experiment.n)
        return measurement

    def _measure(self, word: More | Pair) -> list[Experiment]:
        """Take what the judge asks for; the tip, when it failed at that."""
        sides: list[Side]
        if isinstance(word, More):
            sides, seed = [word.of], None
        else:
            self._begin_round()
            sides = [word.first, Side.INCUMBENT if word.first is Side.TIP else Side.TIP]
            seed = self._history.fresh_seed
        for side in sides:
            measurement = self.measure(side, seed)
            if verdict := measurement.outcome.verdict:
                words = f"when measured again: {measurement.outcome}: {measurement.detail}"
                return self._revise([Closing(verdict, words)])
        return []

    def _begin_round(self) -> None:
        history, rounds = self._history, rounds_of(self._ledger, self._tag)
        now = Round(history.tip.n, history.incumbent.n, history.measured, history.latest.n)
        if not rounds or (rounds[-1].tip, rounds[-1].latest) != (now.tip, now.latest):
            self._ledger.add_event(self._tag, ROUND, **asdict(now))

    def _drop(self, decision: Decision) -> Experiment:
        score, gain = estimate(self._history.tip.scores), decision.gain
        closing = Closing(Verdict.DISCARD, decision.reason, score, gain, decision.interval)
        return self._revise([closing])[0]

    def _confirm(self, decision: Decision) -> list[Experiment]:
        incumbent, *stack = self._history.stack
        parent = incumbent.candidate
        closings = []
        for experiment, gain in zip(stack, decision.shares, strict=True):
            assert experiment.candidate is not None and parent is not None
            score = estimate(experiment.scores)
            message = kept_message(self._tag, experiment, self._arena.metric, score, gain)
            parent = self._workspace.reword(experiment.candidate, message, parent)
            self._workspace.refs.record(self._tag, experiment.n, parent)
            # The interval is that of the whole: of a single keep, then, or of none.
            interval = decision.interval if len(stack) == 1 else None
            closings.append(Closing(Verdict.KEEP, decision.reason, score, gain, interval, parent))
        return self._revise(closings)

    def _revise(self, closings: list[Closing]) -> list[Experiment]:
        """New verdicts of the uppermost of the stack, written at once."""
        stack = self._history.stack[-len(closings) :]
        revised = self._ledger.revise(
            self._tag, {e.n: closing for e, closing in zip(stack, closings, strict=True)}
        )
        self._history.revise(revised)
        return revised
