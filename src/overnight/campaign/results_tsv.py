"""results.tsv: a campaign's finished experiments as people and grep read them, from the ledger.

karpathy/autoresearch's five columns come first, in his order; a crash has no score at all, where
his 0.000000 would win. The file is always whole: what is written is a twin beside it, which then
takes its name. Only a reader that keeps it open over two appends can meet a line in the making.
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
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE

_LONGEST = 500  # characters of a text
_TAIL = 16384  # bytes in which the last line must begin
_OURS = [
    "n", "gain", "agent", "seconds", "measurements", "reason", "started", "hypothesis", "caveats",
]  # fmt: skip


def rewrite(path: Path, ledger: Ledger, tag: str, metric: Metric) -> None:
    """Write every finished experiment, oldest first. Raises LedgerError when that fails."""
    with _explained(path):
        new = path.with_name(f".{path.name}.new")
        with new.open("wb") as file:
            file.write(_header(metric))
            for experiment in _finished(ledger, tag):
                file.write(_line(experiment))
            file.flush()
            os.fsync(file.fileno())
        _twin(path).unlink(missing_ok=True)
        os.replace(new, path)


def append(path: Path, experiment: Experiment, metric: Metric) -> bool:
    """Add a finished experiment, in the same time however long the file is.

    False, and nothing done: the file is missing or not whole, so rewrite it.
    Raises LedgerError when it cannot be written.
    """
    with _explained(path):
        last = _last_line(path, metric)
        if last is None:
            return False
        twin = _prepared_twin(path, last)
        with twin.open("ab") as file:
            file.write(last + _line(experiment))
        _exchange(twin, path)
        return True


def _prepared_twin(path: Path, last: bytes) -> Path:
    """The file as it was before its last line. Two files that take turns need no copying."""
    twin = _twin(path)
    size = path.stat().st_size - len(last)
    if not twin.exists() or twin.stat().st_size != size:
        shutil.copyfile(path, twin)
        os.truncate(twin, size)
    return twin


def _exchange(twin: Path, path: Path) -> None:
    spare = path.with_name(f".{path.name}.old")
    spare.unlink(missing_ok=True)
    with suppress(OSError):  # no hard links here: then the next append copies
        os.link(path, spare)
    os.replace(twin, path)
    if spare.exists():
        os.replace(spare, twin)


def _last_line(path: Path, metric: Metric) -> bytes | None:
    """The last line of a whole file, the header too; None if it is not whole."""
    header = _header(metric)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        if file.readline(len(header)) != header:
            return None
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        lines = file.read().splitlines(keepends=True)
    return lines[-1] if lines[-1].endswith(b"\n") else None


def _twin(path: Path) -> Path:
    return path.with_name(f".{path.name}.twin")


def _finished(ledger: Ledger, tag: str) -> Iterator[Experiment]:
    after = -1
    while page := ledger.experiments(tag, after=after, first=PAGE):
        yield from (experiment for experiment in page if experiment.verdict)
        after = page[-1].n


def _header(metric: Metric) -> bytes:
    first = ["commit", metric.name, "memory_gb", "status", "description"]
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
