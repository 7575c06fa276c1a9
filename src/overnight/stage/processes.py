"""The process table, and a meter of what a whole process tree uses.

The supervisor imports this file at its start, so it imports only what loads well within 1 ms.
"""

import os
import resource
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LINUX = sys.platform == "linux"
SHORTEST_POLL, LONGEST_POLL = 0.005, 0.1
POLL_SHARE = 0.005
"""Share of one processor core that sampling may use while the tree does not grow."""
FILL_RATE = 4e9
"""Fastest allocation assumed for a process tree, in bytes per second."""
_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One process. `own` and `waited`: processor seconds of itself and of its waited-for children;
    `rss`: resident memory in bytes; `start`: in clock ticks after boot."""

    __slots__ = ("own", "parent", "pid", "rss", "session", "start", "waited", "zombie")

    def __init__(self, pid: int, parent: int) -> None:
        self.pid = pid
        self.parent = parent
        self.session = 0
        self.start = 0
        self.own = 0.0
        self.waited = 0.0
        self.rss = 0
        self.zombie = False


def read(path: str) -> bytes:
    """Content of a /proc file; empty if it does not exist, since processes end at any time."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    data = b""
    try:
        while chunk := os.read(fd, 1 << 16):
            data += chunk
    except OSError:
        pass
    finally:
        os.close(fd)
    return data


def process(pid: int) -> Process | None:
    """A process as /proc describes it; None if it has ended."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 22:
        return None
    found = Process(pid, int(fields[1]))
    found.zombie = fields[0] == b"Z"
    found.session = int(fields[3])
    found.own = (int(fields[11]) + int(fields[12])) / _TICKS
    found.waited = (int(fields[13]) + int(fields[14])) / _TICKS
    found.start = int(fields[19])
    found.rss = int(fields[21]) * _PAGE
    return found


def processes() -> list[Process]:
    """All visible processes of this machine."""
    if not LINUX:
        return _ps()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [found for pid in pids if (found := process(pid))]


def _ps() -> list[Process]:
    reader, writer = os.pipe()
    argv = ["ps", "-axo", "pid=,ppid=,rss=,time="]
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    os.close(writer)
    with open(reader) as lines:
        rows = [line.split() for line in lines]
    os.waitpid(pid, 0)
    table = []
    for row in rows:
        found = Process(int(row[0]), int(row[1]))
        found.rss = int(row[2]) * 1024
        for part in row[3].replace("-", ":").split(":"):
            found.own = found.own * 60 + float(part)
        table.append(found)
    return table


def children(pid: int) -> list[int]:
    """The children of a process, zombies included."""
    if not _CHILDREN:
        return [entry.pid for entry in processes() if entry.parent == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    lists = [read(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    return [int(child) for line in lists for child in line.split()]


def below(root: int) -> list[int]:
    """Pids of all descendants of `root`, each after its parent."""
    if _CHILDREN:
        next_level = children
    else:
        by_parent: dict[int, list[int]] = {}
        for entry in processes():
            by_parent.setdefault(entry.parent, []).append(entry.pid)

        def next_level(pid: int) -> list[int]:
            return by_parent.get(pid, [])

    # A process whose parent ends meanwhile may turn up twice; a dict keeps the first, in order.
    found = dict.fromkeys(next_level(root))
    queue = list(found)
    for parent in queue:
        fresh = [pid for pid in next_level(parent) if pid not in found]
        found.update(dict.fromkeys(fresh))
        queue += fresh
    return queue


def tree(root: int) -> list[Process]:
    """All descendants of `root`, each after its parent."""
    if not LINUX:
        pids = set(below(root))
        return [entry for entry in processes() if entry.pid in pids]
    return [found for pid in below(root) if (found := process(pid))]


def send(pids: "Iterable[int]", number: int) -> None:
    """Send a signal to each process; skip those that have ended or belong to another user."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


class Meter:
    """Samples processor seconds, memory and number of all processes below this one."""

    def __init__(self, limit: int | None) -> None:
        self.cpu = 0.0
        self.memory = 0
        self.peak = 0
        self.count = 0
        self._limit = limit
        self._own: dict[tuple[int, int], float] = {}
        self._own_total = 0.0
        self._rss = 0
        self._pss = 0
        self._rss_at_pss = 0
        self._next_pss = 0.0
        self._period = SHORTEST_POLL

    def sample(self) -> float:
        """Take one sample. Returns the seconds until the next one is due."""
        began, before = time.thread_time(), self._rss
        waited = _reaped_cpu()
        found = tree(os.getpid())
        self.count = len(found)
        self._count(found, waited)
        self._rss = sum(entry.rss for entry in found)
        cost = time.thread_time() - began
        self.memory = self._weigh(found)
        self.peak = max(self.peak, self.memory)
        return self._pause(cost, self._rss - before)

    def finish(self) -> None:
        """Include the kernel's totals for all processes that have been waited for."""
        self.cpu = max(self.cpu, _reaped_cpu())
        biggest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.peak = max(self.peak, biggest * (1024 if LINUX else 1))

    def _count(self, found: list[Process], waited: float) -> None:
        """Update `cpu` with the larger of two sums; neither counts anything twice.

        The sum over living and waited-for processes misses those whose parent ignores SIGCHLD.
        The sum over the times last seen misses processes that ran between two samples.
        """
        for entry in found:
            key = (entry.pid, entry.start)
            self._own_total += entry.own - self._own.get(key, 0.0)
            self._own[key] = entry.own
            waited += entry.own + entry.waited
        self.cpu = max(self.cpu, waited, self._own_total)

    def _weigh(self, found: list[Process]) -> int:
        """Memory with shared pages counted once; a cheaper, larger figure below the known peak."""
        if len(found) <= 1 or self._rss <= self.peak:
            return self._rss
        now = time.monotonic()
        if self._rss > self._rss_at_pss * 1.02 or now >= self._next_pss:
            # The kernel walks all page tables for this: done always, it costs seconds a minute.
            began = time.thread_time()
            self._pss = sum(min(entry.rss, _pss(entry)) for entry in found)
            self._next_pss = now + (time.thread_time() - began) / POLL_SHARE
            self._rss_at_pss = self._rss
        return self._pss

    def _pause(self, cost: float, growth: int) -> float:
        self._period = min(self._period * 1.5, LONGEST_POLL)
        if self._limit is None:
            return max(self._period, cost / POLL_SHARE)
        until_full = max(SHORTEST_POLL, (self._limit - self.memory) / FILL_RATE)
        if growth > self._limit / 100:
            return max(SHORTEST_POLL, 4 * cost)
        return max(min(self._period, until_full), cost / POLL_SHARE)


def _pss(entry: Process) -> int:
    for line in read(f"/proc/{entry.pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    # No such line: the process belongs to another user, or it has just ended.
    again = process(entry.pid)
    return 0 if again is None or again.zombie else again.rss


def _reaped_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
