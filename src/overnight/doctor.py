"""Red-teams an arena: runs dishonest candidates in it and tells what each of them could do.

What it shows is that these attacks fail here, in these sandboxes; not that no other would work.
"""

from __future__ import annotations

import ast
import os
import shlex
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from overnight.arena import Arena
from overnight.experiment import Measurement
from overnight.measure import Task, candidate_stage, measure, open_place
from overnight.policies import expanded
from overnight.sandboxes.named import NONE, all_sandboxes
from overnight.setup import run_setup
from overnight.stage import StageEnd, StageResult, run_stage, tail
from overnight.workspace import Workspace

_ATTACKS = Path(__file__).parent / "attacks"
_SECONDS = 6.0
"""Budget of an attack that needs no more than its own program."""
_LATE_SECONDS = 10.0
"""On top of the budget: polite waiting, and the end of thousands of processes."""
PRELUDE = """DOCTOR = {facts!r}
def through(words): print("got through:", words, flush=True)
def refused(words): print("refused:", words, flush=True)
"""
"""What stands before an attack's own source; `facts` is a dict."""


@dataclass(frozen=True)
class Attack:
    """A dishonest candidate."""

    name: str
    tries: str
    kind: str
    """"score", "late", "again", "network" or "close": how it is told whether it worked."""
    close: str
    source: str

    @classmethod
    def read(cls, path: Path) -> Attack:
        """The attack in a file; its docstring says the rest."""
        source = path.read_text(encoding="utf-8")
        words = ast.get_docstring(ast.parse(source)) or f"{path.stem}."
        tries, _, last = words.partition("\n\n")
        kind, colon, close = last.replace("\n", " ").partition(": ")
        known = colon and kind in ("score", "late", "again", "network")
        name = path.stem.replace("_", " ")
        kind, close = (kind, close) if known else ("close", last.replace("\n", " "))
        return cls(name, tries, kind, close, source)


@dataclass(frozen=True)
class Row:
    """What one attack came to in one sandbox."""

    attack: str
    sandbox: str
    verdict: str
    """"blocked", "through", or "allowed": the arena grants it."""
    happened: str
    close: str


def attacks(arena: Arena) -> list[Attack]:
    """overnight's own, and those in the arena's folder `attacks`."""
    files = [*sorted(_ATTACKS.glob("[a-z]*.py")), *sorted((arena.root / "attacks").glob("*.py"))]
    return [Attack.read(path) for path in files]


def sandboxes() -> list[str]:
    """The back ends that work here; "none" when there is no other."""
    return [box.name for box in all_sandboxes() if box.problem() is None] or [NONE]


class Doctor:
    """One examination of an arena, in checkouts of its newest commit."""

    def __init__(self, arena: Arena, workspace: Workspace) -> None:
        self.arena = arena
        self.base = workspace.head()
        self._workspace = workspace
        self._places = arena.state / "worktrees" / "doctor"
        self._logs = arena.state / "logs" / "doctor"
        self._mark = f"doctor-{uuid.uuid4().hex[:12]}"
        self._count = 0

    def prepare(self) -> None:
        """The arena's setup. Raises MeasurementImpossible when it fails."""
        run_setup(self.arena, self._workspace, self._task(NONE))

    def measured(self, sandbox: str, arena: Arena | None = None, commit: str = "") -> Measurement:
        """One measurement of the arena as it is, or changed."""
        task = replace(self._task(sandbox), candidate=commit or self.base)
        measurement = measure(arena or self.arena, self._workspace, task)
        assert measurement is not None
        return measurement

    def emptied(self, sandbox: str) -> Measurement:
        """One measurement with every editable file emptied."""
        place = self._task(sandbox).place
        try:
            folder = self._workspace.checkout(self.base, place / "tree", own_git=True)
            for path in self._workspace.files(self.base, self.arena.is_editable):
                (folder / path).write_bytes(b"")
            made = self._workspace.commit(
                self.base, place / "tree", self.arena.is_editable, "emptied by the doctor"
            )
        finally:
            self._workspace.remove(place)
        return self.measured(sandbox, commit=made.commit or self.base)

    def examine(self, attack: Attack, sandbox: str) -> Row:
        """Run one attack in one sandbox."""
        with self._bait() as facts:
            if attack.kind == "score":
                verdict, happened = self._forge(attack, sandbox, facts)
            else:
                verdict, happened = self._attempt(attack, sandbox, facts)
        if verdict == "through" and attack.kind == "network" and self.arena.run.network:
            verdict, happened = "allowed", "run.network = true"
        return Row(attack.name, sandbox, verdict, happened, attack.close)

    def _attempt(self, attack: Attack, sandbox: str, facts: dict[str, object]) -> tuple[str, str]:
        for _ in range(2 if attack.kind == "again" else 1):
            began = monotonic()
            result, log = self._run(attack, sandbox, facts)
            seconds = monotonic() - began
        lines = tail(log, 400).splitlines()
        if won := [line.partition(": ")[2] for line in lines if line.startswith("got through: ")]:
            return "through", won[0] + (f" (and {len(won) - 1} more)" if len(won) > 1 else "")
        if attack.kind == "late":
            late = seconds > _SECONDS + _LATE_SECONDS or result.survivors
            ended = f"ended after {seconds:.1f} s ({result.end})"
            return ("through" if late else "blocked"), ended
        count = sum(line.startswith("refused: ") for line in lines)
        if result.end is not StageEnd.EXITED or (result.exit_code and not count):
            return "blocked", f"ended: {result.end}, exit code {result.exit_code}"
        return "blocked", f"{count} attempts refused" if count else "nothing of it was left"

    def _run(
        self, attack: Attack, sandbox: str, facts: dict[str, object]
    ) -> tuple[StageResult, Path]:
        task = self._task(sandbox)
        try:
            folder = open_place(self.arena, self._workspace, task.place, self.base)
            spec = candidate_stage(self.arena, task, folder, _command(attack, facts))
            spec = replace(spec, budget_seconds=_SECONDS, clock="wall", grace_seconds=0.5)
            return run_stage(spec, threading.Event()), spec.stdout
        finally:
            self._workspace.remove(task.place)

    def _forge(self, attack: Attack, sandbox: str, facts: dict[str, object]) -> tuple[str, str]:
        run = self.arena.run
        command = f"{run.command}\n{_command(attack, facts)}"  # the last word is its own
        forged = self.arena.model_copy(update={"run": run.model_copy(update={"command": command})})
        found = self.measured(sandbox, forged)
        if found.score == facts["forged"]:
            return "through", f"the forged {self.arena.metric.name} was taken as the score"
        if found.score is None:
            return "blocked", f"{found.outcome}: {found.detail.splitlines()[0][:100]}"
        return "blocked", f"the score stayed what the referee measured ({found.score:g})"

    @contextmanager
    def _bait(self) -> Iterator[dict[str, object]]:
        """What the attacks look for: a key, a file at home, servers; and where everything is."""
        key, canary = f"OVERNIGHT_{self._mark}".replace("-", "_"), Path.home() / f".{self._mark}"
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
                "hidden": [str(p) for p in expanded(self.arena.hidden, self.arena.root)],
                "metric": metric.name,
                "forged": forged if forged is not None else metric.orient(987654321.125),
                "port": server.getsockname()[1],
                "abstract": self._mark,
                "pid": os.getpid(),
                "key": key,
                "canary": str(canary),
                "home": str(Path.home()),
                "mark": f"{self._mark}-left",
                "sleep": "86.75",
            }

    def _task(self, sandbox: str) -> Task:
        self._count += 1
        logs = self._logs / str(self._count)
        logs.mkdir(parents=True, exist_ok=True)
        return Task(
            candidate=self.base,
            base=self.base,
            seed=self._count,
            place=self._places / str(self._count),
            logs=logs,
            family=f"overnight:{self._mark}",
            sandbox=sandbox,
        )


def _command(attack: Attack, facts: dict[str, object]) -> str:
    source = PRELUDE.format(facts=facts) + attack.source
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(source)}"
