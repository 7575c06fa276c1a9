"""One experiment from the proposal to its verdict: what `try` does, step by step.

The order of a keep: the candidate commit exists, its ledger row is durable, the branch moves.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from overnight.agents.base import Agent, Rejected, Workbench
from overnight.arena import Arena
from overnight.brief import write_brief
from overnight.errors import (
    AgentError,
    MeasurementImpossible,
    OvernightError,
    WorkspaceError,
)
from overnight.executors.base import Executor
from overnight.executors.local import LocalExecutor
from overnight.experiment import (
    CampaignRecord,
    Experiment,
    Idea,
    Measurement,
    Purpose,
    Verdict,
)
from overnight.history import History
from overnight.judge import Decision, Evidence, More, Side, estimate, judge_for
from overnight.ledger import Closing, Ledger
from overnight.measure import Task
from overnight.message import candidate_message, kept_message
from overnight.policies import PRIVATE
from overnight.resume import family_of
from overnight.workspace import Workspace

T = TypeVar("T")
_LONG_SECONDS = 0.5
"""A setup that takes longer is told of while it runs."""


class StoppedAtOnce(Exception):
    """Internal: `stopping` was set while something was under way."""


class Attempts:
    """Makes the experiments of one campaign. It alone judges, records and moves the branch."""

    def __init__(
        self,
        arena: Arena,
        record: CampaignRecord,
        workspace: Workspace,
        ledger: Ledger,
        history: History,
        stop_now: Callable[[], bool],
        sandbox: str,
    ) -> None:
        self.stopping = threading.Event()
        """Set it to end what is under way."""
        self.warnings: list[str] = []
        self.failures = 0
        """Proposals in a row that did not become a candidate."""
        self._family = family_of(arena, record.tag)
        self._arena = arena
        self._base = record.base
        self._tag = record.tag
        self._workspace = workspace
        self._ledger = ledger
        self._history = history
        self._stop_now = stop_now
        self._sandbox = sandbox
        self._places = arena.state / "worktrees" / record.tag
        self._judge = judge_for(arena)
        self._executor: Executor = LocalExecutor(arena, workspace)

    def close(self) -> None:
        """End what is under way."""
        self.stopping.set()
        self._executor.close()

    def prepare(self) -> None:
        """The arena's setup, where it was not run before. Raises MeasurementImpossible."""
        if self._arena.setup is None:
            return
        logs = self._arena.state / "logs" / self._tag
        logs.mkdir(parents=True, exist_ok=True)
        task = self._task_in(self._places / "setup", logs, self._base, 0)
        future = self._executor.prepare(task)
        if wait([future], _LONG_SECONDS).not_done:
            words = f"the setup `{self._arena.setup.command}`, log {logs / 'setup.log'}"
            self._ledger.add_event(self._tag, "setup", words=words)
        self._wait(future)
        if self.stopping.is_set():
            raise StoppedAtOnce

    def propose(self, agent: Agent) -> Experiment | None:
        """The next experiment with its candidate, or with a verdict when it has none; None when
        the agent has nothing to propose."""
        n = self._history.latest.n + 1
        parent = self._history.incumbent.candidate
        assert parent is not None
        self._ledger.open_experiment(self._tag, n, agent.name, parent)
        place = self._places / f"agent-{n}"
        for name in PRIVATE:
            (place / name).mkdir(parents=True)
        folder = self._workspace.checkout(parent, place / "tree", own_git=True)
        try:
            idea = self._ask(agent, self._bench(n, folder, place))
            if self.stopping.is_set():
                raise StoppedAtOnce
            if idea is None:
                self._ledger.drop_experiment(self._tag, n)
                return None
            return self._commit(n, parent, place, idea)
        except Rejected as error:
            return self._refuse(n, error.idea, error.verdict, str(error))
        except AgentError as error:
            return self._refuse(n, Idea("no proposal"), Verdict.INVALID, str(error))
        finally:
            self._workspace.remove(place)

    def conclude(self, experiment: Experiment) -> Experiment:
        """Measure the candidate until a verdict stands, then settle it."""
        while True:
            failure = self._failure(experiment)
            if failure is not None:
                return self._close(experiment, failure)
            word = self._ask_judge(experiment)
            if isinstance(word, Decision):
                return self._settle(experiment, word)
            experiment = self._measure_more(experiment, word)

    # -- the candidate

    def _ask(self, agent: Agent, bench: Workbench) -> Idea | None:
        # In a thread, so that a stop is heard while the agent thinks; the block waits for its end.
        with ThreadPoolExecutor(1, thread_name_prefix="agent") as thread:
            try:
                return self._wait(thread.submit(agent.propose, bench))
            except KeyboardInterrupt:
                self.stopping.set()
                raise
            except OvernightError:
                raise
            except Exception as error:  # an agent is foreign code: it may fail, not the night
                with bench.transcript.open("a", encoding="utf-8") as transcript:
                    transcript.write(traceback.format_exc())
                words = f"{type(error).__name__}: {error}"
                raise AgentError(f"{agent.name} failed: {words}; see {bench.transcript}") from error

    def _bench(self, n: int, folder: Path, place: Path) -> Workbench:
        logs = self._logs(n)
        brief = write_brief(self._arena, self._history, self._ledger.events(self._tag, "steer"))
        (logs / "brief.md").write_text(brief, encoding="utf-8")
        return Workbench(
            arena=self._arena,
            folder=folder,
            place=place,
            brief=brief,
            n=n,
            incumbent=self._history.incumbent,
            history=self._history.finished,
            prior=self._history.prior,
            transcript=logs / "agent.log",
            sandbox=self._sandbox,
            family=self._family,
            stopping=self.stopping,
        )

    def _commit(self, n: int, parent: str, place: Path, idea: Idea) -> Experiment:
        """Make the candidate; an experiment with a verdict when that is refused."""
        made = self._workspace.commit(
            parent, place / "tree", self._arena.is_editable, candidate_message(self._tag, n, idea)
        )
        if made.refused:
            return self._refuse(n, idea, Verdict.INVALID, "; ".join(made.refused), made.dropped)
        if made.commit is None:
            words = "nothing editable was changed"
            return self._refuse(n, idea, Verdict.INVALID, words, made.dropped)
        self.failures = 0
        self._workspace.refs.record(self._tag, n, made.commit)
        return self._ledger.record_candidate(self._tag, n, made.commit, idea, made.dropped)

    def _refuse(
        self, n: int, idea: Idea, verdict: Verdict, reason: str, dropped: tuple[str, ...] = ()
    ) -> Experiment:
        self.failures += 1
        self._ledger.record_candidate(self._tag, n, None, idea, dropped)
        return self._ledger.close_experiment(self._tag, n, Closing(verdict, reason))

    # -- its measurements

    def _failure(self, experiment: Experiment) -> Closing | None:
        for measurement in experiment.measurements:
            if verdict := measurement.outcome.verdict:
                return Closing(verdict, f"{measurement.outcome}: {measurement.detail}")
            for name, bounds in self._arena.constraints.items():
                if wrong := bounds.broken_by(measurement.numbers.get(name)):
                    return Closing(Verdict.INVALID, f"constraint {name} {wrong}")
        return None

    def _ask_judge(self, experiment: Experiment) -> Decision | More:
        if not experiment.scores:
            return More(Side.CANDIDATE)
        if experiment.n == 0:
            return Decision(True, 0.0, "the baseline")
        sides = (experiment.scores, self._history.incumbent.scores)
        orient = self._arena.metric.orient
        return self._judge.decide(Evidence(*(tuple(map(orient, scores)) for scores in sides)))

    def _measure_more(self, experiment: Experiment, word: More) -> Experiment:
        """One more measurement of the side that the judge named; the experiment as it is then."""
        if word.of is Side.CANDIDATE:
            self._measure(experiment)
        else:
            incumbent = self._history.incumbent
            measurement = self._measure(incumbent)
            if measurement.score is None:
                raise MeasurementImpossible(
                    f"experiment {incumbent.n}, the incumbent, was measured again and failed: "
                    f"{measurement.outcome}: {measurement.detail}"
                )
            self._history.refresh_incumbent(self._arena.metric)
        again = self._ledger.experiment(self._tag, experiment.n)
        assert again is not None
        return again

    def _measure(self, experiment: Experiment) -> Measurement:
        return self.measure(Purpose.JUDGE, experiment, len(experiment.judged))

    def measure(self, purpose: Purpose, experiment: Experiment, seed: int) -> Measurement:
        """Measure its candidate once, and record it. Whatever is not taken to judge changes
        nothing but the record."""
        n, candidate = experiment.n, experiment.candidate
        assert candidate is not None
        row = self._ledger.open_measurement(self._tag, n, candidate, seed, purpose)
        kind = "run" if purpose is Purpose.JUDGE else purpose.value
        task = replace(self._task(n, candidate, seed, kind), purpose=purpose)
        measurement = self._wait(self._executor.measure(task))
        if measurement is None:
            raise StoppedAtOnce
        self._ledger.close_measurement(row, measurement)
        return measurement

    def _task(self, n: int, candidate: str, seed: int, kind: str = "run") -> Task:
        name = f"{kind}-{n}-{seed}"
        logs = self._logs(n) / name
        logs.mkdir(exist_ok=True)
        return self._task_in(self._places / name, logs, candidate, seed, n)

    def _task_in(self, place: Path, logs: Path, candidate: str, seed: int, n: int = 0) -> Task:
        return Task(
            candidate=candidate,
            base=self._base,
            seed=seed,
            place=place,
            logs=logs,
            family=self._family,
            experiment=n,
            stopping=self.stopping,
            sandbox=self._sandbox,
        )

    def _logs(self, n: int) -> Path:
        logs = self._arena.state / "logs" / self._tag / str(n)
        logs.mkdir(parents=True, exist_ok=True)
        return logs

    def _wait(self, future: Future[T]) -> T:
        """The future's result; meanwhile a `stop --now` from another terminal is obeyed."""
        while wait([future], 0.5).not_done:
            if self._stop_now():
                self.stopping.set()
        return future.result()

    # -- its verdict

    def _settle(self, experiment: Experiment, decision: Decision) -> Experiment:
        """Turn the judge's word into a verdict; a keep must pass the arena's checks first."""
        score = estimate(experiment.scores)
        gain = None if experiment.n == 0 else decision.gain
        closing = Closing(Verdict.DISCARD, decision.reason, score, gain, decision.interval)
        if not decision.keep:
            return self._close(experiment, closing)
        assert experiment.candidate is not None
        task = self._task(experiment.n, experiment.candidate, 0, "checks")
        wrong = self._wait(self._executor.check(task)) if self._arena.checks else None
        if self.stopping.is_set():  # which ends a check too, and that is no failure of it
            raise StoppedAtOnce
        if wrong is not None:
            return self._close(experiment, closing.as_(Verdict.INVALID, wrong))
        commit = experiment.candidate
        if experiment.n > 0:
            message = kept_message(self._tag, experiment, self._arena.metric, score, decision.gain)
            commit = self._workspace.reword(commit, message)
            self._workspace.refs.record(self._tag, experiment.n, commit)
        kept = self._close(experiment, closing.as_(Verdict.KEEP, decision.reason, commit))
        self._move_branch(commit, experiment.parent)
        return kept

    def _close(self, experiment: Experiment, closing: Closing) -> Experiment:
        return self._ledger.close_experiment(self._tag, experiment.n, closing)

    def _move_branch(self, commit: str, expected: str | None) -> None:
        """A keep moves the branch; when the person holds it, the ledger remembers for later."""
        if self._workspace.refs.branch(self._tag) == commit:
            return
        try:
            self._workspace.refs.move_branch(self._tag, commit, expected)
        except WorkspaceError as error:
            self.warn(str(error))

    def warn(self, words: str) -> None:
        """Tell the person."""
        self.warnings.append(words)
        self._ledger.add_event(self._tag, "warning", words=words)
