"""A campaign: open or resume it, run it, try one change, measure again, close it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

from overnight.agents.base import Agent, BriefReader, Reader
from overnight.arena.arena import Arena
from overnight.briefing.brief import Moment, write_brief
from overnight.campaign.ablation import Ablated, ablate
from overnight.campaign.judge_input import standing_of
from overnight.campaign.keeper import Keeper
from overnight.campaign.limits import Limits, Stop, StopKind, Stretch
from overnight.campaign.loop import Loop, Observer, Work
from overnight.campaign.opening import begin_or_find, repair
from overnight.campaign.plans import Night, OneTry
from overnight.campaign.proposals import Proposers
from overnight.campaign.replay import Replay, replay
from overnight.campaign.slots import Slots, StoppedAtOnce, asked_for
from overnight.change.seeds import fixed_seed
from overnight.core.errors import AgentError, Interrupted, LedgerError, OvernightError, UsageError
from overnight.core.experiment import FIXED_SEED, Closing, Experiment, Measurement, Purpose, Verdict
from overnight.executors.local import LocalExecutor
from overnight.judge.rules import judge_for
from overnight.measure.job import places
from overnight.measure.reach import unhidden
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from overnight.record.lock import CampaignLock
from overnight.repo.base_arena import base_arena
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import NONE, sandbox_named
from overnight.search.portfolio import Ask, Portfolio


class Campaign:
    """One search in an arena, driven by this process alone. Use it as a context manager."""

    def __init__(self, book: Book, workspace: Workspace, lock: CampaignLock, sandbox: str) -> None:
        self.book = book
        self.arena = book.arena
        self.ledger = book.ledger
        self.tag = book.tag
        self.branch = book.record.branch
        self.workspace = workspace
        self.warnings: list[str] = []
        """Warnings for the user, oldest first."""
        self._lock = lock
        self._judge = judge_for(book.arena)
        self.keeper = Keeper(book, workspace, self._warn)
        self._slots = Slots(book, LocalExecutor(book.arena, workspace), sandbox, self._warn)
        self._proposers = Proposers(book, workspace, self.keeper, self._brief, sandbox)
        self.stopping: threading.Event = self._proposers.stopping
        """Set it to end the campaign at once; the next run resumes what was under way."""
        self.loop = Loop(book, self._judge, self.keeper, self._slots, self._proposers)
        self._stretch: Stretch | None = None
        self._ready = False
        self._stopped = False
        """Whether what was under way has been ended: then nothing can begin any more."""
        self._trying: OneTry | None = None

    @classmethod
    def open(cls, root: Path | str, tag: str | None = None, sandbox: str | None = None) -> Campaign:
        """Open the campaign `tag` of the arena in this folder, or begin it.

        Without a tag: the newest campaign, or a first one named after today's date. `sandbox` is
        a back end's name, "none", or None for the arena's choice or the strongest that works.
        Raises ArenaError, WorkspaceError, LedgerError or CampaignBusy before anything has run;
        UsageError when no sandbox works and "none" was not asked for.
        """
        arena = Arena.load(Path(root).resolve())
        box = sandbox_named(sandbox or arena.run.sandbox)
        workspace = Workspace.open(arena.root, arena.state)
        ledger = Ledger.at(arena.ledger_place, arena.name)
        with ExitStack() as undo:
            undo.callback(ledger.close)
            record, lock, warnings = begin_or_find(arena, workspace, ledger, tag)
            undo.callback(lock.release)
            contract = base_arena(arena, workspace, record.base)
            if arena.setup is None:
                warnings += unhidden(contract)
            repair(contract, workspace, ledger, record)
            book = Book(contract, ledger, record)
            campaign = cls(book, workspace, lock, box.name if box else NONE)
            campaign.warnings += warnings
            campaign.keeper.rewrite()
            undo.pop_all()
        return campaign

    def run(
        self, agent: Agent | Portfolio, limits: Limits, observe: Observer = lambda _: None
    ) -> Stop:
        """Try one change after another until a limit or the user ends it; returns why it ended.

        Raises OvernightError or OSError when the machine, not a candidate, is at fault; the ledger
        then has the reason, and the same call continues from there. After a stop at once the
        campaign must be opened again: a second call raises UsageError.
        """
        self._must_be_open()
        portfolio = agent if isinstance(agent, Portfolio) else Portfolio([agent])
        stretch = self._stretch = Stretch.begin(self.book, limits)
        night = Night(self.book, portfolio, stretch, self.loop.stop_asked, self._warn)
        try:
            self._prepare()
            stop = self.loop.run(night, lambda e: self._seen(e, observe))
        except (KeyboardInterrupt, StoppedAtOnce) as reason:
            self._end_what_is_under_way()
            stop = _stopped(reason)
        except (OvernightError, OSError) as error:
            with suppress(LedgerError):  # the first error matters more
                self._note_stop(Stop(StopKind.ERROR, str(error)))
                self.loop.forget_requests()
            raise
        self._note_stop(stop)
        self.loop.forget_requests()
        return stop

    def try_(self, agent: Agent, observe: Observer = lambda _: None) -> Experiment | None:
        """One experiment: take a change, run it, score it, judge it, keep or discard it, record it.

        None when the agent has nothing to propose. `observe` is called with other experiments that
        get a verdict: the baseline, provisional keeps that are confirmed or dropped. Raises
        AgentError when the agent could not work, UsageError after a stop at once.
        """
        self._must_be_open()
        one = self._trying = OneTry(self.book, agent)
        self._prepare()
        self.loop.run(one, lambda e: self._seen(e, observe if e.n != one.experiment else None))
        return None if one.experiment is None else self.book.find(one.experiment)

    def withdraw(self, reason: str) -> None:
        """End what is under way, and make the experiment of the interrupted `try_` invalid, so that
        no later driver resumes it. The baseline and experiments of earlier drivers stay."""
        self._end_what_is_under_way()
        first = self._trying.first if self._trying else math.inf
        tried = [e.n for e in self.book.unfinished if e.n >= first]
        if tried:
            self.keeper.publish(dict.fromkeys(tried, Closing(Verdict.INVALID, reason)))

    def replay(self, n: int, times: int) -> Replay:
        """Measure the candidate of experiment n again; changes no verdict. Raises UsageError when
        there is none, Interrupted when the user asks for a stop at once."""
        try:
            self._setup()
            return replay(self.book, self.measure, self.loop.stop_asked, n, times)
        except StoppedAtOnce as stopped:
            raise _interrupted() from stopped

    def ablate(self) -> Iterator[Ablated]:
        """Measure the final program without each of its keeps in turn, except those kept for being
        simpler; changes no verdict. Raises UsageError when there are none, Interrupted when the
        user asks for a stop at once."""
        book = self.book
        wanted = [keep for keep in book.keeps if not keep.simpler]
        if not wanted:
            words = f"campaign {self.tag} has no win to take back; `overnight run` looks for wins"
            raise UsageError(words)
        final, place = book.incumbent, places(self.arena, self.tag) / "ablation"
        kept = [book.baseline, *book.keeps]
        before = {keep.n: parent.candidate or "" for parent, keep in pairwise(kept)}
        seed = self.ledger.newest_seed(self.tag, Purpose.ABLATION)

        def without(keep: Experiment) -> str:
            change = keep.candidate or ""
            return self.workspace.without(final.candidate or "", change, before[keep.n], place)

        try:
            self._setup()
            for found in ablate(self.arena, final, wanted, without, self.measure, seed):
                yield found
                if self.loop.stop_asked():
                    return
        except StoppedAtOnce as stopped:
            raise _interrupted() from stopped

    def measure(self, purpose: Purpose, experiment: Experiment, seed: int) -> Measurement:
        """Measure a candidate once because the user asks. Raises StoppedAtOnce."""
        future = self._slots.start(asked_for(self.book, purpose, experiment, seed))
        self._wait(future)
        for _ in self._slots.enter():
            pass
        taken = future.result()
        assert taken is not None
        return taken

    @property
    def results(self) -> Path:
        """results.tsv, which shows the campaign that was driven last."""
        return self.keeper.results

    @property
    def incumbent(self) -> Experiment:
        """The newest confirmed keep; exists once the baseline is measured."""
        return self.book.incumbent

    def close(self) -> None:
        """End what is under way and release the campaign."""
        try:
            self._end_what_is_under_way()
        finally:
            self._lock.release()
            self.ledger.close()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- before the loop

    def _must_be_open(self) -> None:
        if self._stopped:
            raise UsageError(f"campaign {self.tag} was stopped at once; open it again to continue")

    def _setup(self) -> None:
        self._must_be_open()
        self._slots.prepare(self.book.record.base, self._wait)

    def _wait(self, future: Work) -> None:
        while not future.done():
            self.loop.wait([future])

    def _prepare(self) -> None:
        """Run the setup and record the baseline."""
        if self._ready:
            return
        self._setup()
        if self.book.find(0) is None:
            self._proposers.baseline(self.book.record.base)
        if self.book.begun:
            self._look_at_the_baseline()
        self._ready = True

    def _seen(self, e: Experiment, observe: Observer | None) -> None:
        """Called when an experiment has its verdict."""
        if e.n == 0:
            self._look_at_the_baseline()
        if observe:
            observe(e)

    def _look_at_the_baseline(self) -> None:
        """Warn of what makes its scores mean less than they seem to."""
        baseline = self.book.baseline
        for words in self.arena.uncharged(baseline.judged):
            self._warn(words)
        if len(set(baseline.scores)) > 1 or self.book.events(FIXED_SEED):
            return
        if place := fixed_seed(self.arena, self.workspace, self.book.record.base):
            self.book.note(FIXED_SEED, words=place)

    def _brief(self, ask: Ask) -> str:
        reader = ask.agent.reader if isinstance(ask.agent, BriefReader) else Reader()
        left = self._stretch.measurements_left(self.book) if self._stretch else float("inf")
        moment = Moment(ask.agent.name, standing_of(self.book), left)
        try:
            return write_brief(self.book, moment, reader)
        except OvernightError:
            raise
        except Exception as error:  # a tokenizer is foreign code and must not end the campaign
            words = f"{type(error).__name__}: {error}"
            raise AgentError(f"{ask.agent.name}: its brief cannot be counted: {words}") from error

    # -- its end

    def _end_what_is_under_way(self) -> None:
        self.stopping.set()
        self._stopped = True
        self._slots.close()
        self._proposers.close()

    def _warn(self, words: str) -> None:
        """Warn the user."""
        self.warnings.append(words)
        self.book.note("warning", words=words)

    def _note_stop(self, stop: Stop) -> None:
        self.book.note("stop", reason=stop.kind.value, words=stop.words)


_CONTINUES = "the next `overnight run` continues, with new limits"


def _stopped(reason: BaseException) -> Stop:
    if isinstance(reason, KeyboardInterrupt):
        return Stop(StopKind.INTERRUPTED, f"interrupted; {_CONTINUES}")
    return Stop(StopKind.ASKED, f"you asked for a stop at once; {_CONTINUES}")


def _interrupted() -> Interrupted:
    return Interrupted("you asked for a stop at once; finished measurements are kept")
