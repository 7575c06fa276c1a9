"""What the limits of a run leave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Left:
    """What the limits of a stretch leave. None: no such limit."""

    experiments: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    tokens: int | None = None
