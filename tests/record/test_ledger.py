"""The ledger in SQLite and in a real PostgreSQL: the same contract, and what is special to each."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

pytest.register_assert_rewrite("contracts.ledger", "contracts.spending")

from contracts.ledger import LedgerContract  # noqa: E402
from contracts.processes import Place, execute  # noqa: E402
from contracts.records import COMMIT, campaign, conclude, experiment  # noqa: E402
from contracts.spending import SpendingContract  # noqa: E402
from overnight.core.errors import LedgerError  # noqa: E402
from overnight.core.experiment import Verdict  # noqa: E402
from overnight.record.ledger import Ledger  # noqa: E402

ROOT = os.geteuid() == 0


class TestSqlite(LedgerContract, SpendingContract):
    @pytest.fixture
    def place(self, hostile_folder: Path) -> Place:
        return hostile_folder / "what? 100% #1" / "ledger.db"


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    garbage = tmp_path / "ledger.db"
    garbage.write_text("these are my notes, not yours\n" * 100)
    for create in (True, False):
        with pytest.raises(LedgerError, match=r"ledger\.db is not an SQLite database"):
            Ledger.at(garbage, "toy", create)
    assert garbage.read_text() == "these are my notes, not yours\n" * 100


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "ledger.db"
    ledger = Ledger.at(place, "toy")
    ledger.add_campaign(campaign())
    ledger.close()
    healthy = place.read_bytes()
    place.write_bytes(healthy[:2048] + b"\xff" * (len(healthy) - 2048))
    with pytest.raises(LedgerError, match="is damaged"):
        Ledger.at(place, "toy").experiments("jul1")


def test_a_place_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger.at(tmp_path / "file" / "ledger.db", "toy")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.at(tmp_path, "toy")


def test_reading_makes_no_ledger(tmp_path: Path) -> None:
    for place in (tmp_path / "none.db", tmp_path / "empty.db"):
        (tmp_path / "empty.db").touch()
        with pytest.raises(LedgerError, match=r"no campaign yet.*overnight run"):
            Ledger.at(place, "toy", create=False)
    assert not (tmp_path / "none.db").exists()
    assert (tmp_path / "empty.db").stat().st_size == 0


@pytest.mark.parametrize("url", ["sqlite://", "mysql://me:secret@host/db", "://", "sqlite:///"])
def test_a_url_that_cannot_be_a_ledger_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match="expected sqlite:///PATH or postgresql://") as caught:
        Ledger.at(url, "toy")
    assert "secret" not in str(caught.value)


def test_a_ledger_that_is_deleted_under_a_driver_is_noticed_at_once(tmp_path: Path) -> None:
    """SQLite writes on into a deleted file without a word: the whole night would be lost."""
    place = tmp_path / "ledger.db"
    ledger = Ledger.at(place, "toy")
    ledger.add_campaign(campaign())
    for gone in tmp_path.iterdir():
        gone.unlink()
    with pytest.raises(LedgerError, match="removed or replaced"):
        ledger.add_experiment("jul1", experiment(0))
    ledger.close()


@pytest.mark.skipif(not ROOT, reason="needs root, to become someone else")
def test_someone_who_may_not_write_can_read(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    ledger = Ledger.at(folder / "ledger.db", "toy")
    ledger.add_campaign(campaign())
    ledger.close()
    folder.chmod(0o755)
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe()
    child = fork.Process(target=read_as_nobody, args=(folder / "ledger.db", theirs))
    child.start()
    theirs.close()
    tags, experiments, refusal = mine.recv()
    child.join()
    shutil.rmtree(folder)
    assert (tags, experiments) == (["jul1"], [])
    assert "may not be written by you" in refusal


def read_as_nobody(place: Path, answer: Connection) -> None:
    """In a process of its own, which loaded everything before it gave up root's rights."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ledger = Ledger.at(place, "toy", create=False)
    with pytest.raises(LedgerError) as refusal:
        ledger.add_event("jul1", "steer", words="hi")
    tags = [one.tag for one in ledger.campaigns()]
    answer.send((tags, ledger.experiments("jul1"), str(refusal.value)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_and_what_was_recorded_is_intact(small_disk: Path) -> None:
    place = small_disk / "ledger.db"
    ledger = Ledger.at(place, "toy")
    ledger.add_campaign(campaign())
    done = 0
    with pytest.raises(LedgerError, match=r"no room left|disk fails or is full"):
        for done in range(10_000):
            conclude(ledger, done, Verdict.DISCARD)
    assert done > 10
    intact = [e.n for e in ledger.experiments("jul1") if e.verdict]
    assert intact == list(range(done))
    ledger.close()
    again = Ledger.at(place, "toy", create=False)
    assert [e.n for e in again.experiments("jul1") if e.verdict] == intact
    again.close()


def python(code: str, *arguments: object) -> str:
    """What a Python process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_without_psycopg_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from overnight.record.ledger import Ledger\n"
        "try: Ledger.at('postgresql://host/db', 'toy')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    shown = python(code)
    assert shown.startswith("LedgerError") and "pip install 'overnight[postgres]'" in shown


class Server:
    """A PostgreSQL of our own: a temporary folder, a socket in it, nothing on the network."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._become = []
        if ROOT:  # which PostgreSQL refuses to run as
            shutil.chown(folder, "postgres", "postgres")
            ids = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
            self._become = ["setpriv", *ids, "--pdeathsig=KILL"]
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", f"{folder}/data")
        self.start()

    def _run(self, name: str, *words: str) -> None:
        command = [*self._become, str(self._binaries / name), *words]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stderr

    def start(self) -> None:
        options = ["-F", "-D", f"{self._folder}/data", "-k", str(self._folder), "-h", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._become, str(self._binaries / "postgres"), *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._folder)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, "it did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:secret@/{database}?host={self._folder}"

    def emptied(self) -> str:
        """The URL of its database, in which nothing is."""
        execute(self.url(), "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        return self.url()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        words = "PostgreSQL's own programs are missing: apt-get install postgresql"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    server = Server(found[-1].parent, folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


class TestPostgresql(LedgerContract, SpendingContract):
    @pytest.fixture
    def place(self, server: Server) -> Place:
        return server.emptied()


def test_a_server_that_is_away_is_said_and_found_again_when_it_is_back(server: Server) -> None:
    ledger = Ledger.at(server.emptied(), "toy")
    ledger.add_campaign(campaign())
    server.stop()
    try:
        with pytest.raises(LedgerError, match="cannot be reached") as caught:
            conclude(ledger, 0, Verdict.KEEP)
        assert "secret" not in str(caught.value)
    finally:
        server.start()
    conclude(ledger, 0, Verdict.KEEP)
    server.stop()
    server.start()
    found = ledger.incumbent("jul1")
    assert found is not None and found.candidate == COMMIT
    ledger.close()


def test_a_database_that_does_not_exist_is_named(server: Server) -> None:
    with pytest.raises(LedgerError, match=r'cannot be reached.*"nowhere" does not exist') as caught:
        Ledger.at(server.url("nowhere"), "toy")
    assert "secret" not in str(caught.value)
