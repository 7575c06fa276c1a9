"""Red-teams an arena: runs dishonest candidates in it and tells what each of them could do.

What it shows is that these attacks fail here, in these sandboxes; not that no other would work.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic

from overnight.arena.arena import Arena
from overnight.change.seeds import fixed_seed
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.core.text import one_line, tail
from overnight.doctor.attack import Attack, Facts
from overnight.judge.base import Side
from overnight.judge.head_to_head import duel
from overnight.judge.rules import judge_for
from overnight.measure.job import Job, places
from overnight.measure.measurement import measure
from overnight.measure.reach import expanded
from overnight.measure.setup import run_setup
from overnight.measure.stages import candidate_stage, open_place
from overnight.record.lock import DOCTOR, CampaignLock, family_of, lock_path
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import NONE, all_sandboxes
from overnight.stage.stage import StageEnd, StageResult, end_strays, run_stage

_SECONDS = 6.0
"""Budget of an attack that needs no more than its own program."""
_LATE_SECONDS = 10.0
"""On top of the budget: polite waiting, and the end of thousands of processes."""


_BUSY = "process {owner} examines this arena already: wait for its end"
_MEASURED = ("score", "before", "after")
_MEND = (
    "declare what it misses there under `data` or run.env, or name the sandbox that it is to use "
    "as run.sandbox"
)


@dataclass(frozen=True)
class Row:
    """What one attack came to in one sandbox."""

    attack: str
    sandbox: str
    verdict: str
    """"blocked", "through", "allowed": the arena grants it, or "untried": there was no score."""
    happened: str
    close: str


def sandboxes() -> list[str]:
    """The back ends that work here; "none" when there is no other."""
    return [box.name for box in all_sandboxes() if box.problem() is None] or [NONE]


class _Unscored(Exception):
    """Internal: a measurement of a duel ended without a score, in words."""


class Doctor:
    """One examination of an arena, in checkouts of its newest commit; to be used in a `with`.

    Raises CampaignBusy when another one examines this arena.
    """

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self.arena = arena
        self.base = workspace.head()
        self._workspace = workspace
        self._lock = CampaignLock(lock_path(arena, DOCTOR), _BUSY)
        self._places = places(arena, DOCTOR)
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
        """End what a killed one has left, then the arena's setup.

        Raises MeasurementImpossible when it fails.
        """
        end_strays(family_of(self.arena, DOCTOR))
        self._workspace.remove(self._places)
        run_setup(self.arena, self._workspace, self._job(NONE), self._never)

    def baseline(self, sandbox: str, n: int) -> Measurement:
        """The n-th measurement of the arena as it is, from 0; taken when it is first asked for."""
        taken = self._baselines.setdefault(sandbox, [])
        while len(taken) <= n:
            taken.append(self.measured(sandbox))
        return taken[n]

    def measured(
        self, sandbox: str, arena: Arena | None = None, commit: str | None = None
    ) -> Measurement:
        """One measurement of the arena as it is, or of a changed one."""
        return self._measured(self._job(sandbox, commit), arena)

    def with_run(self, **changes: object) -> Arena:
        """The arena with other values in its table `[run]`."""
        run = self.arena.run.model_copy(update=changes)
        return self.arena.model_copy(update={"run": run})

    def changed(self, edit: Callable[[bytes], bytes], why: str) -> str | None:
        """A commit in which every editable file went through `edit`; None when none changed."""
        place = self._job(NONE).place(self.arena)
        try:
            folder = self._workspace.checkout(self.base, place / "tree", own_git=True)
            for path in self._workspace.files(self.base, self.arena.is_editable):
                (folder / path).write_bytes(edit((folder / path).read_bytes()))
            made = self._workspace.commit(
                self.base, place / "tree", self.arena.is_editable, f"{why} by the doctor"
            )
        finally:
            self._workspace.remove(place)
        return made.commit

    def fixed_seed(self) -> str | None:
        """The place by which all measurements may be one draw (see seeds.py), or None."""
        return fixed_seed(self.arena, self._workspace, self.base)

    def examine(self, attack: Attack, sandbox: str) -> Row:
        """Run one attack in one sandbox."""
        if attack.kind in _MEASURED and (here := self.baseline(sandbox, 0)).score is None:
            happened = f"the arena as it is has no score here: {_ending(here)}"
            return Row(attack.name, sandbox, "untried", happened, _MEND)
        with self._bait() as facts:
            if attack.kind == "score":
                verdict, happened = self._forge(attack, sandbox, facts)
            elif attack.kind in ("before", "after"):
                verdict, happened = self._edit(attack, sandbox, facts)
            else:
                verdict, happened = self._attempt(attack, sandbox, facts)
        if verdict == "through" and attack.kind == "network" and self.arena.run.network:
            verdict, happened = "allowed", "run.network = true"
        return Row(attack.name, sandbox, verdict, happened, attack.close)

    def _attempt(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        for _ in range(2 if attack.kind == "again" else 1):
            began = monotonic()
            result, log = self._run(attack, sandbox, facts)
            seconds = monotonic() - began
        if won := _won(log):
            return "through", won
        if attack.kind == "late":
            late = seconds > _SECONDS + _LATE_SECONDS or result.survivors
            ended = f"ended after {seconds:.1f} s ({result.end})"
            return ("through" if late else "blocked"), ended
        count = sum(line.startswith("refused: ") for line in tail(log, 400).splitlines())
        if result.end is not StageEnd.EXITED or (result.exit_code and not count):
            return "blocked", f"ended: {result.end}, exit code {result.exit_code}"
        nothing = "nothing of it was left" if attack.kind == "again" else "found nothing to try"
        return "blocked", f"{count} attempts refused" if count else nothing

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

    def _forge(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        command = f"{self.arena.run.command}\n{attack.command(facts)}"  # the last word is its own
        found = self.measured(sandbox, self.with_run(command=command))
        if ended := self._ended(found, facts):
            return ended
        return "blocked", f"the score stayed what the referee measured ({found.score:g})"

    def _edit(self, attack: Attack, sandbox: str, facts: Facts) -> tuple[str, str]:
        def edit(source: bytes) -> bytes:
            try:
                return attack.put_into(source.decode(), facts).encode()
            except (SyntaxError, ValueError):  # not Python
                return source

        if (commit := self.changed(edit, attack.name)) is None:
            return "blocked", "no editable file is Python"
        job = self._job(sandbox, commit)
        found = self._measured(job)
        if won := _won(job.logs(self.arena) / "run.log"):
            return "through", won
        return self._ended(found, facts) or self._judged(commit, found, sandbox)

    def _ended(self, found: Measurement, facts: Facts) -> tuple[str, str] | None:
        """The end of an attack whose score is the forged one, or none."""
        if found.score == facts["forged"]:
            words = f"the forged {self.arena.metric.name} was taken as the score"
            if self.arena.score is None:
                words += ": there is no referee, a run's own word counts"
            return "through", words
        if found.score is None:
            return "blocked", _ending(found)
        return None

    def _judged(self, commit: str, found: Measurement, sandbox: str) -> tuple[str, str]:
        """What the arena's own judge makes of a candidate that has a score."""
        ready, known = [found], count()

        def take(side: Side, seed: int) -> float:
            if side is Side.INCUMBENT:
                taken = self.baseline(sandbox, next(known))
            else:
                taken = ready.pop() if ready else self.measured(sandbox, commit=commit)
            if taken.score is None:
                raise _Unscored(_ending(taken))
            return self.arena.worth(taken)

        try:
            word = duel(judge_for(self.arena), take)
        except _Unscored as ending:
            return "blocked", str(ending)
        if word.keep:
            return "through", f"the judge would keep it: {word.reason}"
        return "blocked", f"the judge would discard it: {word.reason}"

    def _measured(self, job: Job, arena: Arena | None = None) -> Measurement:
        measurement = measure(arena or self.arena, self._workspace, job, self._never)
        assert measurement is not None
        return measurement

    @contextmanager
    def _bait(self) -> Iterator[Facts]:
        """What the attacks look for: a key, a file at home, servers; and where everything is."""
        key = f"OVERNIGHT_{self._mark}".replace("-", "_")
        # One name per arena: what a killed doctor leaves there, the next one takes away.
        digest = hashlib.sha256(bytes(self.arena.root)).hexdigest()
        canary = Path.home() / f".overnight-doctor-{digest[:12]}"
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
            canary.write_text("bait\n")
            stack.callback(canary.unlink)
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
                "canary": str(canary),
                "home": str(Path.home()),
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


def _ending(found: Measurement) -> str:
    """Why it has no score, in a line."""
    detail = one_line(found.detail.partition("\n")[0])
    return detail if found.outcome is Outcome.REFUSED else f"{found.outcome}: {detail}"


def _won(log: Path) -> str:
    """What an attack says that it could do; empty when it could do nothing."""
    lines = tail(log, 400).splitlines()
    won = [line.partition(": ")[2] for line in lines if line.startswith("got through: ")]
    return won[0] + (f" (and {len(won) - 1} more)" if len(won) > 1 else "") if won else ""
