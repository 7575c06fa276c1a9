"""The progress that a run reports while it is on the clock, and whether that ends the run.

A line `overnight: progress=0.3 val_bpb=1.9` reports the fraction of the budget that is used, and
the metric at that time. The run is untrusted: its report can end it early, but never help it,
since the score decides. Reading is bounded: MOST_READ bytes of log at a time, LONGEST_LINE bytes a
line, one point for every SPACING of the budget. A log holds the first 9.7 MB of output and the
newest (stage/log.py): of a longer output, reports may be missed.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from overnight.arena.settings import Metric
from overnight.core.experiment import FORESEEN, Outcome
from overnight.judge.prune import Lost, Pruning
from overnight.measure.score import Ending

SPACING = 0.01
"""Least fraction of the budget between two points: at most 100 points."""
EARLY = 0.02
"""How far a report may be ahead of overnight's clock, which is read about ten times a second."""
LONGEST_LINE = 4096
MOST_READ = 1_000_000
_LINE = re.compile(
    rb"\s*overnight: +progress=([0-9.]{1,30}(?:[eE]-?[0-9]{1,3})?) +([A-Za-z_]\w{0,63})="
    rb"([-+]?(?i:nan|inf|infinity|[0-9.]{1,40}(?:e[-+]?[0-9]{1,4})?))\s*"
)


class Progress:
    """The learning curve in a log that is still being written."""

    def __init__(self, log: Path, metric: str) -> None:
        self.curve: list[tuple[float, float]] = []
        """(Fraction of the budget, metric), by growing fraction; all finite."""
        self.not_finite = ""
        """The first value that was not finite, as it was printed."""
        self._log = log
        self._metric = metric
        self._offset = 0
        self._rest = b""
        self._overlong = False

    def read(self, used: float) -> bool:
        """Read what was added to the log; whether there may be more. `used` is the fraction of the
        budget by overnight's own clock."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(MOST_READ)
        except FileNotFoundError:
            return False
        self._offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if not self._overlong and len(line) <= LONGEST_LINE:
                self._note(line, used)
            self._overlong = False
        if len(self._rest) > LONGEST_LINE:
            self._rest, self._overlong = b"", True
        return len(chunk) == MOST_READ

    def _note(self, line: bytes, used: float) -> None:
        match = _LINE.fullmatch(line)
        if not match or match[2].decode() != self._metric:
            return
        try:
            claimed, value = float(match[1]), float(match[3])
        except ValueError:
            return  # such as 1.2.3
        if not 0 <= claimed <= 1:
            return
        if not math.isfinite(value):
            self.not_finite = self.not_finite or match[3].decode()
            return
        at = round(min(claimed, used + EARLY, 1.0), 4)
        if not self.curve or at >= self.curve[-1][0] + SPACING:
            self.curve.append((at, value))


class Watch:
    """Follows one run and decides when to end it early."""

    def __init__(self, log: Path, metric: Metric, pruning: Pruning | None) -> None:
        """Without a `pruning` the run is never ended."""
        self.numbers: dict[str, float] = {}
        """What the pruning rule found, for the measurement's numbers."""
        self.progress = Progress(log, metric.name)
        self._metric = metric
        self._pruning = pruning
        self._looked = 0
        self._lost: Lost | None = None

    def __call__(self, used: float) -> bool:
        """Whether to end the run; `used` is the fraction of its budget."""
        self.progress.read(used)
        if self._pruning is None:
            return False
        return bool(self.progress.not_finite) or self._is_lost(self._pruning)

    def _is_lost(self, pruning: Pruning) -> bool:
        curve = self.progress.curve
        while self._lost is None and self._looked < len(curve):
            self._looked += 1
            self._lost = pruning.lost(curve[: self._looked])
            if self._lost is not None:
                key = "prune_control" if pruning.control else "pruned_at"
                self.numbers |= {key: self._lost.at, FORESEEN: self._lost.lead}
        return self._lost is not None and not pruning.control

    def finish(self, used: float) -> None:
        """Read the rest of the log once the run has ended."""
        while self.progress.read(used):
            pass

    @property
    def ending(self) -> Ending:
        """Outcome of a run that this watch has ended."""
        if self.progress.not_finite:
            words = f"the run reported {self._metric.name}={self.progress.not_finite} on its way"
            return Outcome.NOT_FINITE, None, words
        assert self._lost is not None
        return Outcome.PRUNED, None, self._lost.words(self._metric)
