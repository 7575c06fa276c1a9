"""Student's t and chi-squared. scipy is slow to import, so it is imported on first use."""

from __future__ import annotations


def student_t(freedom: float, chance: float) -> float:
    """The value below which Student's t, with `freedom` degrees of freedom, stays with probability
    `chance`."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, chance))


def chi_squared_below(freedom: float, value: float) -> float:
    """The probability that chi-squared, with `freedom` degrees of freedom, stays below `value`."""
    from scipy.special import chdtr

    return float(chdtr(freedom, value))
