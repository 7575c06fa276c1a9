"""The process between overnight and one command: keeps its clock, its meters and its log, ends it.

stage.py starts it for every stage; nothing imports it. Its start is part of what a measurement
costs, so it imports only processes.py, disk.py, log.py and what loads in well under a millisecond:
`_signal` (`signal` loads `enum`), marshal (`json` loads `re`).

It makes itself the subreaper of everything it starts (Linux), so whatever forks twice, opens its
own session or ignores signals stays its descendant and is found. On macOS, which has no
subreaper, a daemon that left both its parent and its process group is missed.
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
# Made before the order comes: a megabyte of fresh pages takes half a millisecond.
_BUFFER = memoryview(bytearray(PIPE_BYTES))
_PR_SET_CHILD_SUBREAPER = 36
_F_SETPIPE_SZ = 1031
_MOST_LEFT_READS = 1000
_MOST_REAPED = 10_000


class Order:
    """What to run and within which limits: the fields that stage.py sends as one dict."""

    argv: list[str]
    confine: dict[str, object]
    """For stage/confine.py; empty when argv confines itself."""
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
    disk_files: int
    output_bytes: int
    blotted: list[tuple[bytes, bytes]]
    """What is never written to a log, and what is in its place."""
    grace_seconds: float
    kill_seconds: float
    driver: int
    tell_used: bool
    """Whether the driver wants to hear how much of the budget is used."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


class Supervisor:
    """One command from its start to the end of everything it started."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.meter = Meter(order.memory_bytes)
        self.disk = DiskMeter(order.disk_folders, order.disk_bytes, order.disk_files)
        self.exit_code: int | None = None
        self.started = 0.0
        self.main = 0
        self._ended = 0.0
        self._empty = False
        self._stop = False
        self._next_sample = 0.0
        self._told = 0
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
        """Start the command, wait, end everything; returns the report."""
        kills = _oom_kills()
        self._start()
        report({"started": self.started})
        survivors = 0
        try:
            end = self._watch()
            if end == "deadline":
                self._ask_politely()
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
            os.set_inheritable(pipe, False)  # closed by exec, like all that Python has opened
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
        self._logs[reader] = Log(path, self.order.output_bytes, self.order.blotted)
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
            # A last look: once it is ended, nobody knows what it held since the one before.
            self.meter.sample()
            self.disk.look()
        wall = (self._ended if exited else time.monotonic()) - self.started
        # A budget overdrawn is a deadline even if the command has just ended by itself:
        # else stopping this process for a while would buy time.
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
        """Wait for something to happen, until then at the latest, and deal with it."""
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
            self._tell_used()

    def _tell_used(self) -> None:
        """For whoever watches: a line for every hundredth of the budget, too few to fill a pipe."""
        if not self.order.tell_used:
            return
        limit = self.order.cpu_limit
        wall = time.monotonic() - self.started
        used = wall / self.order.wall_limit if limit is None else self.meter.cpu / limit
        if int(used * 100) > self._told:
            self._told = int(used * 100)
            report({"used": round(used, 4)})

    def _pump(self, fd: int) -> int:
        """Move what a pipe holds to its log; returns the bytes moved, 0 at the end, -1 for now."""
        try:
            count = os.readv(fd, [_BUFFER])
        except BlockingIOError:
            return -1
        self._logs[fd].add(_BUFFER[:count])
        return count

    def _reap(self) -> None:
        try:
            # Bounded: children may end faster than they can be waited for.
            for _ in range(_MOST_REAPED):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self.main:
                    self._ended = time.monotonic()
                    self.exit_code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            self._empty = True

    def _ask_politely(self) -> None:
        # The sandbox's own processes would take the rest with them.
        pids = below(os.getpid())[self.order.layers :]
        send(pids, _signal.SIGTERM)
        send(pids, _signal.SIGCONT)
        until = time.monotonic() + self.order.grace_seconds
        while not (self._empty or self._stop) and time.monotonic() < until:
            self._step(until)

    def _end_everything(self) -> int:
        """Kill all descendants; returns how many the kernel could not end in time.

        The children of a killed child become children of this process, so killing these,
        again and again, reaches all. A look at the whole tree would be too slow to catch
        processes that do nothing but fork and exit, while they take most of the processor;
        it is for the descendants of what does not die.
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
            # Not until end of file: a process outside the tree may have got hold of the pipe.
            for _ in range(_MOST_LEFT_READS):
                if self._pump(fd) <= 0:
                    break
            log.close()
        return next((log.error for log in self._logs.values() if log.error), "")


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:
        return  # this user has many large pipes already; the usual size works too


def _prefer_to_oom_killer() -> bytes:
    """Make the kernel take the command before overnight; returns our own score."""
    own = read("/proc/self/oom_score_adj")
    if own:
        _set_oom_score(b"%d" % min(1000, int(own) + 500))
    return own


def _set_oom_score(score: bytes) -> None:
    if score:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(score)


def _oom_kills() -> int:
    for line in read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def become_subreaper() -> None:
    """From now on orphans below this process become its children."""
    if not LINUX:
        return
    # The bare core of ctypes: all of ctypes would be a third of this program's start.
    import _ctypes

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: what is loaded already
    prctl = Function(_ctypes.dlsym(program, "prctl"))
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) is refused here")


def report(fields: dict[str, object]) -> None:
    """Tell the driver, as one line that ast.literal_eval reads."""
    try:
        os.write(REPORT, ascii(fields).encode() + b"\n")
    except BrokenPipeError:
        return  # the driver is gone; what is left to do here is to end the tree


def main() -> None:
    """Read the order from the lifeline, carry it out, report."""
    try:
        become_subreaper()  # before the order comes: it takes a millisecond
        order = Order(marshal.load(sys.stdin.buffer))
        report(Supervisor(order).run())
    except EOFError:
        pass  # the driver ended without an order
    except (OSError, ValueError) as error:
        report({"error": str(error)})
    os._exit(0)
