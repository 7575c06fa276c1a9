"""What a proposal used, its limits, and what a run has left: tokens, dollars, seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

N = TypeVar("N", int, float)


_MOST_USED = 1e12
"""Tokens or dollars of one proposal from which on a report is not believed."""


@dataclass(frozen=True)
class Usage:
    """What a proposal used, as the agent reports it. None: unknown."""

    tokens_in: int | None = None
    """Tokens read by the model, including those from its cache."""
    tokens_cached: int | None = None
    """Tokens of those that came from its cache."""
    tokens_out: int | None = None
    dollars: float | None = None

    def __add__(self, other: Usage) -> Usage:
        """The sum. Unknown in one counts as 0; unknown in both stays unknown."""
        mine, theirs = vars(self).values(), vars(other).values()
        return Usage(
            *(
                a if b is None else b if a is None else a + b
                for a, b in zip(mine, theirs, strict=True)
            )
        )

    @property
    def believable(self) -> Usage:
        """With implausible values replaced by None, since agents report their own usage."""
        return Usage(
            *(
                value if value is not None and 0 <= value < _MOST_USED else None
                for value in vars(self).values()
            )
        )


UNKNOWN = Usage()
FREE = Usage(0, 0, 0, 0.0)
"""Usage of a proposal without a model."""


LEAST_DOLLARS = 0.001
"""US dollars. Less counts as zero: sums of floats can miss a cap, and a program started with a tiny
budget fails."""


@dataclass(frozen=True)
class Allowance:
    """Limits of a proposal. None: no limit."""

    dollars: float | None = None
    tokens: int | None = None
    """Tokens read and written."""
    seconds: float | None = None
    """Wall seconds."""

    @property
    def penniless(self) -> bool:
        """Whether there is a limit of dollars and none is left."""
        return self.dollars is not None and self.dollars < LEAST_DOLLARS

    def within(self, other: Allowance) -> Allowance:
        """The smaller of both limits."""
        return Allowance(
            _smaller(self.dollars, other.dollars),
            _smaller(self.tokens, other.tokens),
            _smaller(self.seconds, other.seconds),
        )


def _smaller(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else min(a, b)


UNLIMITED = Allowance()


@dataclass(frozen=True)
class Left:
    """What is left until each limit of a run is reached. None: no such limit."""

    experiments: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    tokens: int | None = None
