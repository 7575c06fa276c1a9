"""Graphics cards: which there are, and the lease that gives one to a single measurement."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from overnight.core.errors import MeasurementImpossible

GPUS = "CUDA_VISIBLE_DEVICES"
"""The variable by which a stage knows its cards: their UUIDs, separated by commas. A program that
uses CUDA sees no other card."""
_DRIVER = Path("/proc/driver/nvidia/gpus")
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Gpu:
    """A card, as NVIDIA's driver knows it."""

    minor: int
    """Its device file is /dev/nvidia<minor>."""
    uuid: str
    """Its name in CUDA_VISIBLE_DEVICES."""


def listed(cards: Iterable[Gpu]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for these cards."""
    return ",".join(card.uuid for card in cards)


def visible(value: str, driver: Path = _DRIVER) -> list[Gpu]:
    """The installed cards that a value of CUDA_VISIBLE_DEVICES names by their UUIDs."""
    names = value.split(",")
    return [card for card in installed(driver) if card.uuid in names]


def installed(driver: Path = _DRIVER) -> list[Gpu]:
    """The cards of this machine."""
    found = []
    for card in sorted(driver.glob("*/information")):
        text = card.read_text(errors="replace")
        minor = re.search(r"^Device Minor:\s*(\d+)", text, re.MULTILINE)
        uuid = re.search(r"^GPU UUID:\s*(\S+)", text, re.MULTILINE)
        if minor and uuid:
            found.append(Gpu(int(minor[1]), uuid[1]))
    return found


@contextmanager
def leased(
    count: int, locks: Path, stopping: threading.Event, cards: list[Gpu] | None = None
) -> Iterator[list[Gpu]]:
    """`count` cards that no other lease of this machine holds; waits for them, until `stopping`.

    Raises MeasurementImpossible when the machine has fewer.
    """
    known = (installed() if cards is None else cards) if count else []
    if len(known) < count:
        raise MeasurementImpossible(
            f"run.gpus: {count} needed, this machine has {len(known)}; lower it in arena.toml"
        )
    with ExitStack() as held:
        mine: list[Gpu] = []
        while len(mine) < count and not stopping.is_set():
            # All or nothing: two that wait with one card each would wait for ever.
            with ExitStack() as attempt:
                free = (card for card in known if _lock(attempt, locks / card.uuid))
                mine = list(islice(free, count))
                if len(mine) == count:
                    held.push(attempt.pop_all())
            if len(mine) < count:
                stopping.wait(_LOOK_SECONDS)
        yield mine


def _lock(stack: ExitStack, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    file: IO[bytes] = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb+")  # noqa: SIM115
    stack.enter_context(file)
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
