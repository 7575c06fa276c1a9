"""What is left until the limits of a run are reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Left:
    """What is left until each limit is reached. None: no such limit."""

    experiments: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    tokens: int | None = None
