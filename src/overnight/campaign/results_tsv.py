"""results.tsv: a campaign's finished experiments from the ledger, for people and grep.

karpathy/autoresearch's five columns come first, in its order; a crash has an empty score, because
its 0.000000 would win. A reader never sees half a line, because a new file replaces the old one;
a reader that keeps the file open over two appends can see one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from overnight.arena.settings import Metric
from overnight.core.errors import LedgerError
from overnight.core.experiment import Experiment
from overnight.core.text import one_line
from overnight.record.book import Book
from overnight.record.rows import PAGE

_LONGEST = 500  # characters of a text
_TAIL = 16384  # bytes in which the last line must begin
_FIRST = ["commit", "score", "memory_gb", "status", "description"]
_OURS = [
    "n", "gain", "agent", "seconds", "measurements", "reason", "started", "hypothesis", "caveats",
]  # fmt: skip


def rewrite(path: Path, book: Book) -> None:
    """Write all finished experiments, oldest first. Raises LedgerError when that fails."""
    with _explained(path):
        _replace(path, [_header(book.arena.metric), *map(_line, _finished(book))])


def write(path: Path, e: Experiment, metric: Metric) -> bool:
    """Append the line of a finished experiment, or replace its old line.

    Returns False, and does nothing, if the file is missing or not whole and must be rewritten.
    Raises LedgerError when it cannot be written.
    """
    with _explained(path):
        newest = _newest(path, metric)
        if newest is None:
            return False
        if e.n > newest:
            _append(path, _line(e))
            return True
        there = path.read_bytes()
        start, end = _place(there, e.n)
        if there[start:end] != _line(e):
            _replace(path, [there[:start], _line(e), there[end:]])
        return True


def _newest(path: Path, metric: Metric) -> int | None:
    """The number in the last line of a whole file, -1 for a header alone; None if it is not
    whole."""
    header = _header(metric)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        if file.readline(len(header)) != header:
            return None
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(header), size - _TAIL))
        lines = file.read().splitlines(keepends=True)
    if not lines:
        return -1
    return _number_in(lines[-1]) if lines[-1].endswith(b"\n") else None


def _place(there: bytes, n: int) -> tuple[int, int]:
    """Where the line of experiment n begins and ends, or would be inserted. The search begins at
    the end, because the newest lines change."""
    end = len(there)
    while end > 0:
        start = there.rfind(b"\n", 0, end - 1) + 1
        number = _number_in(there[start:end]) if start else -1
        if number == n:
            return start, end
        if number is not None and number < n:
            return end, end
        end = start
    return len(there), len(there)


def _number_in(line: bytes) -> int | None:
    cells = line.split(b"\t", len(_FIRST) + 1)
    number = cells[len(_FIRST)] if len(cells) > len(_FIRST) else b""
    return int(number) if number.isdigit() else None


def _append(path: Path, line: bytes) -> None:
    """Append to a twin of the file, then swap the two, so that readers never see half a line. The
    twin lacks only the newest lines: no more than these is copied."""
    twin, spare = _twin(path), path.with_name(f".{path.name}.old")
    size = path.stat().st_size
    if not twin.exists() or not size - _TAIL <= twin.stat().st_size <= size:
        shutil.copyfile(path, twin)
    with path.open("rb") as file, twin.open("ab") as end:
        file.seek(end.tell())
        end.write(file.read() + line)
    spare.unlink(missing_ok=True)
    with suppress(OSError):  # no hard links here: then the next append copies
        os.link(path, spare)
    os.replace(twin, path)
    if spare.exists():
        os.replace(spare, twin)


def _twin(path: Path) -> Path:
    return path.with_name(f".{path.name}.twin")


def _replace(path: Path, parts: list[bytes]) -> None:
    _twin(path).unlink(missing_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _finished(book: Book) -> Iterator[Experiment]:
    after = -1
    while page := book.ledger.experiments(book.tag, after=after, first=PAGE):
        yield from (experiment for experiment in page if experiment.verdict)
        after = page[-1].n


def _header(metric: Metric) -> bytes:
    first = [metric.name if name == "score" else name for name in _FIRST]
    return ("\t".join(first + _OURS) + "\n").encode()


def _line(experiment: Experiment) -> bytes:
    peaks = [
        m.numbers["peak_memory_mb"]
        for m in experiment.measurements
        if "peak_memory_mb" in m.numbers
    ]
    cells = [
        (experiment.candidate or "")[:7],
        _number(experiment.score, ".6f"),
        _number(max(peaks) / 1024 if peaks else None, ".1f"),
        str(experiment.verdict),
        one_line(experiment.description, _LONGEST),
        str(experiment.n),
        _number(experiment.claim, ".6g"),
        one_line(experiment.agent, _LONGEST),
        _number(experiment.seconds, ".1f"),
        str(len(experiment.measurements)),
        one_line(experiment.reason, _LONGEST),
        experiment.started.isoformat(timespec="seconds"),
        one_line(experiment.hypothesis, _LONGEST),
        ", ".join(experiment.caveats),
    ]
    return ("\t".join(cells) + "\n").encode(errors="replace")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written ({error.strerror}): make room or give the permission, then "
            "run again; the ledger has everything"
        ) from error
