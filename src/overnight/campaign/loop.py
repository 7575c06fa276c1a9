"""The campaign: open or resume, try, run.

One writer: this process alone judges, records and moves the branch. A driver that dies at any
instant leaves a state that `open` repairs from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from overnight.agents.base import Agent
from overnight.arena.arena import Arena
from overnight.campaign import results_tsv as results
from overnight.campaign.ablation import Ablated, ablate
from overnight.campaign.attempt import Attempts
from overnight.campaign.exams import Exams
from overnight.campaign.limits import Limits, Stop, StopKind, Stretch
from overnight.campaign.measurements import Measuring, StoppedAtOnce
from overnight.campaign.opening import begin_or_find, repair
from overnight.campaign.replay import Replay, replay
from overnight.campaign.state import Driven
from overnight.change.seeds import fixed_seed
from overnight.core.errors import (
    AgentError,
    Interrupted,
    LedgerError,
    MeasurementImpossible,
    OvernightError,
    UsageError,
    WorkspaceError,
)
from overnight.core.experiment import SEED, CampaignRecord, Event, Experiment, Idea, Purpose
from overnight.measure.reach import unhidden
from overnight.record.history import History
from overnight.record.ledger import Ledger
from overnight.record.lock import CampaignLock
from overnight.repo.base_arena import base_arena
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import NONE, sandbox_named
from overnight.search.portfolio import Portfolio, Turn

_BREATH = 1.0
"""Seconds between two looks at whether the campaign is over, while every agent rests."""
Observer = Callable[[Experiment], None]


class Campaign:
    """A search in an arena, driven by this process alone. Use it as a context manager."""

    def __init__(
        self,
        arena: Arena,
        record: CampaignRecord,
        workspace: Workspace,
        ledger: Ledger,
        lock: CampaignLock,
        sandbox: str,
    ) -> None:
        self.arena = arena
        self.tag = record.tag
        self.branch = record.branch
        self.workspace = workspace
        self.ledger = ledger
        self.history = History(ledger, record.tag)
        self._base = record.base
        self._lock = lock
        driven = Driven(arena, record, workspace, ledger, self.history)
        self._measuring = Measuring(driven, self._stop_now, sandbox)
        self._attempts = Attempts(driven, self._measuring)
        self._exams = Exams(arena.holdout, ledger, record.tag, self._measuring.measure, self._warn)
        self.warnings: list[str] = []
        """What the person should know."""
        self.stopping = self._measuring.stopping
        """Set it to end the campaign at once; the next run takes up what was under way."""
        self._taken_up = False
        # What was asked for before is done with.
        requests = ledger.events(record.tag, "stop-request")
        self._stretch_event = requests[-1].id if requests else 0

    @classmethod
    def open(cls, root: Path | str, tag: str | None = None, sandbox: str | None = None) -> Campaign:
        """The campaign `tag` of the arena in this folder: a new one, or the one that was left.

        Without a tag: the newest campaign, or a first one named after today's date. `sandbox` is
        a back end's name, "none", or None for the arena's choice or the strongest that works.
        Raises ArenaError, WorkspaceError, LedgerError or CampaignBusy, before anything ran;
        UsageError when no sandbox works and none was not asked for.
        """
        arena = Arena.load(Path(root).resolve())
        box = sandbox_named(sandbox or arena.run.sandbox)
        workspace = Workspace.open(arena.root, arena.state)
        ledger = Ledger.at(arena.ledger_place, arena.name)
        with ExitStack() as undo:
            undo.callback(ledger.close)
            record, lock, warnings = begin_or_find(arena, workspace, ledger, tag)
            undo.callback(lock.release)
            campaign = cls(
                base_arena(arena, workspace, record.base),
                record,
                workspace,
                ledger,
                lock,
                box.name if box else NONE,
            )
            campaign.warnings += warnings
            if arena.setup is None:
                campaign.warnings += unhidden(campaign.arena)
            repair(campaign.arena, workspace, ledger, record)
            campaign.history.load()
            results.rewrite(campaign.results, ledger, record.tag, arena.metric)
            undo.pop_all()
        return campaign

    def run(
        self, agent: Agent | Portfolio, limits: Limits, observe: Observer = lambda _: None
    ) -> Stop:
        """Try one proposal after another until a limit or a wish ends it; says what did.

        Raises OvernightError or OSError when the machine, not a candidate, is at fault; the reason
        is in the ledger by then and the same call goes on from there.
        """
        portfolio = agent if isinstance(agent, Portfolio) else Portfolio([agent])
        stretch = Stretch.begin(self.ledger, self.tag, limits)
        self._stretch_event = stretch.event
        self._attempts.reviews.until = stretch.until(limits)
        self._attempts.reviews.stopped = self._stop_asked
        try:
            self._take_up(observe)
            while not (stop := self._over(stretch, limits, portfolio)):
                if portfolio.wait:
                    self._measuring.pause(min(portfolio.wait, _BREATH))
                elif experiment := self._next(portfolio, stretch, limits, observe):
                    observe(experiment)
            if stop.kind.settles:
                for experiment in self._review(final=True):
                    observe(experiment)
            self._exams.sit(end=stop.kind is not StopKind.ASKED)
        except (KeyboardInterrupt, StoppedAtOnce) as reason:
            stop = self._stopped_at_once(reason)
        except (OvernightError, OSError) as error:
            with suppress(LedgerError):  # the first error is the one to tell
                self._note_stop(Stop(StopKind.ERROR, str(error)))
            raise
        finally:
            self._attempts.reviews.until = None
        self._note_stop(stop)
        return stop

    def _next(
        self, portfolio: Portfolio, stretch: Stretch, limits: Limits, observe: Observer
    ) -> Experiment | None:
        """One experiment of whoever has the turn; None without any."""
        turn = portfolio.turn(self.history)
        left = stretch.left(limits, self.ledger, self.tag)
        turn = replace(turn, allowance=turn.allowance.within(left))
        try:
            experiment = self._attempt(turn, observe)
        except AgentError as error:
            words = f"{turn.agent.name} could not work ({error.trouble}): {error}"
            self.ledger.add_event(self.tag, "trouble", words=words)
            return None
        if experiment is None:
            portfolio.finished(turn.agent)
        return experiment

    def try_(self, agent: Agent, observe: Observer = lambda _: None) -> Experiment | None:
        """One experiment: take a change, run it, score it, judge it, keep or discard it, record it.

        None when the agent has nothing to propose. `observe` hears of earlier experiments whose
        verdict has changed: provisional keeps that were confirmed or dropped.
        """
        return self._attempt(Turn(agent), observe)

    def _attempt(self, turn: Turn, observe: Observer) -> Experiment | None:
        self._take_up(observe)
        self._exams.sit()
        experiment = self._attempts.propose(turn)
        if experiment is None:
            return None
        if experiment.verdict is None:
            experiment = self._attempts.conclude(experiment)
        self._publish(experiment)
        for other in self._review():
            if other.n != experiment.n:
                observe(other)
        return self.history.find(experiment.n)

    def withdraw(self, reason: str) -> None:
        """End what is under way, and close the experiment of the `try_` that was interrupted as
        invalid: whoever asked for it does not wait for it any more, so that no later driver takes
        it up. The baseline, and what an earlier driver left, are not withdrawn."""
        self.stopping.set()
        self._measuring.close()
        if not self._taken_up:
            return
        for experiment in self.ledger.unfinished(self.tag):
            if experiment.candidate is None:
                self.ledger.abandon_experiment(self.tag, experiment.n)
            else:
                self._publish(self._attempts.withdraw(experiment, reason))

    def replay(self, n: int, times: int) -> Replay:
        """Measure the candidate of experiment n again; changes no verdict. Raises UsageError when
        it has none, Interrupted when a stop at once was asked for."""
        self._measuring.prepare()
        metric, measure = self.arena.metric, self._measuring.measure
        try:
            return replay(self.ledger, self.tag, metric, measure, self._stop_asked, n, times)
        except StoppedAtOnce as stopped:
            raise Interrupted("stop was asked for at once; what was measured is kept") from stopped

    def ablate(self) -> Iterator[Ablated]:
        """The final program without each of its keeps, one after another, but for those that are
        there for being simpler; changes no verdict. Raises UsageError when there are none,
        Interrupted when a stop was asked for."""
        wanted = [keep for keep in self.history.keeps if not keep.simpler]
        if not wanted:
            raise UsageError(f"campaign {self.tag} has no win to take back")
        self._measuring.prepare()
        final, place = self.history.incumbent, self._measuring.places / "ablation"
        kept = [self.history.baseline, *self.history.keeps]
        before = {keep.n: parent.candidate or "" for parent, keep in pairwise(kept)}
        seed, measure = self.ledger.newest_seed(self.tag, Purpose.ABLATION), self._measuring.measure

        def without(keep: Experiment) -> str:
            change = keep.candidate or ""
            return self.workspace.without(final.candidate or "", change, before[keep.n], place)

        try:
            for found in ablate(self.arena, final, wanted, without, measure, seed):
                yield found
                if self._stop_asked():
                    return
        except StoppedAtOnce as stopped:
            raise Interrupted("stop was asked for at once; what was measured is kept") from stopped

    @property
    def results(self) -> Path:
        """results.tsv of the campaign that was driven last."""
        return self.arena.state / "results.tsv"

    @property
    def incumbent(self) -> Experiment:
        """The best so far; exists from the baseline on."""
        return self.history.incumbent

    def close(self) -> None:
        """End what is under way and let the next driver in."""
        self._measuring.close()
        self.ledger.close()
        self._lock.release()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_up(self, observe: Observer = lambda _: None) -> None:
        """The setup, the baseline, and an experiment that a dead driver left half done."""
        if self._taken_up:
            return
        self._measuring.prepare()
        if self.ledger.experiment(self.tag, 0) is None:
            self.ledger.open_experiment(self.tag, 0, "baseline", None)
            self.workspace.refs.record(self.tag, 0, self._base)
            program = self._attempts.programs.digest(self._base)
            self.ledger.record_candidate(self.tag, 0, self._base, Idea("baseline"), (), program)
        for experiment in self.ledger.unfinished(self.tag):
            finished = self._attempts.conclude(experiment)
            self._publish(finished)
            observe(finished)
        if not self.history.latest.kept and self.history.latest.n == 0:
            raise MeasurementImpossible(
                f"the baseline cannot be measured: {self.history.latest.reason}\n"
                f"Its logs are in {self.arena.state / 'logs' / self.tag / '0'}. "
                "Mend the arena, commit, and run again."
            )
        self._look_at_the_baseline()
        for experiment in self._review():
            observe(experiment)
        self._taken_up = True

    def _look_at_the_baseline(self) -> None:
        """Tell of what makes its scores mean less than they seem to."""
        for words in self.arena.uncharged(self.history.baseline.judged):
            self._warn(words)
        vary = len(set(self.history.baseline.scores)) > 1
        if vary or self.ledger.events(self.tag, SEED):
            return
        if place := fixed_seed(self.arena, self.workspace, self._base):
            self.ledger.add_event(self.tag, SEED, words=place)

    def _publish(self, experiment: Experiment) -> None:
        self.history.add(experiment)
        if experiment.kept:
            self._move_branch()
        if not results.append(self.results, experiment, self.arena.metric):
            # Somebody deleted or cut the file: it is written anew from the ledger.
            results.rewrite(self.results, self.ledger, self.tag, self.arena.metric)

    def _review(self, final: bool = False) -> list[Experiment]:
        """Let the judge look at the keeps again; those whose verdict has changed."""
        changed = self._attempts.reviews.review(final)
        if changed:
            self._move_branch()
            results.rewrite(self.results, self.ledger, self.tag, self.arena.metric)
        return changed

    def _move_branch(self) -> None:
        """To the incumbent; when the person holds it, the ledger remembers for later."""
        refs, commit = self.workspace.refs, self.history.incumbent.candidate
        tip = refs.branch(self.tag)
        assert commit is not None
        if tip == commit:
            return
        try:
            refs.move_branch(self.tag, commit, tip)
        except WorkspaceError as error:
            self._warn(str(error))

    def _warn(self, words: str) -> None:
        """Tell the person."""
        self.warnings.append(words)
        self.ledger.add_event(self.tag, "warning", words=words)

    # -- its end

    def _over(self, stretch: Stretch, limits: Limits, portfolio: Portfolio) -> Stop | None:
        if self._stop_asked():
            return Stop(StopKind.ASKED, "stop was asked for")
        portfolio.enforce_caps(self.ledger.spent(self.tag))
        if stop := Stop.without_agents(portfolio):
            return stop
        for words in portfolio.gone():
            self._warn(f"{words}; the campaign goes on without it")
        left = stretch.left(limits, self.ledger, self.tag)
        return stretch.over(limits, self.arena, self.history, left)

    def _stop_now(self) -> bool:
        return any(event.data.get("now") for event in self._stop_requests())

    def _stop_asked(self) -> bool:
        return bool(self._stop_requests())

    def _stop_requests(self) -> list[Event]:
        return self.ledger.events(self.tag, "stop-request", after=self._stretch_event)

    def _stopped_at_once(self, reason: BaseException) -> Stop:
        self.stopping.set()
        if isinstance(reason, KeyboardInterrupt):
            return Stop(StopKind.INTERRUPTED, "interrupted; the same command goes on from here")
        return Stop(StopKind.ASKED, "stop was asked for at once; the same command goes on")

    def _note_stop(self, stop: Stop) -> None:
        self.ledger.add_event(self.tag, "stop", reason=stop.kind.value, words=stop.words)
