"""Student's t and chi-squared, by scipy, which takes a while to import: as late as can be."""

from __future__ import annotations


def student_t(freedom: float, chance: float) -> float:
    """What Student's t with so many degrees of freedom stays below with this chance, 0 to 1."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, chance))


def chi_squared_below(freedom: float, value: float) -> float:
    """The chance that chi-squared with so many degrees of freedom stays below the value."""
    from scipy.special import chdtr

    return float(chdtr(freedom, value))
