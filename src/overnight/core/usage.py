"""What a proposal used, and what it may use at most: tokens, dollars, seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

N = TypeVar("N", int, float)


_MOST_USED = 1e12
"""Tokens, or dollars, of one proposal that nobody believes."""


@dataclass(frozen=True)
class Usage:
    """What a proposal used, by the agent's own report. None: unknown."""

    tokens_in: int | None = None
    """Read by the model, those from its cache included."""
    tokens_cached: int | None = None
    """Of those, read from its cache."""
    tokens_out: int | None = None
    dollars: float | None = None

    def __add__(self, other: Usage) -> Usage:
        """Both together; what is unknown of one counts as nothing, of both as unknown."""
        mine, theirs = vars(self).values(), vars(other).values()
        return Usage(
            *(
                a if b is None else b if a is None else a + b
                for a, b in zip(mine, theirs, strict=True)
            )
        )

    @property
    def believable(self) -> Usage:
        """Without what cannot be true, which is unknown then: an agent's report is its own word."""
        return Usage(
            *(
                value if value is not None and 0 <= value < _MOST_USED else None
                for value in vars(self).values()
            )
        )


UNKNOWN = Usage()
FREE = Usage(0, 0, 0, 0.0)
"""What a proposal uses in which no model has a part."""


LEAST_DOLLARS = 0.001
"""US dollars: less is nothing. Sums of prices miss a limit by a hair, and a program that is told to
spend a hair fails."""


@dataclass(frozen=True)
class Allowance:
    """What a proposal may use at most. None: no limit."""

    dollars: float | None = None
    tokens: int | None = None
    """Read and written."""
    seconds: float | None = None
    """Wall clock."""

    @property
    def penniless(self) -> bool:
        """Whether there is a limit of dollars, and nothing left of it."""
        return self.dollars is not None and self.dollars < LEAST_DOLLARS

    def within(self, other: Allowance) -> Allowance:
        """What both allow."""
        return Allowance(
            _smaller(self.dollars, other.dollars),
            _smaller(self.tokens, other.tokens),
            _smaller(self.seconds, other.seconds),
        )


def _smaller(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else min(a, b)


UNLIMITED = Allowance()
