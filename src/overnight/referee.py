"""For people who write a referee: execute a candidate's code without trusting it.

    from overnight.referee import Candidate, Invalid, report

    def score() -> dict[str, float]:
        with Candidate("python serve.py") as candidate:
            answer = candidate.ask(x=questions)
            ...

    report(score)

A candidate's process is confined anew for every `Candidate`: it sees the candidate's files, what
the run left, the declared data and its own private folders; neither hidden data nor the referee.
Never import or unpickle anything of a candidate in the referee's own process.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from overnight.arena.arena import FILE, Arena
from overnight.core.text import tail
from overnight.exchange import Array, Channel, ExchangeError, Field, Message
from overnight.measure.gpus import GPUS, visible
from overnight.measure.reach import candidate_confinement, expanded, make_home
from overnight.measure.stages import stage_environment
from overnight.sandbox.named import sandbox_named
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageResult, StageSpec, run_stage

T = TypeVar("T")
_LONGEST_SECONDS = 24 * 3600.0
"""Of one candidate's process; the score stage's own timeout ends it earlier."""


class Invalid(Exception):
    """The candidate broke a rule of the arena: no score, verdict *invalid*, with this reason."""


class Candidate:
    """A candidate's command in a sandbox of its own, to be asked over pipes.

    `command` is run in the candidate's arena folder; it answers through `overnight.exchange.serve`.
    `timeout` is in seconds for each answer, `memory` in bytes for all of its processes. Ask from
    one thread at a time. Raises Invalid where the candidate is at fault.
    """

    def __init__(
        self,
        command: str,
        timeout: float = 60.0,
        memory: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._timeout = timeout
        self._folder = Path(tempfile.mkdtemp(prefix="candidate-"))
        self._log = self._folder / "log"
        self._stopping = threading.Event()
        question, ask = os.pipe()
        hear, answer = os.pipe()
        self._channel = Channel(hear, ask)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="candidate")
        spec = self._spec(command, memory, env or {}, (question, answer))
        started = threading.Event()
        self._result: Future[StageResult] = self._thread.submit(
            run_stage, spec, self._stopping, lambda _: started.set()
        )
        self._result.add_done_callback(lambda _: started.set())
        started.wait()
        os.close(question)
        os.close(answer)

    def _spec(
        self, command: str, memory: int | None, env: Mapping[str, str], pipes: tuple[int, int]
    ) -> StageSpec:
        arena, folder = _arena(), _place("CANDIDATE", ".")
        for name in ("tmp", "home"):
            (self._folder / name).mkdir()
        out = str(_place("OUT", "out"))
        whole = stage_environment(arena, self._folder / "tmp", arena.run.env, OUT=out)
        whole[GPUS] = os.environ.get(GPUS, "")
        confinement, sandbox = None, sandbox_named(os.environ.get("OVERNIGHT_SANDBOX"))
        home = make_home(sandbox, self._folder / "home", expanded(arena.data, arena.root))
        whole |= {"HOME": str(home), **env}
        if sandbox:
            own = [_place("TREE", str(folder)), _place("OUT", "out")]
            confinement = candidate_confinement(
                sandbox, arena, self._folder, folder, own, whole, visible(whole[GPUS])
            )
        return StageSpec(
            command,
            folder,
            whole,
            self._log,
            self._log,
            _LONGEST_SECONDS,
            memory_bytes=memory or arena.run.memory,
            processes=arena.run.processes,
            disk_folders=[self._folder / "tmp", self._folder / "home"],
            disk_bytes=arena.run.disk,
            confinement=confinement,
            pipes=pipes,
            blotted=Secrets.of(arena.run.env).in_bytes,
            family=os.environ.get("OVERNIGHT_STAGE", "overnight:").rpartition(":")[0],
        )

    def send(self, fields: Mapping[str, Field] | None = None, **arrays: Array) -> None:
        """Send a message without waiting for its answer."""
        self._do(lambda: self._channel.send(Message(fields or {}, arrays), self._timeout))

    def receive(self) -> Message:
        """The next answer."""
        message = self._do(lambda: self._channel.receive(self._timeout))
        if message is None:
            raise Invalid(f"no answer from the candidate: {self._ending()}")
        return message

    def ask(self, fields: Mapping[str, Field] | None = None, **arrays: Array) -> Message:
        """Send a message and return its answer."""
        self.send(fields, **arrays)
        return self.receive()

    def close(self) -> StageResult:
        """Hang up, end the process and everything it started; returns what it used."""
        self._channel.close()
        self._stopping.set()
        result = self._result.result()
        self._thread.shutdown()
        return result

    def __enter__(self) -> Candidate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _do(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except ExchangeError as error:
            raise Invalid(f"the candidate's answer: {error}; {self._ending()}") from error

    def _ending(self) -> str:
        self._stopping.set()
        result = self._result.result()
        words = tail(self._log, 20)
        ended = f"its process ended ({result.end}, exit code {result.exit_code})"
        return f"{ended}\n{words}" if words else ended


def report(score: Callable[[], Mapping[str, float]]) -> None:
    """Print what `score` returns as the referee's last line; Invalid becomes that verdict."""
    try:
        print(json.dumps(dict(score())))
    except (Invalid, ExchangeError) as reason:
        print(json.dumps({"invalid": str(reason)}))


def _arena() -> Arena:
    root = _place("ARENA", ".")
    return Arena.parse(Path(FILE).read_text(encoding="utf-8"), root)


def _place(name: str, by_hand: str) -> Path:
    """One of the contract's folders, or what it is when a person runs the referee by hand."""
    return Path(os.environ.get(f"OVERNIGHT_{name}", by_hand)).resolve()
