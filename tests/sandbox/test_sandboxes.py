"""The sandboxes: the contract for each back end, and how one is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.sandbox import SandboxContract
from overnight.core.errors import UsageError
from overnight.sandbox.base import Sandbox
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
