"""The final exam: which keeps are due for it. No agent and no decision uses its results."""

from __future__ import annotations

from overnight.core.experiment import Experiment
from overnight.record.book import Book

EXAM_SEED = 1_000_000
"""Seed of every exam, which no judging measurement has. Baseline and wins share it, so that they
differ by less luck."""


def due(book: Book, every: int, end: bool = False) -> list[Experiment]:
    """The keeps whose exam is due: the baseline, every `every`-th keep after the last that had one
    and, at the `end`, the incumbent. A failed exam is not repeated. Of keeps confirmed together
    only the newest counts: only their gain as a whole is known."""
    sat = book.exams
    keeps = [e for e in [book.baseline, *book.keeps] if not e.is_member]
    last = max((at for at, keep in enumerate(keeps) if keep.n in sat), default=-1)
    # A keep that was confirmed late may be older than one that had its exam: it is skipped.
    chosen = keeps[last + every :: every] if last >= 0 else keeps[::every]
    if end and keeps[-1].n not in sat and keeps[-1] not in chosen:
        chosen.append(keeps[-1])
    return chosen
