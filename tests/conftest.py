"""What every test gets: a machine-wide state folder of its own; and what more than one asks for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import Bench, repository
from sizes import sizes
from stages import Stages, alive, mounted
from toy import make_toy

# A suite that was started behind `&` ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(sizes())


@pytest.fixture(scope="session", autouse=True)
def _home_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What _own_home is for a test, for campaigns that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERNIGHT_HOME", str(tmp_path_factory.mktemp("overnight-home")))
        yield


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see or leave anything in the caches of the person who runs it."""
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path_factory.mktemp("overnight-home")))


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A folder whose name has a space, a quote and letters beyond ASCII."""
    folder = tmp_path / "it's ein Ordner – ü"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "128k"):
        yield folder


@pytest.fixture
def toy(hostile_folder: Path) -> Path:
    return make_toy(hostile_folder / "arena")


@pytest.fixture
def bench(hostile_folder: Path) -> Bench:
    return Bench(repository(hostile_folder / "repo"))


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Stages]:
    folder = tmp_path / "Ärena mit Leerzeichen 夜"
    folder.mkdir()
    stages = Stages(folder)
    yield stages
    assert alive(stages.marker) == []
