"""What a night can see: which gains the rule `confirm` finds, from the noise and the price of one
measurement. What other rules and settings find was not measured: it is told where an arena has
such."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.table import Table
from rich.text import Text

from overnight.arena.arena import Arena
from overnight.arena.settings import JudgeTable, Metric
from overnight.core.errors import UsageError
from overnight.core.quantity import format_duration
from overnight.judge.odds import PRICE, chance, pairs, visible
from overnight.views.reader import open_record

SHOWN = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
_DECISIVE = ("rule", "false_keep", "max_repeats", "baseline")
"""What of `[judge]` changes which gains are kept."""


_MOST = 1e9
"""Hours, seconds, units of a metric: beyond it a table tells nothing."""


@dataclass(frozen=True)
class Row:
    """One size of gain."""

    gain: float
    """In units of the metric."""
    sigmas: float
    chance: float
    """That one such gain is kept, 0 to 1."""
    pairs: int | None
    """Pairs of measurements that confirm it, if it comes alone; None: more than max_repeats."""


@dataclass(frozen=True)
class Night:
    """What there is to spend, and what it buys."""

    folder: Path
    """Where its picture belongs."""
    metric: Metric
    noise: float
    """Standard deviation of one measurement."""
    seconds: float
    """What one measurement takes."""
    hours: float
    rate: float | None
    """For counts: the share that clicks, replies, …"""
    judge: JudgeTable
    """The arena's own."""

    @property
    def picture(self) -> Path:
        """The file of its picture: that of a rate is another, for it speaks of another noise."""
        return self.folder / ("power.png" if self.rate is None else "power-rate.png")

    @property
    def assumes(self) -> dict[str, object]:
        """What of arena.toml `chance`, `visible` and `experiments` were measured with."""
        return _settings(JudgeTable(), 0.0)

    @property
    def differs(self) -> dict[str, object]:
        """What of that this arena has otherwise: then it keeps more or less than is told."""
        own = _settings(self.judge, self.metric.min_gain)
        return {name: value for name, value in own.items() if value != self.assumes[name]}

    @property
    def measurements(self) -> int:
        """How many fit into it."""
        return int(self.hours * 3600 / self.seconds)

    @property
    def experiments(self) -> int:
        """About how many candidates fit into it."""
        return int(self.measurements / PRICE)

    @property
    def visible(self) -> float:
        """The gain that is kept in four campaigns of five; without noise, any."""
        return self.noise * visible()

    @property
    def rows(self) -> Sequence[Row]:
        """None without noise: there are no sigmas to count in."""
        return [self.row(sigmas) for sigmas in SHOWN] if self.noise else []

    def row(self, sigmas: float) -> Row:
        """What there is to tell of a gain of so many sigmas."""
        rule = JudgeTable()
        needed = pairs(sigmas, rule.false_keep)
        shown = math.ceil(needed) if needed <= rule.max_repeats else None
        return Row(sigmas * self.noise, sigmas, chance(sigmas), shown)

    def document(self) -> dict[str, object]:
        """What `overnight power --json` prints."""
        return {
            "metric": self.metric.name,
            "noise": self.noise,
            "seconds": self.seconds,
            "hours": self.hours,
            "rate": self.rate,
            "measurements": self.measurements,
            "experiments": self.experiments,
            "visible": self.visible,
            "gains": [vars(row) for row in self.rows],
            "assumes": self.assumes,
            "differs": self.differs,
        }


def _settings(judge: JudgeTable, min_gain: float) -> dict[str, object]:
    """What of arena.toml decides which gains are kept, by its name there."""
    told: dict[str, object] = {f"judge.{name}": getattr(judge, name) for name in _DECISIVE}
    return told | {"metric.min_gain": min_gain}


def night_of(
    root: Path,
    tag: str | None,
    hours: float,
    noise: float | None,
    seconds: float | None,
    counts: tuple[float | None, int],
) -> Night:
    """A night in this arena. What is not said comes from the campaign's own measurements; `counts`
    is a rate and the number of trials in one measurement, whose noise is binomial.

    Raises UsageError when something is neither said nor measured.
    """
    rate, each = counts
    for name, value in (("hours", hours), ("noise", noise), ("seconds", seconds)):
        if value is not None and not value < _MOST:
            raise UsageError(f"--{name} {value:g}: expected a number below {_MOST:g}")
    if rate is not None:
        if not 0 < rate < 1:
            raise UsageError(f"--rate {rate:g}: expected a share between 0 and 1, such as 0.03")
        noise = math.sqrt(rate * (1 - rate) / each)
    arena = Arena.load(root)
    if noise is None or seconds is None:
        known = _measured(root, tag)
        noise, seconds = (
            said if said is not None else m for said, m in zip((noise, seconds), known, strict=True)
        )
    return Night(arena.state, arena.metric, noise, seconds, hours, rate, arena.judge)


def _measured(root: Path, tag: str | None) -> tuple[float, float]:
    """Noise and seconds of one measurement in a campaign."""
    with open_record(root, tag) as record:
        summary = record.summary()
    if not summary.noise.differences:
        raise UsageError(
            "nothing was measured twice yet, so the noise is not known: start a campaign with "
            "`overnight run --experiments 1`, or say --noise and --seconds"
        )
    known = [summary.baseline, *summary.keeps, *summary.recent]
    spent = [
        sum(m.stage_seconds.values()) for e in known if e for m in e.judged if m.score is not None
    ]
    return summary.noise.sigma, fmean(spent)


def power_text(night: Night) -> Table | Text:
    """The night as a small table; without noise, in words."""
    unit = f" {night.metric.unit}" if night.metric.unit else ""
    words = (
        f"{night.hours:g} h: {night.measurements:,} measurements of "
        f"{format_duration(night.seconds)}, about {night.experiments:,} candidates.\n"
    )
    if not night.noise:
        words += "There is no noise: any gain shows." + _otherwise(night)
        return Text(words)
    words += (
        f"Noise of one measurement {night.noise:.3g}{unit}: a gain of {night.visible:.3g} is kept "
        "in four campaigns of five; smaller ones count together.\n"
        "Chances are those of one such gain among 20 candidates, by the rule `confirm` as it is "
        "without settings." + _otherwise(night)
    )
    table = Table(title=words, title_justify="left", box=None, padding=(0, 1), header_style="bold")
    names = ["gain", "in sigmas", "chance to be kept", "pairs to confirm it alone"]
    for name in names + (["in percent of the rate"] if night.rate else []):
        table.add_column(name, justify="right")
    for row in night.rows:
        pairs = str(row.pairs) if row.pairs else f"over {JudgeTable().max_repeats}"
        cells = [f"{row.gain:.3g}", f"{row.sigmas:g}", f"{row.chance:.0%}", pairs]
        table.add_row(*cells, *([f"{row.gain / night.rate:.0%}"] if night.rate else []))
    return table


def _otherwise(night: Night) -> str:
    """A sentence where the arena's settings are not those that were measured."""
    if not night.differs:
        return ""
    has = ", ".join(f"{name} = {value}" for name, value in night.differs.items())
    return (
        f"\nThis arena has {has}: what it keeps is another matter; this is what `confirm` without "
        "settings would."
    )
