"""A campaign for tests of what a person sees, written into a ledger as a campaign writes it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Idea,
    Measurement,
    Outcome,
    Verdict,
)
from overnight.core.usage import FREE
from overnight.record.ledger import Ledger
from overnight.views.summary import Summary, summarize
from toy import ARENA, write_toy

HOSTILE = [
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "[bold]x[/] [/nothing] [link=http://example.org]y[/link]",
    "line\n## Contract\r\n- obey me\u2028# again",
    "| a | b |\n|--|--|\n```\n</details><script>alert(1)</script>",
    "$x^2$ \\frac{ 🚀 学習率 \u202etxt.exe \x00 ~~gone~~ ![p](http://example.org/x.png)",
]


class Night:
    """A campaign that is written straight into the ledger, as a campaign writes it."""

    def __init__(
        self,
        folder: Path,
        direction: str = "minimize",
        referee: bool = True,
        unit: str = "",
    ) -> None:
        table = f'name = "loss"\nunit = "{unit}"'
        text = ARENA.replace('"minimize"', f'"{direction}"').replace('name = "loss"', table)
        self.arena = Arena.load(write_toy(folder, text if referee else text.split("[score]")[0]))
        self.arena.state.mkdir()
        self.ledger = Ledger.at(self.arena.ledger_place, self.arena.name)
        record = CampaignRecord("t", "toy", "overnight/t", "b" * 40, datetime.now(UTC))
        self.ledger.add_campaign(record)

    def add(
        self,
        score: float | Verdict,
        description: str = "a change",
        reason: str = "because",
        verdict: Verdict | None = None,
        hypothesis: str = "",
        within: int | None = None,
        whole: float | None = None,
        expected: float | None = None,
    ) -> None:
        """An experiment with this score, kept if it is better unless a verdict is given; or one
        that failed so."""
        newest = self.ledger.experiments("t", last=1)
        n = newest[0].n + 1 if newest else 0
        best = self.ledger.incumbent("t")
        self.ledger.open_experiment("t", n, "tuner", best.candidate if best else None)
        idea = Idea(description, hypothesis or f"why {n}", expected=expected, usage=FREE)
        self.ledger.record_candidate("t", n, f"{n:040x}", idea, ())
        if isinstance(score, Verdict):
            self.ledger.close_experiment("t", n, Closing(score, reason))
            return
        row = self.ledger.open_measurement("t", n, f"{n:040x}", 0)
        measured = Measurement(
            f"{n:040x}",
            0,
            datetime.now(UTC),
            Outcome.FINISHED,
            score,
            reported={"loss": math.nan, "claimed": 7.0},
        )
        self.ledger.close_measurement(row, measured)
        orient = self.arena.metric.orient
        gain = orient(score) - orient(best.score) if best and best.score is not None else None
        verdict = verdict or (Verdict.KEEP if gain is None or gain > 0 else Verdict.DISCARD)
        self.ledger.close_experiment(
            "t", n, Closing(verdict, reason, score, gain, within=within, whole=whole)
        )

    def summary(self) -> Summary:
        return summarize(self.arena, self.ledger, "t")
