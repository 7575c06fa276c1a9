"""A campaign for tests of what the user sees, written into a ledger as a campaign writes it."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Experiment,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
)
from overnight.core.under_way import UnderWay
from overnight.core.usage import FREE, Usage
from overnight.record.book import Book
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
        self._book = Book(self.arena, self.ledger, record)

    def book(self) -> Book:
        """Its driver's book."""
        return self._book

    def summary(self) -> Summary:
        return summarize(self._book)

    def propose(
        self,
        description: str = "a change",
        hypothesis: str = "",
        usage: Usage = FREE,
        **more: object,
    ) -> Experiment:
        """A new experiment with a candidate, of an agent that thought for half a second; the first
        is the baseline."""
        book, n, now = self._book, self._book.next_number, datetime.now(UTC)
        e = Experiment(n, "tuner", now, candidate=f"{n:040x}", description=description)
        e = replace(e, hypothesis=hypothesis or f"why {n}", **more)  # type: ignore[arg-type]
        if not book.begun:
            return book.add(e)
        tip = book.tip
        asked = book.ask(e.agent, tip.n, tip.n)
        ended = replace(asked, usage=usage, thought=0.5, outcome="candidate", n=n)
        e = replace(e, start=tip.n, against=tip.n, parent=tip.candidate, proposal=ended)
        return book.add(e)

    def begin(self, n: int, purpose: Purpose = Purpose.JUDGE) -> UnderWay:
        """A measurement of experiment n begins."""
        at, now = self._book.measured, datetime.now(UTC)
        return self._book.begin(UnderWay(0, n, f"{n:040x}", purpose, at, at, None, now))

    def measure(self, n: int, score: float, purpose: Purpose = Purpose.JUDGE) -> None:
        """A measurement of experiment n is taken."""
        begun = self.begin(n, purpose)
        reported = {"loss": math.nan, "claimed": 7.0}
        taken = Measurement(
            begun.candidate,
            begun.seed,
            datetime.now(UTC),
            Outcome.FINISHED,
            score,
            reported=reported,
            purpose=purpose,
            at=begun.at,
        )
        self._book.enter(begun.id, taken)

    def add(
        self,
        score: float | Verdict,
        description: str = "a change",
        reason: str = "because",
        verdict: Verdict | None = None,
        hypothesis: str = "",
        simpler: bool = False,
        within: int | None = None,
        whole: float | None = None,
        expected: float | None = None,
        usage: Usage = FREE,
        agent: str = "tuner",
    ) -> None:
        """An experiment with this score, kept if it is better unless a verdict is given; or one
        that failed so."""
        best = self._book.incumbent if self._book.begun else None
        e = self.propose(description, hypothesis, usage, expected=expected, agent=agent)
        if isinstance(score, Verdict):
            self._book.conclude({e.n: Closing(score, reason)})
            return
        self.measure(e.n, score)
        orient = self.arena.metric.orient
        gain = orient(score) - orient(best.score) if best and best.score is not None else None
        verdict = verdict or (Verdict.KEEP if gain is None or gain > 0 else Verdict.DISCARD)
        closing = Closing(verdict, reason, score, gain, None, None, simpler, within, whole)
        self._book.conclude({e.n: closing})

    def lengthen(self, number: int, *like: int) -> None:
        """Let experiments like these, in turn, have happened until the newest has this number."""
        taken = " UNION ALL ".join(f"SELECT {n} AS n, {place} AS m" for place, n in enumerate(like))
        with closing(sqlite3.connect(self.arena.ledger_place)) as connection, connection:
            for table in ("experiments", "measurements", "proposals"):
                info = connection.execute(f"PRAGMA table_info({table})")
                columns = ", ".join(row[1] for row in info if row[1] not in ("id", "n"))
                values = columns.replace(" description,", " description || ' ' || k,")
                connection.execute(
                    f"WITH RECURSIVE up(k) AS (SELECT {self._book.next_number} "
                    f"UNION ALL SELECT k + 1 FROM up WHERE k < {number}), taken AS ({taken}) "
                    f"INSERT INTO {table} (n, {columns}) SELECT k, {values} FROM up "
                    f"JOIN taken ON m = k % {len(like)} JOIN {table} USING (n)"
                )
        self._book = Book(self.arena, self.ledger, self._book.record)
