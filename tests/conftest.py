"""What every test gets: a machine-wide state folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


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
