"""The sandboxes: the contract for each back end, and how one is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.sandbox import SandboxContract
from overnight.core.errors import UsageError
from overnight.sandbox.base import Sandbox
from overnight.sandbox.bubblewrap import BubblewrapSandbox
from overnight.sandbox.landlock import LandlockSandbox
from overnight.sandbox.named import sandbox_named
from toy import ARENA, make_toy, overnight


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


def test_an_unknown_one_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="bubblewrap, landlock, seatbelt, none"):
        sandbox_named("docker")


def test_one_that_does_not_work_here_says_why_and_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"part of macOS.*--no-sandbox"):
        sandbox_named("seatbelt")


def test_without_a_sandbox_it_is_said_on_every_surface(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    (toy / "value.py").write_text("X=6\n")
    assert "(no sandbox)" in overnight(toy, "try", "--no-sandbox", "-m", "less").stdout
    done = overnight(
        toy, "run", "--no-sandbox", "--experiments", "1", "--agent", "command:echo X=5 > value.py"
    )
    assert done.returncode == 0 and "not confined" in done.stdout
    assert "no sandbox" in overnight(toy, "status").stdout
    assert overnight(toy, "log").stdout.count("(no sandbox)") == 3
    assert "no sandbox" in overnight(toy, "show", "1").stdout
    rows = (toy / ".overnight" / "results.tsv").read_text().splitlines()
    assert [row.split("\t")[-1] for row in rows] == ["caveats", *["no sandbox"] * 3]
    assert '"sandbox": "none"' in overnight(toy, "log", "--json").stdout
    assert "not confined" in (toy / ".overnight" / "report.md").read_text()


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
def test_the_arena_can_choose_and_it_is_recorded(tmp_path: Path, name: str) -> None:
    text = ARENA.replace("[run]\n", f'[run]\nsandbox = "{name}"\n')
    toy = make_toy(tmp_path / "arena", text)
    done = overnight(toy, "run", "--experiments", "1", "--agent", "command:echo X=5 > value.py")
    assert done.returncode == 0, done.stderr
    assert overnight(toy, "log", "--json").stdout.count(f'"sandbox": "{name}"') == 6


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
def test_data_that_was_not_declared_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    data = tmp_path / "texts.csv"
    data.write_text("1\n")
    text = ARENA.replace("[run]\n", f'[run]\nsandbox = "{name}"\n')
    toy = make_toy(tmp_path / "arena", text, run=f"python3 -c \"open('{data}')\"\n")
    done = overnight(toy, "run", "--experiments", "1")
    assert done.returncode == 4 and f"{data} exists, but a run cannot see" in done.stderr
