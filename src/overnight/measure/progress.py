"""What a run says of its progress while it is on the clock, and whether that ends it.

A line `overnight: progress=0.3 val_bpb=1.9` tells the share of the budget that is gone, by the
run's own account, and the metric by then. It is the word of an untrusted program: it can end that
run, never help it, for the score decides. What is read is bounded: MOST_READ bytes of log at a
time, LONGEST_LINE bytes of a line, a point for every SPACING of the budget.
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
"""Shares of the budget closer than this to the last one are not noted: a hundred points at most."""
EARLY = 0.02
"""A claim may be ahead of overnight's clock by this much, which is read now and then only."""
LONGEST_LINE = 4096
MOST_READ = 1_000_000
_LINE = re.compile(
    rb"\s*overnight: +progress=([0-9.]{1,30}(?:[eE]-?[0-9]{1,3})?) +([A-Za-z_]\w{0,63})="
    rb"([-+]?(?i:nan|inf|infinity|[0-9.]{1,40}(?:e[-+]?[0-9]{1,4})?))\s*"
)


class Progress:
    """The curve in a log that is being written."""

    def __init__(self, log: Path, metric: str) -> None:
        self.curve: list[tuple[float, float]] = []
        """(Share of the budget, metric), by growing share, finite."""
        self.not_finite = ""
        """The first value that was none, as it was printed."""
        self._log = log
        self._metric = metric
        self._offset = 0
        self._rest = b""
        self._overlong = False

    def read(self, used: float) -> bool:
        """Read what was added, when this share of the budget is used by overnight's own clock.
        Whether there may be more."""
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
    """Follows one run and says when it is to be ended."""

    def __init__(self, log: Path, metric: Metric, pruning: Pruning | None) -> None:
        """Without a pruning it follows only."""
        self.numbers: dict[str, float] = {}
        """What is known of its pruning, for the record."""
        self.progress = Progress(log, metric.name)
        self._metric = metric
        self._pruning = pruning
        self._looked = 0
        self._lost: Lost | None = None

    def __call__(self, used: float) -> bool:
        """True when the run is to be ended; `used` is the share of its budget."""
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
        """Read the rest of the log: the run is over."""
        while self.progress.read(used):
            pass

    @property
    def ending(self) -> Ending:
        """How a run ended that this has ended."""
        if self.progress.not_finite:
            words = f"the run reported {self._metric.name}={self.progress.not_finite} on its way"
            return Outcome.NOT_FINITE, None, words
        assert self._lost is not None
        return Outcome.PRUNED, None, self._lost.words(self._metric)
