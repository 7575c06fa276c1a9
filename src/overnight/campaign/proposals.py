"""Proposals: an agent works in a worktree; its change becomes a candidate or is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from overnight.agents.base import Agent, Rejected, Workbench, access_of, failed, is_free
from overnight.campaign.keeper import Keeper
from overnight.campaign.same_program import Programs
from overnight.change.seeds import chosen_seed, unread_seed
from overnight.change.simplicity import Simplicity
from overnight.core.errors import AgentError, OvernightError, Trouble
from overnight.core.experiment import Experiment, Idea, Proposal, Verdict
from overnight.core.text import one_line, tail
from overnight.core.usage import FREE, UNKNOWN, Usage
from overnight.measure.job import places
from overnight.measure.reach import PRIVATE
from overnight.record.book import Book
from overnight.record.lock import family_of
from overnight.record.log_folders import experiment_logs, file_logs, proposal_logs
from overnight.record.notes import NAME, note_writer, take_note
from overnight.repo.acceptance import Collected
from overnight.repo.commit_message import candidate_message, change_in_words
from overnight.repo.workspace import Workspace
from overnight.search.portfolio import Ask
from overnight.stage.secrets import Secrets

_LINE = 80  # most characters of a line of code that a reason quotes
_SAID_LINES, _SAID = 3, 160  # most lines and characters of an agent's last words
TRANSCRIPT = "agent.log"
Brief = Callable[[Ask], str]
"""Writes the brief."""


@dataclass(frozen=True)
class Answer:
    """How a proposal ended."""

    ask: Ask
    proposal: Proposal
    """With its outcome, and what it used."""
    experiment: Experiment | None = None
    """The experiment that comes of it, without its number: it has a candidate or was refused."""
    error: AgentError | None = None
    """The agent's failure, if any; a rejected patch is none."""
    failure: Exception | None = None
    """The machine's failure: no experiment comes of the proposal, and the campaign stops."""
    warnings: Sequence[str] = ()
    """For the user."""


class Proposers:
    """Asks agents for changes, one at a time, and records their answers."""

    def __init__(
        self,
        book: Book,
        workspace: Workspace,
        keeper: Keeper,
        brief: Brief,
        sandbox: str,
    ) -> None:
        self.stopping = threading.Event()
        """Set to stop the campaign at once; agents then return soon."""
        self._book = book
        self._workspace = workspace
        self._keeper = keeper
        self._brief = brief
        self._sandbox = sandbox
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="agent")
        self._asked: dict[Future[Answer], Workbench] = {}
        self._programs = Programs(book, workspace)
        self._simplicity = Simplicity(book.arena, workspace)

    @property
    def free(self) -> int:
        """How many more agents may be asked now; 0 while the campaign is being stopped."""
        return 0 if self.stopping.is_set() or self._asked else 1

    @property
    def at_work(self) -> list[Future[Answer]]:
        return list(self._asked)

    def baseline(self, commit: str) -> Experiment:
        """Record experiment 0: the program of the campaign's base commit."""
        program = self._programs.digest(commit)
        base = Experiment(0, "baseline", datetime.now(UTC), candidate=commit)
        return self._keeper.add(replace(base, description="baseline", program=program))

    def ask(self, ask: Ask) -> None:
        """Ask an agent for a change; it works in a thread of its own."""
        usage = FREE if is_free(ask.agent) else UNKNOWN
        proposal = self._book.ask(ask.agent.name, ask.start.n, ask.against.n, usage)
        if ask.switch:
            self._book.note("switch", n=self._book.next_number, words=ask.switch)
        brief, error = "", None
        try:
            try:
                brief = self._brief(ask) + (f"\n## This time\n{ask.hint}\n" if ask.hint else "")
            except AgentError as trouble:
                error = trouble
            bench = self._bench(ask, proposal, brief)
        except (OvernightError, OSError):
            self._book.end(replace(proposal, outcome="stopped"))
            raise
        future = self._threads.submit(self._propose, ask, proposal, bench, error)
        self._asked[future] = bench

    def enter(self) -> Iterator[tuple[Answer, Experiment | None]]:
        """Record the proposals that have ended; yields each answer with its experiment, which now
        has its number, if there is one."""
        for done in [future for future in self._asked if future.done()]:
            yield self._enter(done)

    def _enter(self, done: Future[Answer]) -> tuple[Answer, Experiment | None]:
        bench = self._asked.pop(done)
        answer = done.result()
        for words in answer.warnings:
            self._keeper.warn(words)
        if answer.experiment is None:
            self._book.end(answer.proposal)
            if answer.failure:
                raise answer.failure
            return answer, None
        e, n = answer.experiment, self._book.next_number
        if e.candidate and n != bench.n:
            e = replace(e, candidate=self._workspace.reword(e.candidate, self._message(e, n)))
        arena, tag, proposal = self._book.arena, self._book.tag, replace(answer.proposal, n=n)
        kept = experiment_logs(arena, tag, n)
        reason = e.reason.replace(str(bench.transcript.parent), str(kept))
        added = self._keeper.add(replace(e, n=n, reason=reason, proposal=proposal))
        file_logs(arena, tag, proposal)
        return answer, added

    def close(self) -> None:
        """End the agent at work, and record what it is known to have used. A change that it had
        finished before the stop becomes an experiment."""
        self.stopping.set()
        for future in self.at_work:
            with suppress(Exception):  # the reason for closing matters more
                self._enter(future)
        self._threads.shutdown(wait=True)

    # -- one proposal, in its thread

    def _propose(
        self, ask: Ask, proposal: Proposal, bench: Workbench, error: AgentError | None
    ) -> Answer:
        """Ask the agent; its usage is in the answer, whatever comes of it."""
        secrets, idea, warnings = Secrets.of_agent(access_of(ask.agent)), None, []
        ended, begun = proposal, monotonic()
        try:
            tree = bench.private / "tree"
            self._workspace.checkout(ask.start.candidate or "", tree, own_git=True)
            begun = monotonic()
            try:
                idea = None if error else self._answer(ask.agent, bench)
            except AgentError as trouble:
                error = trouble
            idea = error.idea if isinstance(error, Rejected) else idea
            reports = (idea.usage if idea else None, error.usage if error else None)
            usage = _used(ask.agent, *reports)
            ended = replace(proposal, usage=usage, thought=monotonic() - begun)
            try:
                self._take_notes(ask.agent, bench, secrets)
            except (OvernightError, OSError) as lost:
                warnings.append(f"the notes of {ask.agent.name} are lost: {lost}")
            answer = self._became(ask, ended, bench, secrets, idea, error)
        except (OvernightError, OSError) as failure:
            if isinstance(failure, OvernightError) and failure.usage:
                ended = replace(proposal, usage=_used(ask.agent, failure.usage))
            answer = Answer(ask, replace(ended, outcome="stopped"), failure=failure)
        try:
            self._workspace.remove(bench.private)
        except (OvernightError, OSError) as left:
            warnings.append(str(left))
        return replace(answer, warnings=warnings)

    def _answer(self, agent: Agent, bench: Workbench) -> Idea | None:
        try:
            return agent.propose(bench)
        except OvernightError:
            raise
        except (Exception, SystemExit) as error:  # foreign code must not end the campaign
            raise failed(agent.name, bench, error) from error

    def _take_notes(self, agent: Agent, bench: Workbench, secrets: Secrets) -> None:
        who = note_writer(self._book.tag, bench.n, agent.name)
        take_note(bench.folder, self._book.arena.state / NAME, who, secrets.redacted)
        for log in bench.transcript.parent.glob("agent*.log"):
            secrets.redact_file(log)

    def _became(
        self,
        ask: Ask,
        ended: Proposal,
        bench: Workbench,
        secrets: Secrets,
        idea: Idea | None,
        error: AgentError | None,
    ) -> Answer:
        """The answer: an experiment, or none."""
        if error:
            error.args = (secrets.redacted(str(error)),)
        if self.stopping.is_set():
            return Answer(ask, replace(ended, outcome="stopped"))
        if error and error.trouble.passes and (error.usage or UNKNOWN) == UNKNOWN:
            return Answer(ask, replace(ended, outcome=str(error.trouble)), error=error)
        if error is None and idea is None:
            return Answer(ask, replace(ended, outcome="nothing left"))
        e = Experiment(-1, ask.agent.name, ended.started, start=ask.start.n, against=ask.against.n)
        e = _described(e, idea or Idea("no proposal"), secrets)
        if isinstance(error, Rejected):
            e = _refused(e, str(error), error.verdict)
        elif error:
            e = _refused(e, str(error))
        else:
            e = self._candidate(ask, e, bench, secrets)
        if e.candidate is None:
            heard = error or AgentError(e.reason, Trouble.NO_CHANGE)
            told = None if isinstance(error, Rejected) else heard
            return Answer(ask, replace(ended, outcome="refused"), e, told)
        return Answer(ask, replace(ended, outcome="candidate"), e)

    def _candidate(self, ask: Ask, e: Experiment, bench: Workbench, secrets: Secrets) -> Experiment:
        """The experiment with its candidate, or refused. A change without a title is described by
        its own lines."""
        parent, untitled = ask.against.candidate or "", not e.description
        e = replace(e, parent=parent, description=e.description or f"experiment {bench.n}")
        made = self._taken(parent, bench.private, self._message(e, bench.n), secrets)
        e = replace(e, dropped=tuple(map(secrets.redacted, made.dropped)))
        if made.refused:
            return _refused(e, secrets.redacted("; ".join(made.refused)))
        if made.commit is None:
            return _refused(e, secrets.redacted(self._unchanged(ask, bench)))
        diff, commit = self._workspace.diff(parent, made.commit), made.commit
        if wrong := self._seed_refusal(diff, commit):
            return _refused(e, secrets.redacted(wrong))
        if untitled:
            e = replace(e, description=secrets.redacted(change_in_words(diff)))
            commit = self._workspace.reword(commit, self._message(e, bench.n))
        program = self._programs.digest(commit)
        if again := self._programs.refusal(program, ask.against):
            return _refused(e, secrets.redacted(again))
        e = replace(e, candidate=commit, program=program)
        simplifies = self._book.arena.judge.simplify and self._simplicity.gained(e)
        return replace(e, simplifies=simplifies)

    def _taken(self, parent: str, place: Path, message: str, secrets: Secrets) -> Collected:
        """Commit the editable changes of a checkout, or say why not."""
        editable = self._book.arena.is_editable
        return self._workspace.commit(parent, place / "tree", editable, message, secrets.found_in)

    def _message(self, e: Experiment, n: int) -> str:
        return candidate_message(self._book.tag, n, Idea(e.description, e.hypothesis))

    def _unchanged(self, ask: Ask, bench: Workbench) -> str:
        words = "nothing editable was changed"
        if said := one_line(tail(bench.transcript, _SAID_LINES), _SAID):
            words += f"; the agent's last words: `{said.replace('`', chr(39))}`"
        if ask.against.verdict is Verdict.PROVISIONAL:
            which = f"#{ask.against.n}, which is provisional"
            words += f" beyond {which}: further experiments confirm it"
        elif ask.against.n:
            words += f" beyond #{ask.against.n}, which is kept"
        return words

    def _seed_refusal(self, diff: str, commit: str) -> str | None:
        """Why a change must not be measured, if it chooses a seed or ignores the one that it is
        given; else None."""
        if self._book.arena.judge.fixed_seeds:
            return None
        if line := chosen_seed(diff):
            return (
                f"it chooses a seed: `{one_line(line, _LINE)}`; a good score by a chosen seed is "
                "luck: leave seeds as they are, or take OVERNIGHT_SEED"
            )
        if line := unread_seed(diff, self._workspace, commit):
            return (
                f"it no longer reads OVERNIGHT_SEED: `{one_line(line, _LINE)}` is gone; then all "
                "its measurements may be one lucky draw: go on reading it"
            )
        return None

    def _bench(self, ask: Ask, proposal: Proposal, brief: str) -> Workbench:
        """What the agent is given. Its logs move once its experiment is recorded."""
        book = self._book
        logs = proposal_logs(book.arena, book.tag, proposal.id)
        # Always the same folder: agents find an earlier conversation by where it was held.
        place = places(book.arena, book.tag) / "agent"
        self._workspace.remove(place)  # there only if it could not be deleted before
        for name in PRIVATE:
            (place / name).mkdir(parents=True)
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "brief.md").write_text(brief, encoding="utf-8")
        folder = place / "tree" / self._workspace.prefix
        return Workbench(
            arena=book.arena,
            folder=folder,
            private=place,
            brief=brief,
            n=book.next_number,
            start=ask.start,
            history=book.finished,
            prior=book.prior,
            transcript=logs / TRANSCRIPT,
            sandbox=self._sandbox,
            family=family_of(book.arena, book.tag),
            allowance=ask.allowance,
            stopping=self.stopping,
            edited=lambda: self._workspace.has_changes(place / "tree", book.arena.is_editable),
            refusal=lambda: self._programs.refusal(self._programs.digest_in(folder), ask.against),
        )


def _refused(e: Experiment, reason: str, verdict: Verdict = Verdict.INVALID) -> Experiment:
    return replace(e, verdict=verdict, reason=reason, ended=datetime.now(UTC))


def _described(e: Experiment, idea: Idea, secrets: Secrets) -> Experiment:
    """The experiment with what its agent says about it; the agent's secrets are redacted."""
    return replace(
        e,
        description=secrets.redacted(idea.title),
        hypothesis=secrets.redacted(idea.hypothesis),
        parameters=idea.parameters,
        expected=idea.expected,
    )


def _used(agent: Agent, *reports: Usage | None) -> Usage:
    """What a proposal used, according to the reports on it."""
    used = FREE if is_free(agent) else UNKNOWN
    for report in reports:
        used += report.believable if report else UNKNOWN
    return used
