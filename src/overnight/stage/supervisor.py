"""The process between overnight and one command: holds its clock, meters and log, and ends it.

stage.py runs this file as a program for every stage. Its start-up time is part of every
measurement, so it imports only its neighbours and modules that load well within 1 ms: `_signal`
because `signal` loads `enum`, marshal because `json` loads `re`.

On Linux it is the subreaper of everything it starts: processes that fork twice, open their own
session or ignore signals remain its descendants. macOS has no subreaper: there a daemon that has
left both its parent and its process group is missed.
"""

import fcntl
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from overnight.stage.disk import DiskMeter
    from overnight.stage.log import Log
    from overnight.stage.processes import LINUX, SHORTEST_POLL, Meter, below, children, read, send
else:
    import _signal

    from disk import DiskMeter
    from log import Log
    from processes import LINUX, SHORTEST_POLL, Meter, below, children, read, send

LIFELINE = 0
REPORT = 1
SIGNALS = [n for n in range(1, 32) if n not in (_signal.SIGKILL, _signal.SIGSTOP)]
PIPE_BYTES = 1024 * 1024
OUTPUT_BYTES = 10_000_000
"""Limit of each log file, plus one line that says how many bytes were left out."""
# Allocated before the order arrives: a megabyte of fresh pages takes 0.5 ms.
_BUFFER = memoryview(bytearray(PIPE_BYTES))
_PR_SET_CHILD_SUBREAPER = 36
_F_SETPIPE_SZ = 1031
_MOST_LEFT_READS = 1000
_MOST_REAPED = 10_000


class Order:
    """What to run and its limits: the fields of the dict that stage.py sends."""

    argv: list[str]
    confine: dict[str, object]
    """Restrictions for confine.py; empty if `argv` itself confines the command."""
    layers: int
    cwd: str
    env: dict[str, str]
    stdout: str
    stderr: str
    pipes: "tuple[int, int] | None"
    wall_limit: float
    cpu_limit: float | None
    memory_bytes: int | None
    processes: int | None
    disk_folders: list[str]
    disk_bytes: int
    redactions: list[tuple[bytes, bytes]]
    """Pairs of a secret and its replacement in the logs."""
    grace_seconds: float
    kill_seconds: float
    driver: int
    report_used: bool
    """Whether to report the used share of the budget."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


class Supervisor:
    """Runs one command until everything it started has ended."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.meter = Meter(order.memory_bytes)
        self.disk = DiskMeter(order.disk_folders, order.disk_bytes)
        self.exit_code: int | None = None
        self.started = 0.0
        self.main = 0
        self._ended = 0.0
        self._empty = False
        self._stop = False
        self._next_sample = 0.0
        self._reported_used = 0
        self._logs: dict[int, Log] = {}
        self._poll = select.poll()
        self._poll.register(LIFELINE, select.POLLIN)
        self._wake = self._wake_on_signals()

    def _wake_on_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, lambda *_: None)
        self._poll.register(reader, select.POLLIN)
        return reader

    def run(self) -> dict[str, object]:
        """Start the command, wait, end everything. Returns the last report."""
        kills = _oom_kills()
        self._start()
        report({"started": self.started})
        survivors = 0
        try:
            end = self._watch()
            if end == "deadline":
                self._terminate()
        finally:
            survivors = self._end_everything()
        self.meter.finish()
        if end == "exited" and self._over_memory(self.meter.peak):
            end = "memory"
        now = time.monotonic()
        return {
            "end": end,
            "exit_code": self.exit_code,
            "wall_seconds": (self._ended if end == "exited" else now) - self.started,
            "cpu_seconds": self.meter.cpu,
            "peak_memory_bytes": self.meter.peak,
            "oom_killed": end == "exited" and self.exit_code in (-9, 137) and _oom_kills() > kills,
            "log_error": self._close_logs(),
            "survivors": survivors,
        }

    def _start(self) -> None:
        order = self.order
        os.chdir(order.cwd)
        os.umask(0o022)
        out = self._open_log(order.stdout)
        err = out if order.stderr == order.stdout else self._open_log(order.stderr)
        pipes = order.pipes or ()
        for pipe in pipes:
            os.set_inheritable(pipe, False)  # so that exec closes it
        ends = {0: os.open(os.devnull, os.O_RDONLY), 1: out, 2: err, **dict(enumerate(pipes))}
        own_score = _prefer_to_oom_killer()
        self.started = time.monotonic()
        self.main = self._spawn(ends, {**order.env, "OVERNIGHT_STARTED": str(self.started)})
        _set_oom_score(own_score)
        self._next_sample = self.started + SHORTEST_POLL
        for end in {out, err, *ends.values()}:
            os.close(end)

    def _spawn(self, ends: dict[int, int], env: dict[str, str]) -> int:
        order = self.order
        if order.confine:
            if TYPE_CHECKING:
                from overnight.stage.confine import spawn
            else:
                from confine import spawn
            return spawn(order.confine, order.argv, env, ends, SIGNALS)
        return os.posix_spawn(
            order.argv[0],
            order.argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, target) for target, end in ends.items()],
            setsid=True,
            setsigmask=(),
            setsigdef=SIGNALS,
        )

    def _open_log(self, path: str) -> int:
        reader, writer = os.pipe()
        if LINUX:
            _enlarge(writer)
        os.set_blocking(reader, False)
        self._logs[reader] = Log(path, OUTPUT_BYTES, self.order.redactions)
        self._poll.register(reader, select.POLLIN)
        return writer

    def _watch(self) -> str:
        while not (end := self._why_over()):
            self._step(self.started + self.order.wall_limit)
        return end

    def _why_over(self) -> str:
        order = self.order
        exited = self.exit_code is not None
        if exited or self._stop:
            # One last sample: after the end it is too late.
            self.meter.sample()
            self.disk.look()
        wall = (self._ended if exited else time.monotonic()) - self.started
        # An exceeded budget is a deadline even if the command has just ended by itself:
        # otherwise stopping this process for a while would gain time.
        if wall >= order.wall_limit or self._cpu_left() <= 0:
            return "deadline"
        if self._over_memory(self.meter.memory):
            return "memory"
        if order.processes is not None and self.meter.count - order.layers > order.processes:
            return "processes"
        if self.disk.over:
            return "disk"
        if exited:
            return "exited"
        return "stopped" if self._stop else ""

    def _over_memory(self, amount: int) -> bool:
        limit = self.order.memory_bytes
        return limit is not None and amount > limit

    def _cpu_left(self) -> float:
        limit = self.order.cpu_limit
        return float("inf") if limit is None else limit - self.meter.cpu

    def _step(self, until: float) -> None:
        """Wait for an event, at the latest until `until`, and handle it."""
        wait = min(until, self._next_sample) - time.monotonic()
        for fd, _ in self._poll.poll(max(0.0, wait) * 1000):
            if fd == LIFELINE:
                self._stop = True
                self._poll.unregister(fd)
            elif fd == self._wake:
                self._stop = self._stop or any(n != _signal.SIGCHLD for n in os.read(fd, 4096))
            elif self._pump(fd) == 0:
                self._poll.unregister(fd)
        self._reap()
        if time.monotonic() >= self._next_sample:
            self.disk.look(self._next_sample)
            pause = min(self.meter.sample(), self._cpu_left() / (os.cpu_count() or 1))
            self._next_sample = time.monotonic() + max(pause, SHORTEST_POLL)
            self._stop = self._stop or os.getppid() != self.order.driver
            self._report_used()

    def _report_used(self) -> None:
        """Report every hundredth of the budget: too few lines to fill the pipe."""
        if not self.order.report_used:
            return
        limit = self.order.cpu_limit
        wall = time.monotonic() - self.started
        used = wall / self.order.wall_limit if limit is None else self.meter.cpu / limit
        if int(used * 100) > self._reported_used:
            self._reported_used = int(used * 100)
            report({"used": round(used, 4)})

    def _pump(self, fd: int) -> int:
        """Copy a pipe's content to its log. Returns the bytes copied; 0 at the end of file, -1 if
        there is nothing to read yet."""
        try:
            count = os.readv(fd, [_BUFFER])
        except BlockingIOError:
            return -1
        self._logs[fd].add(_BUFFER[:count])
        return count

    def _reap(self) -> None:
        try:
            # Bounded, because children may end faster than they can be waited for.
            for _ in range(_MOST_REAPED):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self.main:
                    self._ended = time.monotonic()
                    self.exit_code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            self._empty = True

    def _terminate(self) -> None:
        # Not to the sandbox's own processes: they would take the rest with them at once.
        pids = below(os.getpid())[self.order.layers :]
        send(pids, _signal.SIGTERM)
        send(pids, _signal.SIGCONT)
        until = time.monotonic() + self.order.grace_seconds
        while not (self._empty or self._stop) and time.monotonic() < until:
            self._step(until)

    def _end_everything(self) -> int:
        """Kill all descendants. Returns how many the kernel could not end in time.

        The children of a killed process become children of this one, so killing the direct
        children repeatedly reaches all. Listing the whole tree would be too slow to catch
        processes that only fork and exit; it is used for descendants of a process that does
        not die.
        """
        me = os.getpid()
        give_up = time.monotonic() + self.order.kill_seconds
        seen: set[int] = set()
        while not self._empty and time.monotonic() < give_up:
            found = set(children(me))
            send(found, _signal.SIGKILL)
            if found <= seen:
                send([*below(me), *([] if LINUX else [-self.main])], _signal.SIGKILL)
                self._step(time.monotonic() + SHORTEST_POLL)
            seen = found
            self._reap()
        return 0 if self._empty else len(below(me))

    def _close_logs(self) -> str:
        for fd, log in self._logs.items():
            # Bounded: a process outside the tree may hold the pipe open.
            for _ in range(_MOST_LEFT_READS):
                if self._pump(fd) <= 0:
                    break
            log.close()
        return next((log.error for log in self._logs.values() if log.error), "")


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:
        return  # this user has too many large pipes; the default size works too


def _prefer_to_oom_killer() -> bytes:
    """Make the kernel's OOM killer prefer the command to overnight. Returns our own score."""
    own = read("/proc/self/oom_score_adj")
    if own:
        _set_oom_score(b"%d" % min(1000, int(own) + 500))
    return own


def _set_oom_score(score: bytes) -> None:
    if not score:
        return
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(score)
    except OSError:
        return  # /proc is mounted read-only, as in some containers


def _oom_kills() -> int:
    for line in read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def become_subreaper() -> None:
    """Make orphaned descendants children of this process from now on."""
    if not LINUX:
        return
    # Only the core of ctypes: importing all of it would take a third of the start-up time.
    import _ctypes

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: this program itself
    prctl = Function(_ctypes.dlsym(program, "prctl"))
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) is refused here")


def report(fields: dict[str, object]) -> None:
    """Send a report to the driver: one line that ast.literal_eval can read."""
    try:
        os.write(REPORT, ascii(fields).encode() + b"\n")
    except BrokenPipeError:
        return  # the driver has ended; it remains to end the processes


def main() -> None:
    """Read the order from standard input, carry it out and report."""
    try:
        become_subreaper()  # takes 1 ms, so before the order arrives
        order = Order(marshal.load(sys.stdin.buffer))
        report(Supervisor(order).run())
    except EOFError:
        pass  # the driver ended without sending an order
    except (OSError, ValueError) as error:
        report({"error": str(error)})
    os._exit(0)
