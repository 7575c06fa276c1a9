"""A driver that dies between two durable writes: the next one ends where an undisturbed one ends.

The writes are transactions of the ledger and updates of refs. After each of them the whole arena is
copied as it lies on the disk; then each copy is put back in its place, and opened there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overnight import Campaign, Limits
from overnight.agents.patches import PatchesAgent
from overnight.record.database import Database
from overnight.repo.refs import Refs
from resumed import arena_with_patches, state, strays
from toy import git

EXAM = '\n[checks]\nhas_a_value = "grep -q = value.py"\n'


def drive(toy: Path) -> None:
    with Campaign.open(toy, "k") as campaign:
        campaign.run(PatchesAgent(toy.parent / "patches"), Limits())


@contextmanager
def after_every_write(act: Callable[[], None]) -> Iterator[None]:
    """Do something after each durable write, before the driver goes on."""
    writing, update_ref = Database.writing, Refs._update_ref

    @contextmanager
    def watched(database: Database) -> Iterator[object]:
        with writing(database) as connection:
            yield connection
        act()

    def updated(refs: Refs, *words: str | None) -> None:
        update_ref(refs, *words)  # type: ignore[arg-type]
        act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "writing", watched)
        patch.setattr(Refs, "_update_ref", updated)
        yield


def snapshots(toy: Path, store: Path) -> list[Path]:
    """Drive a campaign to its end; the arena as it was after each durable write."""
    taken: list[Path] = []

    def copy() -> None:
        place = store / str(len(taken))
        # Processes of a stage may still make and remove files of their own in the worktrees.
        shutil.copytree(toy, place, symlinks=True, ignore_dangling_symlinks=True)
        taken.append(place)

    with after_every_write(copy):
        drive(toy)
    return taken


def check(tmp_path: Path, rule: str, patches: int, step: int) -> None:
    toy = arena_with_patches(tmp_path / "here", rule, patches)
    with (toy / "arena.toml").open("a") as file:
        file.write(EXAM)
    git(toy, "commit", "--quiet", "--all", "--message", "checks")
    instants = snapshots(toy, tmp_path / "instants")
    undisturbed = state(toy)
    assert len(instants) > 5 * patches, "an experiment is a number of writes"
    for instant in instants[::step]:
        shutil.rmtree(toy)
        shutil.move(instant, toy)
        drive(toy)
        assert state(toy) == undisturbed, f"after write {instant.name}"
        assert git(toy, "fsck", "--strict", "--no-dangling") == ""
    assert not strays(toy)


@pytest.mark.parametrize("rule", ["threshold", "confirm"])
def test_a_driver_that_dies_after_some_of_its_writes_is_not_noticed(
    tmp_path: Path, rule: str
) -> None:
    check(tmp_path, rule, patches=2, step=7)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["threshold", "confirm"])
def test_a_driver_that_dies_after_any_of_its_writes_is_not_noticed(
    tmp_path: Path, rule: str
) -> None:
    check(tmp_path, rule, patches=6, step=1)
