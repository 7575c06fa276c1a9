"""The sandboxes: the contract for each back end, and how one is chosen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.sandbox import SandboxContract
from overnight.core.errors import UsageError
from overnight.sandbox.base import Policy, Sandbox
from overnight.sandbox.bubblewrap import BubblewrapSandbox
from overnight.sandbox.landlock import LandlockSandbox
from overnight.sandbox.named import sandbox_named
from toy import ARENA, command, make_toy, write_patches


class TestBubblewrap(SandboxContract):
    def make(self) -> Sandbox:
        return BubblewrapSandbox()


class TestLandlock(SandboxContract):
    def make(self) -> Sandbox:
        return LandlockSandbox()


def test_the_strongest_that_works_is_chosen() -> None:
    chosen = sandbox_named(None)
    assert chosen is not None and chosen.name == "bubblewrap"
    assert sandbox_named("none") is None


def test_one_that_is_unknown_or_does_not_work_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="bubblewrap, landlock, seatbelt, none"):
        sandbox_named("docker")
    with pytest.raises(UsageError, match=r"part of macOS.*--no-sandbox"):
        sandbox_named("seatbelt")


LINKED = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from contracts.sandbox import make_cell
from overnight.sandbox.named import sandbox_named
sandbox, folder = sandbox_named(sys.argv[1]), Path(sys.argv[2])
for server in ("one", "two"):
    (folder / "fresh").write_text(server)
    (folder / "fresh").replace(folder / "resolver")  # as a DHCP client writes it
    (folder / server).mkdir()
    cell = make_cell(sandbox, folder / server, network=True)
    cell.shell("cat /etc/resolv.conf" + sys.argv[3])
    print(cell.said)
"""


MORE = "; echo; cat /etc/ssl/certs/own.pem; readlink /etc/localtime"


@pytest.mark.parametrize(
    ("name", "more"), [("bubblewrap", MORE), ("landlock", "")], ids=["bubblewrap", "landlock"]
)
def test_a_setting_that_is_a_link_out_of_the_settings_is_read_and_the_resolver_as_it_is_now(
    tmp_path: Path, name: str, more: str
) -> None:
    settings = tmp_path / "etc"
    shutil.copytree("/etc", settings, symlinks=True)
    (tmp_path / "own.pem").write_text("a certificate\n")
    for link, target in (
        ("resolv.conf", tmp_path / "resolver"),
        ("static", tmp_path),
        ("ssl/certs/own.pem", Path("/etc/static/own.pem")),
        ("localtime", Path("/usr/share/zoneinfo/UTC")),
    ):
        (settings / link).unlink(missing_ok=True)
        (settings / link).symlink_to(target)
    mounted = f"mount --bind '{settings}' /etc && exec \"$@\""
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounted, "sh"]
    argv += [sys.executable, "-c", LINKED, name, str(tmp_path), more]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    rest = ["a certificate", "/usr/share/zoneinfo/UTC"] if more else []
    said = [line for line in done.stdout.splitlines() if line]
    assert said == ["one", *rest, "two", *rest], done.stdout + done.stderr


def test_threads_that_start_together_get_the_whole_filter(tmp_path: Path) -> None:
    policy, start, sizes = Policy(*[tmp_path] * 3), threading.Barrier(2), set[int]()

    def filter_file(_: object) -> Path:
        start.wait()
        found = Path(BubblewrapSandbox().argv(policy, [])[4])
        sizes.add(found.stat().st_size)
        return found

    with ThreadPoolExecutor(2) as pool:
        for _ in range(300):
            for path in set(pool.map(filter_file, range(2))):
                path.unlink()
    assert len(sizes) == 1


def test_without_a_home_folder_there_is_a_sentence_and_no_traceback() -> None:
    code = (
        "import pwd\n"
        "pwd.getpwuid = {}.__getitem__\n"  # no user has an entry
        "from overnight.core.errors import UsageError\n"
        "from overnight.measure.reach import make_home, overnight_home\n"
        "from overnight.sandbox.runtime import runtime_paths\n"
        "for act in (lambda: runtime_paths({}, False, False), lambda: overnight_home({}),\n"
        "            lambda: make_home(None, '/', [])):\n"
        "    try: act()\n"
        "    except UsageError as error: print(error)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "HOME"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.count("Set HOME to a folder") == 3, done.stdout + done.stderr


def test_every_surface_says_that_there_is_no_sandbox(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    (toy / "value.py").write_text("X=6\n")
    assert "(no sandbox)" in command(toy, "try", "--no-sandbox", "-m", "less").stdout
    patches = write_patches(tmp_path / "patches", ["X=5"], old="X=6\n")
    words = ["run", "--no-sandbox", "--experiments", "1", "--agent", f"patches:{patches}"]
    done = command(toy, *words)
    assert done.returncode == 0 and "not confined" in (done.stdout + done.stderr)
    assert "no sandbox" in command(toy, "status").stdout
    assert command(toy, "log").stdout.count("(no sandbox)") == 3
    assert "no sandbox" in command(toy, "show", "1").stdout
    rows = (toy / ".overnight" / "results.tsv").read_text().splitlines()
    assert [row.split("\t")[-1] for row in rows] == ["caveats", *["no sandbox"] * 3]
    assert '"sandbox": "none"' in command(toy, "log", "--json").stdout
    assert "not confined" in (toy / ".overnight" / "report.md").read_text()


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
def test_the_arena_can_choose_one_and_undeclared_data_is_named(tmp_path: Path, name: str) -> None:
    text = ARENA.replace("[run]\n", f'[run]\nsandbox = "{name}"\n')
    toy = make_toy(tmp_path / "arena", text)
    (toy / "value.py").write_text("X=5\n")
    assert command(toy, "try", "-m", "less").returncode == 0
    recorded = [e["measurements"] for e in json.loads(command(toy, "log", "--json").stdout)]
    assert {m["sandbox"] for measurements in recorded for m in measurements} == {name}
    data = tmp_path / "texts.csv"
    data.write_text("1\n")
    other = make_toy(tmp_path / "other", text, run=f"python3 -c \"open('{data}')\"\n")
    patches = write_patches(tmp_path / "patches", ["X=5"])
    done = command(other, "run", "--experiments", "1", "--agent", f"patches:{patches}")
    assert done.returncode == 4 and f"{data} exists, but a run cannot see" in (
        done.stdout + done.stderr
    )
