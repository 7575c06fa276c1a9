"""One experiment from the proposal to its verdict: what `try` does, step by step.

The order of a keep: the candidate commit exists, its ledger row is durable; then the campaign
moves the branch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

from overnight.agents.base import (
    Agent,
    BriefReader,
    Reader,
    Rejected,
    Workbench,
    access_of,
    is_free,
)
from overnight.briefing.brief import Moment, write_brief
from overnight.campaign.confirmation import Reviews, failure_of
from overnight.campaign.judge_input import standing_of
from overnight.campaign.measurements import Measuring, StoppedAtOnce
from overnight.campaign.same_program import Programs
from overnight.campaign.state import Driven
from overnight.change.seeds import chosen_seed
from overnight.change.simplicity import Simplicity
from overnight.core.errors import AgentError, LedgerError, OvernightError, Trouble
from overnight.core.experiment import Closing, Experiment, Idea, Verdict, estimate
from overnight.core.text import one_line, tail
from overnight.core.usage import FREE, Usage
from overnight.insights.pruning_savings import note_pruning
from overnight.insights.readings import series
from overnight.judge.base import Decision, Evidence, More, Side
from overnight.judge.prune import Pruning, is_control, pruning_for
from overnight.judge.rules import judge_for
from overnight.measure.reach import PRIVATE
from overnight.record.notes import NAME, note_writer, take_note
from overnight.repo.acceptance import Candidate
from overnight.repo.commit_message import candidate_message, change_in_words, kept_message
from overnight.search.portfolio import Turn
from overnight.stage.secrets import Secrets

_LINE = 80  # characters of a candidate's line that a reason quotes
_SAID_LINES, _SAID = 3, 160  # lines, and characters, of an agent's last words
_TRANSCRIPT = "agent.log"


class Attempts:
    """Makes the experiments of one campaign. With Reviews, it alone judges, records and moves the
    branch."""

    def __init__(self, driven: Driven, measuring: Measuring) -> None:
        self._driven = driven
        self._arena = driven.arena
        self._tag = driven.tag
        self._workspace = driven.workspace
        self._ledger = driven.ledger
        self._history = driven.history
        self._measuring = measuring
        self._judge = judge_for(driven.arena)
        self._simplicity = Simplicity(driven.arena, driven.workspace)
        self.programs = Programs(driven)
        self._thought = 0.0
        """Wall seconds that the agent took for the proposal at hand."""
        self._secrets = Secrets.of()
        """What it could tell."""
        self._asked: Future[Idea | None] | None = None
        """What it answers, once it is asked."""
        self.reviews = Reviews(driven, self._judge, measuring)

    def propose(self, turn: Turn) -> Experiment | None:
        """The next experiment with its candidate, or with a verdict when it has none; None when
        the agent has nothing to propose. Raises AgentError when it may help to ask again later:
        then there is no experiment, and none when it is stopped meanwhile; what was used stays."""
        self._thought, self._asked = 0.0, None
        self._secrets = Secrets.of_agent(access_of(turn.agent))
        n = self._history.latest.n + 1
        parent = self._history.tip.candidate
        assert parent is not None
        self._ledger.open_experiment(self._tag, n, turn.agent.name, parent, _used(turn.agent))
        if turn.switch:
            self._ledger.add_event(self._tag, "switch", n=n, words=turn.switch)
        # Always the same: agents find an earlier conversation by the folder that it was held in.
        place = self._measuring.places / "agent"
        for name in PRIVATE:
            (place / name).mkdir(parents=True)
        start = (turn.start or self._history.tip).candidate or parent
        folder = self._workspace.checkout(start, place / "tree", own_git=True)
        try:
            idea = self._ask(turn.agent, self._bench(n, folder, place, turn))
            if self._measuring.stopping.is_set():
                raise StoppedAtOnce
            if idea is None:
                self._ledger.drop_experiment(self._tag, n)
                return None
            idea = replace(idea, usage=_used(turn.agent, idea.usage))
            proposed = self._commit(n, parent, place, idea)
            refused = AgentError(proposed.reason, Trouble.NO_CHANGE)
            turn.heard(None if proposed.candidate else refused)
            return proposed
        except Rejected as error:
            used = _used(turn.agent, error.idea.usage, error.usage)
            return self._refuse(n, replace(error.idea, usage=used), error.verdict, str(error))
        except AgentError as error:
            turn.heard(error)
            if error.trouble.passes and error.usage in (None, Usage()):
                self._abandon(n, turn.agent)
                raise
            idea = Idea("no proposal", usage=_used(turn.agent, error.usage))
            return self._refuse(n, idea, Verdict.INVALID, str(error))
        except BaseException:  # whatever ends it in the middle, what it used is used
            with suppress(LedgerError):  # the first error is the one to tell
                self._abandon(n, turn.agent)
            raise
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

    def withdraw(self, experiment: Experiment, reason: str) -> Experiment:
        """Close an experiment that is under way without a judgement."""
        return self._close(experiment, Closing(Verdict.INVALID, reason))

    # -- the candidate

    def _abandon(self, n: int, agent: Agent) -> None:
        """There is no experiment n. What its agent has used all the same stays in the ledger."""
        if self._asked is None:
            self._ledger.drop_experiment(self._tag, n)
            return
        usage = _used(agent, *_reports(self._asked))
        self._ledger.abandon_experiment(self._tag, n, usage, self._thought)

    def _ask(self, agent: Agent, bench: Workbench) -> Idea | None:
        """What it proposes; how long it took and what it learned is kept, whatever comes of it."""
        begun, clean = monotonic(), self._secrets.blotted
        try:
            idea = self._answer(agent, bench)
            return idea and _cleaned(idea, clean)
        except AgentError as error:
            error.args = (clean(str(error)),)
            if isinstance(error, Rejected):
                error.idea = _cleaned(error.idea, clean)
            raise
        finally:
            self._thought = monotonic() - begun
            who = note_writer(self._tag, bench.n, agent.name)
            take_note(bench.folder, self._arena.state / NAME, who, clean)
            for log in bench.transcript.parent.glob("agent*.log"):
                self._secrets.blot_out(log)

    def _answer(self, agent: Agent, bench: Workbench) -> Idea | None:
        # In a thread, so that a stop is heard while the agent thinks; the block waits for its end.
        with ThreadPoolExecutor(1, thread_name_prefix="agent") as thread:
            try:
                self._asked = thread.submit(agent.propose, bench)
                return self._measuring.wait(self._asked)
            except KeyboardInterrupt:
                self._measuring.stopping.set()
                raise
            except OvernightError:
                raise
            except Exception as error:  # an agent is foreign code: it may fail, not the night
                with bench.transcript.open("a", encoding="utf-8") as transcript:
                    transcript.write(traceback.format_exc())
                words = f"{type(error).__name__}: {error}"
                raise AgentError(f"{agent.name} failed: {words}; see {bench.transcript}") from error

    def _bench(self, n: int, folder: Path, place: Path, turn: Turn) -> Workbench:
        logs = self._measuring.logs(n)
        # That of whoever was asked before and could not work: the trouble is in the ledger.
        (logs / _TRANSCRIPT).unlink(missing_ok=True)
        brief = self._brief(turn.agent)
        brief += f"\n## This time\n{turn.hint}\n" if turn.hint else ""
        (logs / "brief.md").write_text(brief, encoding="utf-8")
        return Workbench(
            arena=self._arena,
            folder=folder,
            private=place,
            brief=brief,
            n=n,
            incumbent=turn.start or self._history.tip,
            history=self._history.finished,
            prior=self._history.prior,
            transcript=logs / _TRANSCRIPT,
            sandbox=self._measuring.sandbox,
            family=self._measuring.family,
            allowance=turn.allowance,
            stopping=self._measuring.stopping,
            edited=lambda: self._edited(place, turn),
            refusal=lambda: self.programs.refusal(self.programs.digest_in(folder)),
        )

    def _edited(self, place: Path, turn: Turn) -> bool:
        start = (turn.start or self._history.tip).candidate or ""
        made = self._taken(start, place, "what there is so far")
        return bool(made.commit or made.refused)

    def _brief(self, agent: Agent) -> str:
        reader = agent.reader if isinstance(agent, BriefReader) else Reader()
        moment = Moment(agent.name, standing_of(self._driven), self.reviews.fits())
        steers = self._ledger.events(self._tag, "steer")
        try:
            return write_brief(self._arena, self._history, steers, moment, reader)
        except OvernightError:
            raise
        except Exception as error:  # a tokenizer is foreign code: it may fail, not the night
            words = f"{type(error).__name__}: {error}"
            raise AgentError(f"{agent.name}: its brief cannot be counted: {words}") from error

    def _commit(self, n: int, parent: str, place: Path, idea: Idea) -> Experiment:
        """Make the candidate; an experiment with a verdict when that is refused. A change without a
        title is called after its own lines."""
        untitled = not idea.title
        idea = replace(idea, title=idea.title or f"experiment {n}")
        made = self._taken(parent, place, candidate_message(self._tag, n, idea))
        made = replace(made, dropped=tuple(map(self._secrets.blotted, made.dropped)))
        if made.refused:
            return self._refuse(n, idea, Verdict.INVALID, "; ".join(made.refused), made.dropped)
        if made.commit is None:
            words = f"nothing editable was changed{self._last_words(n)}"
            if (tip := self._history.tip).verdict is Verdict.PROVISIONAL:
                words += f" beyond #{tip.n}, which is provisional: further experiments confirm it"
            return self._refuse(n, idea, Verdict.INVALID, words, made.dropped)
        diff, commit = self._workspace.diff(parent, made.commit), made.commit
        if wrong := self._wrong_with(diff):
            return self._refuse(n, idea, Verdict.INVALID, wrong, made.dropped)
        if untitled:
            idea = replace(idea, title=self._secrets.blotted(change_in_words(diff)))
            commit = self._workspace.reword(commit, candidate_message(self._tag, n, idea))
        program = self.programs.digest(commit)
        if again := self.programs.refusal(program):
            return self._refuse(n, idea, Verdict.INVALID, again, made.dropped)
        self._workspace.refs.record(self._tag, n, commit)
        return self._ledger.record_candidate(
            self._tag, n, commit, idea, made.dropped, program, self._thought
        )

    def _taken(self, parent: str, place: Path, message: str) -> Candidate:
        """What may be taken of a checkout, as it stands."""
        editable, secret = self._arena.is_editable, self._secrets.found_in
        return self._workspace.commit(parent, place / "tree", editable, message, secret)

    def _last_words(self, n: int) -> str:
        """What the agent said last, if anything: a question that nobody was there to answer."""
        said = one_line(tail(self._measuring.logs(n) / _TRANSCRIPT, _SAID_LINES), _SAID)
        return f"; the agent's last words: `{said.replace('`', chr(39))}`" if said else ""

    def _wrong_with(self, diff: str) -> str | None:
        """Why a change must not be measured, in a sentence: it chooses its luck."""
        line = chosen_seed(diff)
        if line is None or self._arena.judge.fixed_seeds:
            return None
        return (
            f"it chooses a seed: `{one_line(line, _LINE)}`; a good score by a chosen seed is luck: "
            "leave seeds as they are, or take OVERNIGHT_SEED"
        )

    def _refuse(
        self, n: int, idea: Idea, verdict: Verdict, reason: str, dropped: tuple[str, ...] = ()
    ) -> Experiment:
        told = (self._tag, n, None, idea, dropped)
        self._ledger.record_candidate(*told, thought=self._thought)
        closing = Closing(verdict, self._secrets.blotted(reason))
        return self._ledger.close_experiment(self._tag, n, closing)

    # -- its measurements

    def _failure(self, experiment: Experiment) -> Closing | None:
        found = (failure_of(self._arena, measurement) for measurement in experiment.judged)
        return next((failure for failure in found if failure), None)

    def _ask_judge(self, experiment: Experiment) -> Decision | More:
        if not experiment.scores:
            return More(Side.CANDIDATE)
        readings, standing = series(self._arena, experiment), standing_of(self._driven)
        return self._judge.decide(Evidence(readings, standing, self._simpler(experiment)))

    def _simpler(self, experiment: Experiment) -> bool:
        return self._arena.judge.simplify and self._simplicity.gained(experiment)

    def _measure_more(self, experiment: Experiment, word: More) -> Experiment:
        """One more measurement of the side that the judge named; the experiment as it is then."""
        if word.of is Side.CANDIDATE:
            seed = None if self._judge.fresh_seeds else len(experiment.judged)
            self._measuring.take(experiment, seed, self._pruning(experiment))
        else:
            self.reviews.measure(word.of)
        again = self._ledger.experiment(self._tag, experiment.n)
        assert again is not None
        return again

    def _pruning(self, experiment: Experiment) -> Pruning | None:
        """What may end the run early: only that which is measured first."""
        if experiment.judged or not self._arena.run.prune:
            return None
        history, metric, n = self._history, self._arena.metric, experiment.n
        if not history.begun:
            return Pruning(metric)
        needed = self._judge.least(standing_of(self._driven), self._simpler(experiment))
        return pruning_for(metric, history.finished, history.tip, needed, is_control(self._tag, n))

    # -- its verdict

    def _settle(self, experiment: Experiment, decision: Decision) -> Experiment:
        """Turn the judge's word into a verdict; a keep must pass the arena's checks first."""
        score = estimate(experiment)
        gain = None if experiment.n == 0 else decision.gain
        verdict, interval, simpler = decision.verdict, decision.interval, decision.simpler
        closing = Closing(verdict, decision.reason, score, gain, interval, simpler=simpler)
        if not decision.keep:
            return self._close(experiment, closing)
        if (wrong := self._measuring.check(experiment)) is not None:
            return self._close(experiment, closing.as_(Verdict.INVALID, wrong))
        assert experiment.candidate is not None
        if decision.verdict is Verdict.PROVISIONAL:
            return self._close(experiment, closing)
        commit = experiment.candidate
        if experiment.n > 0:
            message = kept_message(self._tag, closing.of(experiment), self._arena.metric)
            commit = self._workspace.reword(commit, message)
            self._workspace.refs.record(self._tag, experiment.n, commit)
        return self._close(experiment, closing.as_(Verdict.KEEP, decision.reason, commit))

    def _close(self, experiment: Experiment, closing: Closing) -> Experiment:
        closed = self._ledger.close_experiment(self._tag, experiment.n, closing)
        note_pruning(self._ledger, self._tag, closed)
        return closed


def _cleaned(idea: Idea, clean: Callable[[str], str]) -> Idea:
    """The idea without a key that its agent has seen."""
    return replace(idea, title=clean(idea.title), hypothesis=clean(idea.hypothesis))


def _reports(asked: Future[Idea | None]) -> Iterator[Usage | None]:
    """What an agent reports of what it used, with an idea or without; nothing before it ends."""
    if not asked.done() or asked.cancelled():
        return
    error = asked.exception()
    if isinstance(error, AgentError):
        yield error.usage
    idea = error.idea if isinstance(error, Rejected) else None if error else asked.result()
    yield idea.usage if idea else None


def _used(agent: Agent, *reports: Usage | None) -> Usage:
    """What a proposal used, by what was reported of it."""
    used = FREE if is_free(agent) else Usage()
    for report in reports:
        used += report.believable if report else Usage()
    return used
