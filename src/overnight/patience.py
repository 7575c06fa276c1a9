"""How many measurements a trial of the tip may cost: a share of those that were spent without one.

Nobody waits for a large gain, since its trial is cheap; a small one is tried once the campaign has
gone on for long enough.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Patience:
    """Counts measurements; `left` is what a trial may cost now."""

    share: float = 0.25
    grace: float = 2.0
    """What a trial may cost right at the beginning."""
    _spent: int = 0
    _trial: int | None = None

    @property
    def left(self) -> float:
        return self.grace + self.share * self._spent

    def spend(self) -> None:
        """A measurement was taken."""
        self._spent += 1

    def begin(self) -> None:
        """The tip was confirmed: count anew."""
        self._spent, self._trial = 0, None

    def begin_trial(self) -> None:
        """A pair is about to be measured."""
        if self._trial is None:
            self._trial = self._spent

    def pause(self) -> None:
        """The judge leaves things as they are: the next trial waits for new patience."""
        if self._trial is not None:
            self._spent, self._trial = self._spent - self._trial, None
