"""For your referee: runs a candidate's code without trusting it.

    from overnight.referee import Candidate, Invalid, report

    def score() -> dict[str, float]:
        with Candidate("python serve.py") as candidate:
            answer = candidate.ask(x=questions)
            ...

    report(score)

Each `Candidate` is a process in a new sandbox. It can read the candidate's files, the run's output,
the declared data and its own private folders, but neither hidden data nor the referee.
Never import or unpickle anything from a candidate in the referee's own process.
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
"""Longest time of a candidate's process; the referee's own timeout ends it earlier."""


class Invalid(Exception):
    """The candidate broke a rule of the arena; its verdict is *invalid*, without a score."""


class Candidate:
    """A candidate's command in its own sandbox, which answers messages over pipes.

    `command` runs in the candidate's arena folder and answers through `overnight.exchange.serve`.
    `timeout`: seconds for each answer. `memory`: bytes for all of its processes; default: the
    run's limit. `env`: additional variables. Use it from one thread at a time. Its methods raise
    Invalid if the candidate fails.
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
        candidate_reads, referee_writes = os.pipe()
        referee_reads, candidate_writes = os.pipe()
        self._channel = Channel(referee_reads, referee_writes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="candidate")
        spec = self._spec(command, memory, env or {}, (candidate_reads, candidate_writes))
        started = threading.Event()
        self._result: Future[StageResult] = self._thread.submit(
            run_stage, spec, self._stopping, lambda _: started.set()
        )
        self._result.add_done_callback(lambda _: started.set())
        started.wait()
        os.close(candidate_reads)
        os.close(candidate_writes)

    def _spec(
        self, command: str, memory: int | None, env: Mapping[str, str], pipes: tuple[int, int]
    ) -> StageSpec:
        arena, folder = _arena(), _contract_folder("CANDIDATE", ".")
        for name in ("tmp", "home"):
            (self._folder / name).mkdir()
        out = str(_contract_folder("OUT", "out"))
        environment = stage_environment(arena, self._folder / "tmp", arena.run.env, OUT=out)
        environment[GPUS] = os.environ.get(GPUS, "")
        confinement, sandbox = None, sandbox_named(os.environ.get("OVERNIGHT_SANDBOX"))
        home = make_home(sandbox, self._folder / "home", expanded(arena.data, arena.root))
        environment |= {"HOME": str(home), **env}
        if sandbox:
            own = [_contract_folder("TREE", str(folder)), _contract_folder("OUT", "out")]
            confinement = candidate_confinement(
                sandbox, arena, self._folder, folder, own, environment, visible(environment[GPUS])
            )
        return StageSpec(
            command,
            folder,
            environment,
            self._log,
            self._log,
            _LONGEST_SECONDS,
            memory_bytes=memory or arena.run.memory,
            processes=arena.run.processes,
            disk_folders=[self._folder / "tmp", self._folder / "home"],
            disk_bytes=arena.run.disk,
            confinement=confinement,
            pipes=pipes,
            redactions=Secrets.of(arena.run.env).redactions,
            family=os.environ.get("OVERNIGHT_STAGE", "overnight:").rpartition(":")[0],
        )

    def send(self, fields: Mapping[str, Field] | None = None, **arrays: Array) -> None:
        """Send a message without waiting for the answer."""
        self._checked(lambda: self._channel.send(Message(fields or {}, arrays), self._timeout))

    def receive(self) -> Message:
        """The next answer."""
        message = self._checked(lambda: self._channel.receive(self._timeout))
        if message is None:
            raise Invalid(f"no answer from the candidate: {self._how_it_ended()}")
        return message

    def ask(self, fields: Mapping[str, Field] | None = None, **arrays: Array) -> Message:
        """Send a message and return its answer."""
        self.send(fields, **arrays)
        return self.receive()

    def close(self) -> StageResult:
        """End the process and everything it started. Returns its time and memory."""
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

    def _checked(self, exchange: Callable[[], T]) -> T:
        """Raises Invalid, with how the process ended, where the exchange fails."""
        try:
            return exchange()
        except ExchangeError as error:
            raise Invalid(f"the candidate's answer: {error}; {self._how_it_ended()}") from error

    def _how_it_ended(self) -> str:
        self._stopping.set()
        result = self._result.result()
        ended = f"its process ended ({result.end}, exit code {result.exit_code})"
        return f"{ended}\n{tail(self._log, 20)}".rstrip("\n")


def report(score: Callable[[], Mapping[str, float]]) -> None:
    """Print the numbers that `score` returns as the referee's last line. If it raises Invalid, the
    verdict is *invalid*."""
    try:
        print(json.dumps(dict(score())))
    except (Invalid, ExchangeError) as reason:
        print(json.dumps({"invalid": str(reason)}))


def _arena() -> Arena:
    root = _contract_folder("ARENA", ".")
    return Arena.parse(Path(FILE).read_text(encoding="utf-8"), root)


def _contract_folder(name: str, default: str) -> Path:
    """The folder in OVERNIGHT_<name>; `default` if you run the referee by hand."""
    return Path(os.environ.get(f"OVERNIGHT_{name}", default)).resolve()
