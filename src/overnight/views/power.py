"""Which gains the rule `confirm` can find in a night, from the noise and the duration of one
measurement. The chances were simulated with its default settings; a text says which of an arena's
settings differ."""

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
"""Settings of `[judge]` that change which gains are kept."""
_MOST = 1e9
"""Larger hours, seconds or noise are refused."""


@dataclass(frozen=True)
class Row:
    """The chance of one size of gain."""

    gain: float
    """In units of the metric."""
    sigmas: float
    """In standard deviations of one measurement."""
    chance: float
    """Chance that one such gain is kept, 0 to 1."""
    pairs: int | None
    """Pairs of measurements that confirm the gain alone; None if more than max_repeats."""


@dataclass(frozen=True)
class Night:
    """The time and noise of a night, and which gains it can find."""

    folder: Path
    """The folder of its picture."""
    metric: Metric
    noise: float
    """Standard deviation of one measurement."""
    seconds: float
    """Wall seconds of one measurement."""
    hours: float
    rate: float | None
    """For a metric that is a rate (clicks, replies): its value, 0 to 1; else None."""
    judge: JudgeTable
    """The arena's settings."""

    @property
    def picture(self) -> Path:
        """The file of its picture; another one for a rate, whose noise is not the measured one."""
        return self.folder / ("power.png" if self.rate is None else "power-rate.png")

    @property
    def assumes(self) -> dict[str, object]:
        """The settings that `chance`, `visible` and `experiments` were simulated with."""
        return _settings(JudgeTable(), 0.0)

    @property
    def differs(self) -> dict[str, object]:
        """The arena's settings that differ from those, so that it keeps more or less."""
        own = _settings(self.judge, self.metric.min_gain)
        return {name: value for name, value in own.items() if value != self.assumes[name]}

    @property
    def measurements(self) -> int:
        """How many measurements fit into the hours."""
        return int(self.hours * 3600 / self.seconds)

    @property
    def experiments(self) -> int:
        """About how many candidates fit into the hours."""
        return int(self.measurements / PRICE)

    @property
    def visible(self) -> float:
        """The gain, in units of the metric, that is kept in four of five campaigns."""
        return self.noise * visible()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of the table; empty without noise."""
        return [self.row(sigmas) for sigmas in SHOWN] if self.noise else []

    def row(self, sigmas: float) -> Row:
        """The row of a gain of this many sigmas."""
        rule = JudgeTable()
        needed = pairs(sigmas, rule.false_keep)
        shown = math.ceil(needed) if needed <= rule.max_repeats else None
        return Row(sigmas * self.noise, sigmas, chance(sigmas), shown)

    def document(self) -> dict[str, object]:
        """The document of `overnight power --json`."""
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
    """The settings that change which gains are kept, by their names in arena.toml."""
    return {
        **{f"judge.{name}": getattr(judge, name) for name in _DECISIVE},
        "metric.min_gain": min_gain,
    }


def night_of(
    root: Path,
    tag: str | None,
    hours: float,
    noise: float | None,
    seconds: float | None,
    counts: tuple[float | None, int],
) -> Night:
    """A night in the arena of the folder `root`. `noise` and `seconds` of one measurement come from
    the campaign `tag` if they are None. `counts`: a rate, or None, and the number of trials in one
    measurement; with a rate the noise is binomial.

    Raises UsageError for a number out of range, and when noise or seconds are not known.
    """
    rate, trials = counts
    for name, value in (("hours", hours), ("noise", noise), ("seconds", seconds)):
        if value is not None and not value < _MOST:
            raise UsageError(f"--{name} {value:g}: expected a number below {_MOST:g}")
    if rate is not None:
        if not 0 < rate < 1:
            raise UsageError(f"--rate {rate:g}: expected a share between 0 and 1, such as 0.03")
        noise = math.sqrt(rate * (1 - rate) / trials)
    arena = Arena.load(root)
    if noise is None or seconds is None:
        measured_noise, measured_seconds = _measured(root, tag)
        noise = measured_noise if noise is None else noise
        seconds = measured_seconds if seconds is None else seconds
    return Night(arena.state, arena.metric, noise, seconds, hours, rate, arena.judge)


def _measured(root: Path, tag: str | None) -> tuple[float, float]:
    """Noise and seconds of one measurement in a campaign."""
    with open_record(root, tag) as record:
        summary = record.summary()
    if not summary.noise.differences:
        raise UsageError(
            "nothing was measured twice yet, so the noise is not known: start a campaign with "
            "`overnight run --experiments 1`, or give --noise and --seconds"
        )
    known = [summary.baseline, *summary.keeps, *summary.recent]
    spent = [m.seconds for e in known if e for m in e.judged if m.score is not None]
    return summary.noise.sigma, fmean(spent)


def power_text(night: Night) -> Table | Text:
    """The night as a small table, or a sentence if there is no noise."""
    unit = f" {night.metric.unit}" if night.metric.unit else ""
    words = (
        f"{night.hours:g} h: {night.measurements:,} measurements of "
        f"{format_duration(night.seconds)}, about {night.experiments:,} candidates.\n"
    )
    if not night.noise:
        words += "There is no noise: any gain is kept." + _differences(night)
        return Text(words)
    words += (
        f"Noise of one measurement {night.noise:.3g}{unit}: a gain of {night.visible:.3g} is kept "
        "in four of five campaigns; several smaller ones may be confirmed together.\n"
        "Each chance is that of one such gain among 20 candidates, under the rule `confirm` with "
        "its default settings." + _differences(night)
    )
    table = Table(
        title=Text(words), title_justify="left", box=None, padding=(0, 1), header_style="bold"
    )
    names = ["gain", "in sigmas", "chance to be kept", "pairs to confirm it alone"]
    for name in names + (["in percent of the rate"] if night.rate else []):
        table.add_column(name, justify="right")
    for row in night.rows:
        pairs = str(row.pairs) if row.pairs else f"over {JudgeTable().max_repeats}"
        cells = [f"{row.gain:.3g}", f"{row.sigmas:g}", f"{row.chance:.0%}", pairs]
        table.add_row(*cells, *([f"{row.gain / night.rate:.0%}"] if night.rate else []))
    return table


def _differences(night: Night) -> str:
    """Which of the arena's settings differ from the simulated ones; empty if none does."""
    differences = ", ".join(f"{name} = {value}" for name, value in night.differs.items())
    words = f"\nSettings of this arena differ ({differences}), so it keeps more or less than this."
    return words if differences else ""
