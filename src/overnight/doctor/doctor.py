"""Red-teams an arena: runs dishonest candidates in it and reports what each could do.

It shows that these attacks fail in these sandboxes, not that no other attack would work.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic

from overnight.arena.arena import Arena
from overnight.change.seeds import fixed_seed
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.core.text import one_line
from overnight.doctor.attack import Attack, Facts
from overnight.judge.base import Side
from overnight.judge.head_to_head import duel
from overnight.judge.rules import judge_for
from overnight.measure.job import Job, places
from overnight.measure.measurement import measure
from overnight.measure.reach import expanded
from overnight.measure.setup import run_setup
from overnight.measure.stages import candidate_stage, last_words, open_place
from overnight.record.lock import DOCTOR, CampaignLock, family_of, lock_path
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import NONE, all_sandboxes
from overnight.sandbox.runtime import home_folder
from overnight.stage.stage import StageEnd, StageResult, end_strays, run_stage

_SECONDS = 6.0
"""Budget of an attack that runs without the arena's own program."""
_LATE_SECONDS = 10.0
"""Allowed on top of the budget, to end thousands of processes."""
_BUSY = "process {owner} is already examining this arena: wait until it ends"
_MEASURED = ("score", "before", "after")
_UNTRIED = (
    "declare what the run needs under `data` or run.env, or choose another sandbox with run.sandbox"
)
_UNFINISHED = (
    "mend what its own message names: an attack reports each failure with refused(…) and ends by "
    "itself; if it is one of overnight's, report it as a bug"
)
_ITS_OWN_FAULT = re.compile(r"exit code (?:12[67]\b|[1-9]\d*, (?!and it printed nothing))")
"""Matches how a program ended that could not start, or that ended with a traceback."""
_MOST_LOG = 11_000_000
"""Bytes of a log that are searched: more than a stage writes."""


@dataclass(frozen=True)
class AttackResult:
    """The outcome of one attack in one sandbox."""

    attack: str
    sandbox: str
    verdict: str
    """"blocked", "through", "allowed" (the arena grants it), or "untried" (no score without it, or
    the attack itself failed)."""
    happened: str
    close: str


def sandboxes() -> list[str]:
    """Names of the back ends that work on this machine; "none" if there is none."""
    return [box.name for box in all_sandboxes() if box.problem() is None] or [NONE]


class _Unscored(Exception):
    """Internal: a measurement for the judge has no score; the message says why."""


class Doctor:
    """Examines an arena in checkouts of its newest commit. Use it as a context manager.

    Raises CampaignBusy if another doctor is examining this arena.
    """

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self.arena = arena
        self.base = workspace.head()
        self._workspace = workspace
        self._lock = CampaignLock(lock_path(arena, DOCTOR), _BUSY)
        self._checkouts = places(arena, DOCTOR)
        self._never = threading.Event()
        """Nothing stops a stage of the doctor's."""
        self._mark = f"doctor-{uuid.uuid4().hex[:12]}"
        self._count = 0
        self._baselines: dict[str, list[Measurement]] = {}

    def __enter__(self) -> Doctor:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def prepare(self) -> None:
        """Remove what a killed doctor has left, then run the arena's setup.

        Raises MeasurementImpossible if the setup fails.
        """
        end_strays(family_of(self.arena, DOCTOR))
        self._workspace.remove(self._checkouts)
        run_setup(self.arena, self._workspace, self._job(NONE), self._never)

    def baseline(self, sandbox: str, n: int) -> Measurement:
        """The n-th measurement of the unchanged arena, from 0; taken on first use."""
        taken = self._baselines.setdefault(sandbox, [])
        while len(taken) <= n:
            taken.append(self.measured(sandbox))
        return taken[n]

    def measured(
        self, sandbox: str, arena: Arena | None = None, commit: str | None = None
    ) -> Measurement:
        """Measure the arena, or a changed one, at its newest commit or at `commit`."""
        return self._measured(self._job(sandbox, commit), arena)

    def with_run(self, **changes: object) -> Arena:
        """The arena with these values in its table `[run]`."""
        run = self.arena.run.model_copy(update=changes)
        return self.arena.model_copy(update={"run": run})

    def changed(self, edit: Callable[[bytes], bytes], why: str) -> str | None:
        """A commit with `edit` applied to all editable files but links; None if nothing changes."""
        scratch = self._job(NONE).place(self.arena)
        try:
            folder = self._workspace.checkout(self.base, scratch / "tree", own_git=True)
            paths = self._workspace.files(self.base, self.arena.is_editable)
            files = (folder / path for path in paths)
            for file in files:
                if not file.is_symlink():  # it may lead to a file of yours
                    file.write_bytes(edit(file.read_bytes()))
            made = self._workspace.commit(
                self.base, scratch / "tree", self.arena.is_editable, f"{why} by the doctor"
            )
        finally:
            self._workspace.remove(scratch)
        return made.commit

    def fixed_seed(self) -> str | None:
        """Where the program fixes its seed, so that all measurements may be one draw (see
        change/seeds.py); None if nowhere."""
        return fixed_seed(self.arena, self._workspace, self.base)

    def run(self, attack: Attack, sandbox: str) -> AttackResult:
        """Run one attack in one sandbox."""
        if attack.kind in _MEASURED and (here := self.baseline(sandbox, 0)).score is None:
            happened = f"the unchanged arena has no score here: {_why_unscored(here)}"
            return AttackResult(attack.name, sandbox, "untried", happened, _UNTRIED)
        with self._bait() as facts:
            if attack.kind == "score":
                verdict, happened = self._run_and_score(attack, sandbox, facts)
            elif attack.kind in ("before", "after"):
                verdict, happened = self._run_edited(attack, sandbox, facts)
            else:
                verdict, happened = self._run_alone(attack, sandbox, facts)
        if verdict == "through" and attack.kind == "network" and self.arena.run.network:
            verdict, happened = "allowed", "run.network = true"
        close = _UNFINISHED if verdict == "untried" else attack.close
        return AttackResult(attack.name, sandbox, verdict, happened, close)

    def _run_alone(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        for _ in range(2 if attack.kind == "again" else 1):
            began = monotonic()
            result, log = self._run(attack, sandbox, facts)
            seconds = monotonic() - began
        if won := _breakthrough(log):
            return "through", won
        unfinished = _own_fault(last_words(result, log))
        if attack.kind == "late":
            late = seconds > _SECONDS + _LATE_SECONDS or result.survivors
            ended = f"ended after {seconds:.1f} s ({result.end})"
            if late or not unfinished:
                return ("through" if late else "blocked"), ended
        if unfinished:
            return "untried", unfinished
        count = len(_reported("refused", log))
        if result.end is not StageEnd.EXITED or (result.exit_code and not count):
            return "blocked", f"ended: {result.end}, exit code {result.exit_code}"
        left = "the first run left nothing" if attack.kind == "again" else "nothing to try"
        return "blocked", f"{count} attempts refused" if count else left

    def _run(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[StageResult, Path]:
        job = self._job(sandbox)
        place = job.place(self.arena)
        job.logs(self.arena).mkdir(parents=True, exist_ok=True)
        try:
            folder = open_place(self.arena, self._workspace, place, self.base)
            spec = candidate_stage(self.arena, job, folder, attack.command(facts))
            spec = replace(spec, budget_seconds=_SECONDS, clock="wall", grace_seconds=0.5)
            return run_stage(spec, self._never), spec.stdout
        finally:
            self._workspace.remove(place)

    def _run_and_score(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        command = f"{self.arena.run.command}\n{attack.command(facts)}"  # the attack prints last
        found = self.measured(sandbox, self.with_run(command=command))
        if unfinished := _own_fault(found.detail):
            return "untried", unfinished
        if ended := self._forged_or_unscored(found, facts):
            return ended
        return "blocked", f"the score is the one that the referee measured ({found.score:g})"

    def _run_edited(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        def edit(source: bytes) -> bytes:
            try:
                return attack.put_into(source.decode(), facts).encode()
            except (SyntaxError, ValueError):  # not Python
                return source

        if (commit := self.changed(edit, attack.name)) is None:
            return "blocked", "no editable file is Python"
        job = self._job(sandbox, commit)
        found = self._measured(job)
        if won := _breakthrough(job.logs(self.arena) / "run.log"):
            return "through", won
        return self._forged_or_unscored(found, facts) or self._judged(commit, found, sandbox)

    def _forged_or_unscored(self, found: Measurement, facts: Facts) -> tuple[str, str] | None:
        """The result of an attack whose score is forged or missing; None for any other score."""
        if found.score == facts["forged"]:
            happened = f"the forged {self.arena.metric.name} was taken as the score"
            if self.arena.score is None:
                happened += ": there is no referee, so the run's own output counts"
            return "through", happened
        if found.score is None:
            return "blocked", _why_unscored(found)
        return None

    def _judged(self, commit: str, found: Measurement, sandbox: str) -> tuple[str, str]:
        """What the arena's judge decides about a candidate that has a score."""
        ready, known = [found], count()

        def take(side: Side, seed: int) -> float:
            if side is Side.INCUMBENT:
                taken = self.baseline(sandbox, next(known))
            else:
                taken = ready.pop() if ready else self.measured(sandbox, commit=commit)
            if taken.score is None:
                raise _Unscored(_why_unscored(taken))
            return self.arena.worth(taken)

        try:
            decision = duel(judge_for(self.arena), take)
        except _Unscored as ending:
            return "blocked", str(ending)
        if decision.keep:
            return "through", f"the judge would keep it: {decision.reason}"
        return "blocked", f"the judge would discard it: {decision.reason}"

    def _measured(self, job: Job, arena: Arena | None = None) -> Measurement:
        measurement = measure(arena or self.arena, self._workspace, job, self._never)
        assert measurement is not None
        return measurement

    @contextmanager
    def _bait(self) -> Iterator[Facts]:
        """Set out what attacks look for (a key, a file in the home folder, servers), and yield what
        they may know."""
        key = f"OVERNIGHT_{self._mark}".replace("-", "_")
        # One name per arena, so that the next doctor removes what a killed one left.
        digest = hashlib.sha256(bytes(self.arena.root)).hexdigest()
        canary = home_folder() / f".overnight-doctor-{digest[:12]}"
        metric = self.arena.metric
        forged = metric.best_possible
        with ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            if sys.platform == "linux":
                local.bind(f"\0{self._mark}")
                local.listen()
            os.environ[key] = "bait"
            stack.callback(os.environ.pop, key)
            bait = ""  # none where the home folder cannot be written
            with suppress(OSError):
                canary.write_text("bait\n")
                stack.callback(canary.unlink)
                bait = str(canary)
            yield {
                "arena": str(self.arena.root),
                "state": str(self.arena.state),
                "git": str(self._workspace.top / ".git"),
                "hidden": [str(p) for p in expanded(self.arena.secrets, self.arena.root)],
                "metric": metric.name,
                "forged": forged if forged is not None else metric.orient(987654321.125),
                "memory": self.arena.run.memory,
                "port": server.getsockname()[1],
                "abstract": self._mark,
                "pid": os.getpid(),
                "key": key,
                "canary": bait,
                "home": str(home_folder()),
                "mark": f"{self._mark}-left",
                "sleep": "86.75",
            }

    def _job(self, sandbox: str, candidate: str | None = None) -> Job:
        self._count += 1
        return Job(
            id=self._count,
            tag=DOCTOR,
            n=0,
            candidate=candidate or self.base,
            base=self.base,
            seed=self._count,
            purpose=Purpose.JUDGE,
            sandbox=sandbox,
            gpus=self.arena.run.gpus,
        )


def _why_unscored(found: Measurement) -> str:
    """Why a measurement has no score, in one line."""
    detail = one_line(found.detail.partition("\n")[0])
    return detail if found.outcome is Outcome.REFUSED else f"{found.outcome}: {detail}"


def _own_fault(ending: str) -> str:
    """How an attack failed that was not blocked but could not start or ended with a traceback, in
    one line; else empty. `ending`: how its program ended, and its last lines."""
    words = ending.partition("\n")[0]
    return f"the attack itself failed: {one_line(words)}" if _ITS_OWN_FAULT.match(words) else ""


def _reported(word: str, log: Path) -> list[str]:
    """What an attack reports with `refused` or as `got through`, oldest first."""
    try:
        with log.open("rb") as file:
            text = file.read(_MOST_LOG)
    except FileNotFoundError:
        return []
    found = re.findall(rb"(?m)^%s: (.*)$" % word.encode(), text)
    return [one_line(words.decode(errors="replace"), 400) for words in found]


def _breakthrough(log: Path) -> str:
    """What an attack reports that it could do; empty if nothing."""
    won = _reported("got through", log)
    return won[0] + (f" (and {len(won) - 1} more)" if len(won) > 1 else "") if won else ""
