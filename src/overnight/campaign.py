"""The campaign: open or resume, try, run.

One writer: executors return what they measured; the campaign alone judges, records and moves the
branch, in this order: the candidate commit exists, its ledger row is durable, the branch moves.
A driver that dies at any instant leaves a state that `open` repairs from the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from overnight import results
from overnight.agents.base import Agent, Rejected, Workbench
from overnight.arena import Arena
from overnight.brief import write_brief
from overnight.errors import (
    AgentError,
    LedgerError,
    MeasurementImpossible,
    OvernightError,
    WorkspaceError,
)
from overnight.executors.base import Executor
from overnight.executors.local import LocalExecutor
from overnight.experiment import Event, Experiment, Idea, Measurement, Verdict
from overnight.history import History
from overnight.judge import Decision, Evidence, More, Side, estimate, judge_for
from overnight.ledger import Closing, Ledger
from overnight.lock import CampaignLock
from overnight.measure import Task
from overnight.message import candidate_message, kept_message
from overnight.resume import base_arena, begin_or_find, family_of, repair
from overnight.setup import run_setup
from overnight.stop import FAILURES_IN_A_ROW, Limits, Stop, StopKind, Stretch
from overnight.workspace import Workspace

T = TypeVar("T")
Observer = Callable[[Experiment], None]


class StoppedAtOnce(Exception):
    """Internal: `stopping` was set while something was under way."""


class Campaign:
    """A search in an arena, driven by this process alone. Use it as a context manager."""

    def __init__(
        self, arena: Arena, tag: str, workspace: Workspace, ledger: Ledger, lock: CampaignLock
    ) -> None:
        self.arena = arena
        self.tag = tag
        self.workspace = workspace
        self.ledger = ledger
        self.stopping = threading.Event()
        """Set it to end the campaign at once; the next run takes up what was under way."""
        self.warnings: list[str] = []
        self.history = History(ledger, tag)
        self.base = ""
        self._lock = lock
        self._places = arena.state / "worktrees" / tag
        self._family = family_of(arena, tag)
        self._judge = judge_for(arena)
        self._executor: Executor = LocalExecutor(arena, workspace)
        self._failures = 0
        self._taken_up = False
        self._stretch_event = 0

    @classmethod
    def open(cls, root: Path | str, tag: str | None = None) -> Campaign:
        """The campaign `tag` of the arena in this folder: a new one, or the one that was left.

        Without a tag: the newest campaign, or a first one named after today's date.
        Raises ArenaError, WorkspaceError, LedgerError or CampaignBusy, before anything ran.
        """
        arena = Arena.load(Path(root).resolve())
        workspace = Workspace.open(arena.root, arena.state)
        ledger = Ledger.at(arena.ledger_place, arena.name)
        record, lock, warnings = begin_or_find(arena, workspace, ledger, tag)
        campaign = cls(base_arena(arena, workspace, record), record.tag, workspace, ledger, lock)
        campaign.base = record.base
        campaign.warnings += warnings
        repair(campaign.arena, workspace, ledger, record)
        campaign.history.load()
        results.rewrite(campaign.results, ledger, record.tag, arena.metric)
        return campaign

    def run(self, agent: Agent, limits: Limits, observe: Observer = lambda _: None) -> Stop:
        """Try one proposal after another until a limit or a wish ends it; says what did.

        Raises OvernightError when the machine, not a candidate, is at fault; the reason is in
        the ledger by then and the same call goes on from there.
        """
        stretch = Stretch.begin(self.ledger, self.tag, limits)
        self._stretch_event = stretch.event
        try:
            self._take_up(observe)
            while not (stop := self._over(stretch, limits)):
                experiment = self.try_(agent)
                if experiment is None:
                    stop = Stop(StopKind.EXHAUSTED, f"{agent.name} has nothing left to propose")
                    break
                observe(experiment)
        except (KeyboardInterrupt, StoppedAtOnce) as reason:
            stop = self._stopped_at_once(reason)
        except OvernightError as error:
            with suppress(LedgerError):  # the first error is the one to tell
                self._note_stop(Stop(StopKind.ERROR, str(error)))
            raise
        self._note_stop(stop)
        return stop

    def try_(self, agent: Agent) -> Experiment | None:
        """One experiment: take a change, run it, score it, judge it, keep or discard it, record it.

        None when the agent has nothing to propose.
        """
        self._take_up()
        experiment = self._propose(agent)
        if experiment is not None and experiment.verdict is None:
            experiment = self._conclude(experiment)
        if experiment is not None:
            self._publish(experiment)
        return experiment

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
        self.stopping.set()
        self._executor.close()
        self.ledger.close()
        self._lock.release()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- an experiment, step by step

    def _take_up(self, observe: Observer = lambda _: None) -> None:
        """The setup, the baseline, and an experiment that a dead driver left half done."""
        if self._taken_up:
            return
        run_setup(self.arena, self.workspace, self.base, self._family)
        if self.ledger.experiment(self.tag, 0) is None:
            self.ledger.open_experiment(self.tag, 0, "baseline", None)
            idea = Idea("baseline")
            self.workspace.refs.record(self.tag, 0, self.base)
            self.ledger.record_candidate(self.tag, 0, self.base, idea, ())
        for experiment in self.ledger.unfinished(self.tag):
            finished = self._conclude(experiment)
            self._publish(finished)
            observe(finished)
        if not self.history.latest.kept and self.history.latest.n == 0:
            raise MeasurementImpossible(
                f"the baseline cannot be measured: {self.history.latest.reason}\n"
                f"Its logs are in {self.arena.state / 'logs' / self.tag / '0'}. "
                "Mend the arena, commit, and run again."
            )
        self._taken_up = True

    def _propose(self, agent: Agent) -> Experiment | None:
        n = self.history.latest.n + 1
        parent = self.incumbent.candidate
        assert parent is not None
        self.ledger.open_experiment(self.tag, n, agent.name, parent)
        place = self._places / f"agent-{n}"
        folder = self.workspace.checkout(parent, place, own_git=True)
        try:
            idea = agent.propose(self._bench(n, folder))
            if self.stopping.is_set():
                raise StoppedAtOnce
            if idea is None:
                self.ledger.drop_experiment(self.tag, n)
                return None
            return self._commit(n, parent, place, idea)
        except Rejected as error:
            return self._refuse(n, error.idea, error.verdict, str(error))
        except AgentError as error:
            return self._refuse(n, Idea("no proposal"), Verdict.INVALID, str(error))
        finally:
            self.workspace.remove(place)

    def _commit(self, n: int, parent: str, place: Path, idea: Idea) -> Experiment:
        """Make the candidate; an experiment with a verdict when that is refused."""
        made = self.workspace.commit(
            parent, place, self.arena.is_editable, candidate_message(self.tag, n, idea)
        )
        if made.refused:
            return self._refuse(n, idea, Verdict.INVALID, "; ".join(made.refused), made.dropped)
        if made.commit is None:
            words = "nothing editable was changed"
            return self._refuse(n, idea, Verdict.INVALID, words, made.dropped)
        self._failures = 0
        self.workspace.refs.record(self.tag, n, made.commit)
        return self.ledger.record_candidate(self.tag, n, made.commit, idea, made.dropped)

    def _refuse(
        self, n: int, idea: Idea, verdict: Verdict, reason: str, dropped: tuple[str, ...] = ()
    ) -> Experiment:
        self._failures += 1
        self.ledger.record_candidate(self.tag, n, None, idea, dropped)
        return self.ledger.close_experiment(self.tag, n, Closing(verdict, reason))

    def _conclude(self, experiment: Experiment) -> Experiment:
        """Measure until a verdict stands, then settle it."""
        while True:
            failure = self._failure(experiment)
            if failure is not None:
                return self._close(experiment, failure)
            word = self._ask_judge(experiment)
            if isinstance(word, Decision):
                return self._settle(experiment, word)
            experiment = self._measure_more(experiment, word)

    def _failure(self, experiment: Experiment) -> Closing | None:
        for measurement in experiment.measurements:
            if verdict := measurement.outcome.verdict:
                return Closing(verdict, f"{measurement.outcome}: {measurement.detail}")
            for name, bounds in self.arena.constraints.items():
                if wrong := bounds.broken_by(measurement.numbers.get(name)):
                    return Closing(Verdict.INVALID, f"constraint {name} {wrong}")
        return None

    def _ask_judge(self, experiment: Experiment) -> Decision | More:
        if not experiment.scores:
            return More(Side.CANDIDATE)
        if experiment.n == 0:
            return Decision(True, 0.0, "the baseline")
        orient = self.arena.metric.orient
        evidence = Evidence(
            tuple(map(orient, experiment.scores)), tuple(map(orient, self.incumbent.scores))
        )
        return self._judge.decide(evidence)

    def _measure_more(self, experiment: Experiment, word: More) -> Experiment:
        """One more measurement of the side that the judge named; the experiment as it is then."""
        if word.of is Side.CANDIDATE:
            self._measure(experiment)
        else:
            measurement = self._measure(self.incumbent)
            if measurement.score is None:
                raise MeasurementImpossible(
                    f"experiment {self.incumbent.n}, the incumbent, was measured again and "
                    f"failed: {measurement.outcome}: {measurement.detail}"
                )
            self.history.refresh_incumbent(self.arena.metric)
        again = self.ledger.experiment(self.tag, experiment.n)
        assert again is not None
        return again

    def _measure(self, experiment: Experiment) -> Measurement:
        assert experiment.candidate is not None
        seed = len(experiment.measurements)
        row = self.ledger.open_measurement(self.tag, experiment.n, experiment.candidate, seed)
        task = self._task(experiment.n, experiment.candidate, seed)
        measurement = self._wait(self._executor.measure(task))
        if measurement is None:
            raise StoppedAtOnce
        self.ledger.close_measurement(row, measurement)
        return measurement

    def _settle(self, experiment: Experiment, decision: Decision) -> Experiment:
        """Turn the judge's word into a verdict; a keep must pass the arena's checks first."""
        score = estimate(experiment.scores)
        gain = None if experiment.n == 0 else decision.gain
        closing = Closing(Verdict.DISCARD, decision.reason, score, gain, decision.interval)
        if not decision.keep:
            return self._close(experiment, closing)
        assert experiment.candidate is not None
        task = self._task(experiment.n, experiment.candidate, 0, "checks")
        if self.arena.checks and (wrong := self._wait(self._executor.check(task))):
            return self._close(experiment, closing.as_(Verdict.INVALID, wrong))
        if self.stopping.is_set():
            raise StoppedAtOnce
        commit = experiment.candidate
        if experiment.n > 0:
            message = kept_message(self.tag, experiment, self.arena.metric, score, decision.gain)
            commit = self.workspace.reword(commit, message)
            self.workspace.refs.record(self.tag, experiment.n, commit)
        kept = self._close(experiment, closing.as_(Verdict.KEEP, decision.reason, commit))
        self._move_branch(commit, experiment.parent)
        return kept

    def _close(self, experiment: Experiment, closing: Closing) -> Experiment:
        return self.ledger.close_experiment(self.tag, experiment.n, closing)

    def _move_branch(self, commit: str, expected: str | None) -> None:
        """A keep moves the branch; when the person holds it, the ledger remembers for later."""
        if self.workspace.refs.branch(self.tag) == commit:
            return
        try:
            self.workspace.refs.move_branch(self.tag, commit, expected)
        except WorkspaceError as error:
            self.warnings.append(str(error))
            self.ledger.add_event(self.tag, "warning", words=str(error))

    def _publish(self, experiment: Experiment) -> None:
        self.history.add(experiment)
        if not results.append(self.results, experiment, self.arena.metric):
            # Somebody deleted or cut the file: it is written anew from the ledger.
            results.rewrite(self.results, self.ledger, self.tag, self.arena.metric)

    # -- what surrounds an experiment

    def _bench(self, n: int, folder: Path) -> Workbench:
        logs = self._logs(n)
        brief = write_brief(self.arena, self.history, self.ledger.events(self.tag, "steer"))
        (logs / "brief.md").write_text(brief, encoding="utf-8")
        return Workbench(
            arena=self.arena,
            folder=folder,
            brief=brief,
            n=n,
            incumbent=self.incumbent,
            history=self.history.finished,
            prior=self.history.prior,
            transcript=logs / "agent.log",
            family=self._family,
            stopping=self.stopping,
        )

    def _task(self, n: int, candidate: str, seed: int, purpose: str = "run") -> Task:
        name = f"{purpose}-{n}-{seed}"
        logs = self._logs(n) / name
        logs.mkdir(exist_ok=True)
        return Task(
            candidate=candidate,
            base=self.base,
            seed=seed,
            place=self._places / name,
            logs=logs,
            family=self._family,
            stopping=self.stopping,
        )

    def _logs(self, n: int) -> Path:
        logs = self.arena.state / "logs" / self.tag / str(n)
        logs.mkdir(parents=True, exist_ok=True)
        return logs

    def _wait(self, future: Future[T]) -> T:
        """The future's result; meanwhile a `stop --now` from another terminal is obeyed."""
        while True:
            try:
                return future.result(timeout=0.5)
            except TimeoutError:
                if any(event.data.get("now") for event in self._stop_requests()):
                    self.stopping.set()

    def _stop_requests(self) -> list[Event]:
        return self.ledger.events(self.tag, "stop-request", after=self._stretch_event)

    def _over(self, stretch: Stretch, limits: Limits) -> Stop | None:
        if self._stop_requests():
            return Stop(StopKind.ASKED, "stop was asked for")
        if self._failures >= FAILURES_IN_A_ROW:
            words = f"{self._failures} proposals failed in a row: {self.history.latest.reason}"
            return Stop(StopKind.AGENT, words)
        return stretch.over(limits, self.arena.metric, self.incumbent, self.history.latest)

    def _stopped_at_once(self, reason: BaseException) -> Stop:
        self.stopping.set()
        if isinstance(reason, KeyboardInterrupt):
            return Stop(StopKind.INTERRUPTED, "interrupted; the same command goes on from here")
        return Stop(StopKind.ASKED, "stop was asked for at once; the same command goes on")

    def _note_stop(self, stop: Stop) -> None:
        self.ledger.add_event(self.tag, "stop", reason=stop.kind.value, words=stop.words)
