"""The final exam: which keeps are due for it. Its results go to no agent and into no decision."""

from __future__ import annotations

from overnight.core.experiment import Experiment
from overnight.record.book import Book

EXAM_SEED = 1_000_000
"""The seed of every exam: one that no judging measurement has, and the same for the baseline and
the wins, so that they differ by less luck."""


def due(book: Book, every: int, end: bool = False) -> list[Experiment]:
    """The keeps whose exam is due: the baseline, every `every`-th keep after the last that had one
    and, at the end, the incumbent. A failed exam is not repeated. Keeps that were confirmed with a
    later one do not count: the gain is known of the whole alone."""
    sat = book.exams
    keeps = [e for e in [book.baseline, *book.keeps] if not e.is_member]
    last = max((at for at, keep in enumerate(keeps) if keep.n in sat), default=-1)
    # A keep that is confirmed late may stand before one that had its exam: it is passed over.
    chosen = keeps[last + every :: every] if last >= 0 else keeps[::every]
    if end and keeps[-1].n not in sat and keeps[-1] not in chosen:
        chosen.append(keeps[-1])
    return chosen
