"""What every sandbox must hold: the same suite for each back end, with real processes."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.sandbox.base import OPEN_FILES, Confinement, Policy, Sandbox
from overnight.sandbox.runtime import runtime_paths
from overnight.stage.stage import StageEnd, StageResult, StageSpec, run_stage

ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@dataclasses.dataclass
class Cell:
    """A policy with its folders, and a way to run Python or a shell line under it."""

    sandbox: Sandbox
    policy: Policy
    place: Path

    def shell(self, line: str, **limits: object) -> StageResult:
        return run_stage(self.spec(line, **limits), threading.Event())

    def python(self, code: str, **limits: object) -> StageResult:
        return self.shell(f"{sys.executable} -c {shlex.quote(code)}", **limits)

    def spec(self, line: str, **limits: object) -> StageSpec:
        fields: dict[str, object] = {
            "command": line,
            "cwd": self.policy.cwd,
            "env": {**ENV, "OUT": str(self.place / "out"), "TMPDIR": str(self.place / "tmp")},
            "stdout": self.place / "log",
            "stderr": self.place / "log",
            "budget_seconds": 30.0,
            "confinement": Confinement(self.sandbox, self.policy),
        }
        return StageSpec(**{**fields, **limits})  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def with_(self, **changes: object) -> Cell:
        return dataclasses.replace(self, policy=dataclasses.replace(self.policy, **changes))


def make_cell(sandbox: Sandbox, folder: Path, network: bool = False) -> Cell:
    """A cell whose folders lie below `folder`."""
    assert sandbox.problem() is None, "this machine must have both back ends for the tests"
    place = folder / "state" / "place"
    for name in ("tree/inner", "out", "tmp", "home", "data"):
        (place / name).mkdir(parents=True)
    (place / "tree" / "program.py").write_text("print('the program')\n")
    (place / "data" / "train.txt").write_text("to learn from\n")
    (place / "data" / "secret.txt").write_text("the answer\n")
    (folder / "state" / "ledger.db").write_text("every number\n")
    policy = Policy(
        cwd=place / "tree",
        own=[place / "tree"],
        temporary=place / "tmp",
        home=place / "home",
        readable=[*runtime_paths(ENV, network, gpus=False), place / "data"],
        writable=[place / "out"],
        hidden=[place / "data" / "secret.txt"],
        network=network,
    )
    return Cell(sandbox, policy, place)


class SandboxContract:
    """Subclass it with `make`."""

    def make(self) -> Sandbox:
        raise NotImplementedError

    @pytest.fixture
    def cell(self, hostile_folder: Path) -> Cell:
        return make_cell(self.make(), hostile_folder)

    def test_the_command_runs_in_its_folders_with_its_environment_and_exit_code(
        self, cell: Cell
    ) -> None:
        own = [cell.place / name / "file" for name in ("out", "tmp", "home")]
        writes = "; ".join(f"echo kept > {shlex.quote(str(path))}" for path in own)
        names = "env | cut -d= -f1 | sort | tr '\\n' ' '"
        reads = "pwd; python3 program.py; cat ../data/train.txt"
        result = cell.shell(f"{reads}; {names}; {writes}; exit 7")
        assert (result.end, result.exit_code) == (StageEnd.EXITED, 7), cell.said
        *lines, variables = cell.said.splitlines()
        assert lines == [str(cell.place / "tree"), "the program", "to learn from"]
        assert set(variables.split()) <= {
            *ENV, "OUT", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "OVERNIGHT_STAGE",
            "OVERNIGHT_STARTED",
        }  # fmt: skip
        assert [path.read_text() for path in own] == ["kept\n"] * 3

    def test_nothing_else_can_be_written(self, cell: Cell) -> None:
        places = [cell.place / "tree", cell.place / "data", cell.place, Path("/usr"), Path("/etc")]
        places += [Path.home(), Path("/"), Path("/dev")]
        targets = [place / "planted-by-a-candidate" for place in places]
        writes = "; ".join(f"(echo x > {shlex.quote(str(target))})" for target in targets)
        damage = "rm -f program.py; rmdir inner; ln -s / inner/root; echo x > program.py"
        cell.shell(f"{writes}; {damage}")
        planted = [target for target in targets if target.exists()]
        for target in planted:
            target.unlink()
        assert not planted
        assert (cell.place / "tree" / "program.py").read_text() == "print('the program')\n"
        assert (cell.place / "tree" / "inner").is_dir()

    def test_no_setting_of_the_kernel_can_be_opened_to_write(self, cell: Cell) -> None:
        result = cell.python(
            "import os\n"
            "for top in ('/proc/sys', '/proc/irq', '/proc/self', '/proc/1', '/sys'):\n"
            "    for folder, names, files in os.walk(top):\n"
            "        names[:] = [n for n in names if n not in ('task', 'fd', 'root', 'cwd')]\n"
            "        for file in files:\n"
            "            try:\n"
            "                os.close(os.open(f'{folder}/{file}', os.O_WRONLY))\n"
            "                print(f'{folder}/{file}')\n"
            "            except OSError:\n"
            "                pass\n"
            "os.open('/proc/sysrq-trigger', os.O_WRONLY)\n"
        )
        assert result.exit_code == 1 and "[Errno" in cell.said
        assert not [line for line in cell.said.splitlines() if line.startswith("/")]

    def test_what_is_not_granted_cannot_be_read(self, cell: Cell) -> None:
        driver = f"/proc/{os.getpid()}"
        paths = [
            f"{cell.place}/data/secret.txt", f"{cell.place}/../ledger.db", "/etc/shadow",
            "/root/.bashrc", f"{driver}/environ", f"{driver}/mem", f"{driver}/root/etc/shadow",
            "/dev/vda", "/proc/kcore", "/sys/kernel/debug", "/var/log/dpkg.log",
        ]  # fmt: skip
        cell.python(
            "import os\n"
            f"for p in {paths!r}:\n"
            "    try: found = os.listdir(p) if os.path.isdir(p) else open(p, 'rb').read(9)\n"
            "    except OSError: continue\n"
            "    if found: print('got', p, found)\n"
            "print('tried all')\n"
        )
        assert cell.said == "tried all\n"

    def test_a_hidden_file_is_not_reached_by_another_name(self, cell: Cell) -> None:
        secret = cell.place / "data" / "secret.txt"
        code = (
            "import os, sys\nsecret, out = sys.argv[1:]\n"
            "for make in (os.symlink, os.link):\n"
            "    name = os.path.join(out, make.__name__)\n"
            "    try:\n        make(secret, name); print('got', open(name).read())\n"
            "    except OSError as error: print(error.strerror)\n"
            "fd = os.open(os.path.dirname(secret), os.O_PATH)\n"
            "for path in ('secret.txt', './secret.txt', '../data/secret.txt'):\n"
            "    try: print('got', os.read(os.open(path, os.O_RDONLY, dir_fd=fd), 99))\n"
            "    except OSError as error: print(error.strerror)\n"
        )
        words = shlex.join([sys.executable, "-c", code, str(secret), str(cell.place / "out")])
        cell.shell(words)
        assert "the answer" not in cell.said

    def test_a_whole_hidden_folder_is_gone(self, cell: Cell) -> None:
        cell.with_(hidden=[cell.place / "data"]).shell("cat ../data/*; ls ../data; true")
        assert "to learn from" not in cell.said and "the answer" not in cell.said

    def test_its_own_files_are_found_below_a_hidden_folder(self, cell: Cell) -> None:
        hidden = [cell.place.parent, cell.place / "tree" / "inner"]
        (cell.place / "tree" / "inner" / "key").write_text("the answer\n")
        result = cell.with_(hidden=hidden).shell("python3 program.py; cat inner/key")
        assert cell.said.startswith("the program\n"), cell.said
        assert result.exit_code != 0 and "the answer" not in cell.said

    @pytest.fixture
    def listener(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self._answer, args=(server,), daemon=True).start()
            yield server.getsockname()[1]

    @staticmethod
    def _answer(server: socket.socket) -> None:
        try:
            while True:
                server.accept()[0].sendall(b"got it")
        except OSError:
            return

    @pytest.mark.parametrize("network", [False, True])
    def test_servers_answer_with_the_network_alone_and_local_sockets_never(
        self, cell: Cell, listener: int, tmp_path: Path, network: bool
    ) -> None:
        name, path = f"overnight-test-{os.getpid()}", str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as named:
            abstract.bind(f"\0{name}")
            abstract.listen()
            named.bind(path)
            named.listen()
            code = CONNECT.format(port=listener, name=name, path=path)
            cell.with_(network=network).python(code)
        assert ("got it" in cell.said) is network, cell.said
        # bubblewrap shares the network then, and abstract names are a part of it.
        shared = network and cell.sandbox.name == "bubblewrap"
        assert cell.said.count("got through") <= shared, cell.said

    def test_other_processes_cannot_be_signalled_or_traced(self, cell: Cell) -> None:
        other = subprocess.Popen(["sleep", "30"])
        try:
            cell.python(
                "import ctypes, os, resource\n"
                f"pid = {other.pid}\n"
                "for act in (lambda: os.kill(pid, 9), lambda: os.killpg(pid, 9),\n"
                "            lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),\n"
                "            lambda: os.sched_setaffinity(pid, {0}),\n"
                "            lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)):\n"
                "    try: act(); print('got through')\n"
                "    except (OSError, PermissionError) as error: print(error.strerror)\n"
                "traced = ctypes.CDLL(None).ptrace(16, pid, 0, 0)\n"
                "print('traced' if traced == 0 else 'no')\n"
            )
            assert other.poll() is None and "traced" not in cell.said
            assert "got through" not in cell.said, cell.said
        finally:
            other.kill()
            other.wait()

    def test_kernel_features_that_lead_out_and_the_powers_of_root_are_refused(
        self, cell: Cell
    ) -> None:
        cell.python(
            "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
            "calls = {'unshare': lambda: c.unshare(0x10000000),\n"
            "  'keyctl': lambda: c.syscall(250, 0, -3, 1),\n"
            "  'mount': lambda: c.mount(b'none', b'/tmp', b'tmpfs', 0, None),\n"
            "  'io_uring': lambda: c.syscall(425, 1, None),\n"
            "  'memfd': lambda: c.memfd_create(b'x', 0),\n"
            "  'shmget': lambda: c.shmget(7, 4096, 0o1666), 'vsock': lambda: c.socket(40, 1, 0),\n"
            "  'packet': lambda: c.socket(17, 3, 0), 'chroot': lambda: c.chroot(b'/tmp'),\n"
            "  'setuid': lambda: c.setuid(1),\n"
            "  'mknod': lambda: c.mknod(os.environ['OUT'].encode() + b'/disk', 0o60600, 0xfe00)}\n"
            "print(*[name for name, call in calls.items() if call() >= 0], 'tried all')\n"
        )
        assert cell.said == "tried all\n"

    def test_nothing_survives_the_stage(self, cell: Cell) -> None:
        cell.shell(
            "setsid sh -c 'trap \"\" TERM HUP; sleep 94.5' & (setsid sleep 94.5 &) ; "
            "touch /dev/shm/left-behind 2>/dev/null; exit 0"
        )
        assert subprocess.run(["pgrep", "-f", "sleep 94.5"], check=False).returncode == 1
        assert not Path("/dev/shm/left-behind").exists()

    def test_limits_of_files_hold(self, cell: Cell) -> None:
        small = cell.with_(file_bytes=100_000)
        small.python(
            "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "try:\n    open(os.environ['OUT'] + '/big', 'wb').write(bytes(10**6))\n"
            "except OSError as error: print(error.strerror)\n"
            f"try:\n    held = [os.open('/dev/null', 0) for _ in range({OPEN_FILES})]\n"
            "except OSError as error: print(error.strerror)\n"
        )
        assert "Too many open files" in cell.said
        assert (cell.place / "out" / "big").stat().st_size <= 102_400

    def test_a_deadline_ends_it_and_a_polite_signal_reaches_it(self, cell: Cell) -> None:
        polite = "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done"
        result = cell.shell(polite, budget_seconds=1.0)
        assert result.end is StageEnd.DEADLINE and "bye\n" in cell.said, cell.said

    def test_too_many_processes_and_too_much_disk_end_it(self, cell: Cell) -> None:
        storm = "for i in $(seq 200); do sleep 20 & done; wait"
        assert cell.shell(storm, processes=50).end is StageEnd.PROCESSES
        fill = "head -c 30000000 /dev/zero > $OUT/fill; sleep 20"
        out = cell.place / "out"
        limits = {"disk_folders": [out], "disk_bytes": 10_000_000}
        assert cell.shell(fill, **limits).end is StageEnd.DISK


CONNECT = """
import socket
for family, place in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET6, ("::1", {port}))):
    try:
        with socket.socket(family) as s:
            s.settimeout(2)
            s.connect(place)
            print("got", s.recv(9).decode().removeprefix("got "))
    except OSError as error:
        print(error.strerror)
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port}))
except OSError as error:
    print(error.strerror)
for place in (chr(0) + {name!r}, {path!r}):
    try:
        socket.socket(socket.AF_UNIX).connect(place)
        print("got through")
    except OSError as error:
        print(error.strerror)
"""
