"""What comes next, from any book that a campaign reaches: never twice, never at odds, to an end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from overnight.arena.arena import Arena
from overnight.campaign.wanted import Ahead, Wanted, due_verdicts, wanted
from overnight.core.experiment import (
    CampaignRecord,
    Experiment,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
)
from overnight.core.under_way import UnderWay
from overnight.judge.base import Judge
from overnight.judge.rules import judge_for
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from overnight.search.strategy import HillClimb
from toy import ARENA, write_toy

RULES = {
    "confirm": "\n[judge]\nmax_repeats = 4\nsimplify = true\nmargin = 0.5\n",
    "threshold": '\n[judge]\nrule = "threshold"\nrepeats = 3\ngain = 0.1\n',
    "greedy": '\n[judge]\nrule = "greedy"\n',
}
MORE = {
    "plain": "",
    "checked and examined": (
        '\n[checks]\nsome = "true"\n\n[holdout]\ncommand = "true"\nevery = 2\n\n'
        "[constraints]\nx = { max = 3 }\n"
    ),
}
EXPERIMENTS = 9
MOST_STEPS = 400
"""More than a campaign of so many experiments takes."""
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where a transaction need not wait for a disk."""


@contextmanager
def campaign(text: str) -> Iterator[Callable[[], Book]]:
    """Reads the book of a campaign without any experiment, again and again."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        arena = Arena.load(write_toy(Path(folder) / "arena", ARENA + text))
        ledger = Ledger.at(Path(folder) / "ledger.db", arena.name)
        ledger.add_campaign(CampaignRecord("t", arena.name, "b", "c" * 40, datetime.now(UTC)))
        yield lambda: Book.of(arena, ledger, "t")
        ledger.close()


class Driver:
    """Does what is wanted, in the order and with the results that hypothesis chooses."""

    def __init__(self, read: Callable[[], Book], draw: Callable[[object], object]) -> None:
        self.read = read
        self.book = read()
        self.judge: Judge = judge_for(self.book.arena)
        self.draw = draw
        self.slots = self._one_of([1, 1, 2, 3])
        self.end: Ahead | None = None

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            while closings := due_verdicts(self.book, self.judge):
                self.check_verdicts(closings)
                self.book.conclude(closings)
            ahead = self.end or Ahead()
            found = wanted(self.book, self.judge, ahead, self.slots - len(self.book.under_way))
            self.check(found)
            for one in found:
                self.book.begin(one.measurement, one.round, one.pair)
            if self.book.under_way:
                self.finish_one()
            elif self.end:
                return
            else:
                self.add_or_end()
            if self._one_of([False] * 9 + [True]):
                self.kill()
        raise AssertionError("it goes on for ever")

    def check(self, found: Sequence[Wanted]) -> None:
        """No job is asked for twice, and none that another makes pointless."""
        book = self.book
        every = [*book.under_way, *(one.measurement for one in found)]
        assert len(every) <= self.slots
        keys = [(m.n, m.purpose) for m in every]
        assert len(set(keys)) == len(keys), "one measurement of a kind at a time"
        deciding = [m for m in every if m.purpose in (Purpose.JUDGE, Purpose.CHECK)]
        numbers = [m.n for m in deciding]
        assert len(set(numbers)) == len(numbers), "a check waits for the last measurement"
        unfinished = {e.n for e in book.unfinished}
        for m in deciding:
            assert m.pair is None or not unfinished, "no trial beside an open question"
            if m.n not in unfinished:
                assert m.n in {book.tip.n, book.incumbent.n}, "nobody waits for this score"
        seeds = [m.seed for m in every if m.purpose is Purpose.JUDGE and m.pair is None]
        if self.judge.fresh_seeds:
            assert len(set(seeds)) == len(seeds)
        for m in every:
            assert m.purpose is not Purpose.HOLDOUT or m.n not in book.exams

    def check_verdicts(self, closings: dict[int, object]) -> None:
        stack = [e.n for e in self.book.lineage.provisional] if self.book.begun else []
        unfinished = [e.n for e in self.book.unfinished]
        numbers = sorted(closings)
        assert numbers == stack[-len(numbers) :] or (len(numbers) == 1 and numbers[0] in unfinished)

    def finish_one(self) -> None:
        under_way = self._one_of(self.book.under_way)
        self.book.enter(under_way.id, self.taken(under_way))

    def taken(self, m: UnderWay) -> Measurement | None:
        done = Measurement(m.candidate, m.seed, m.started, Outcome.FINISHED, purpose=m.purpose)
        if m.purpose is Purpose.CHECK:
            failed = replace(done, outcome=Outcome.REFUSED, detail="a check failed")
            return done if m.n == 0 else self._one_of([done, done, done, failed])
        level = {"x": self.level(m.n)}
        fine = replace(done, score=self.level(m.n) + self._noise(), numbers=level)
        if m.n == 0:
            return fine
        failed = replace(done, outcome=Outcome.CRASHED, detail="it fell")
        return self._one_of([fine] * 8 + [failed, None])

    def level(self, n: int) -> float:
        """The true score of an experiment's candidate, lower is better."""
        return 3.0 - (hash((n, "level")) % 7 - 2) * 0.4 if n else 3.0

    def add_or_end(self) -> None:
        book, n = self.book, self.book.next_number
        now, candidate = datetime.now(UTC), f"{n:040x}"
        if n == 0:
            book.add(Experiment(0, "baseline", now, candidate=candidate))
            return
        starts = HillClimb().wanted(book, 1)
        assert starts, "nothing is under way, so the next change is due"
        if n > EXPERIMENTS:
            self.end = Ahead(ending=True)
            return
        start = starts[0]
        e = Experiment(n, "a", now, start=start.start.n, against=start.against.n)
        e = replace(e, candidate=candidate, parent=start.against.candidate)
        if self._one_of([False] * 6 + [True]):
            e = replace(e, candidate=None, verdict=Verdict.INVALID, reason="no", ended=now)
        book.add(replace(e, simplifies=self._one_of([False, False, True])))

    def kill(self) -> None:
        """The driver dies: what was running is lost, everything else is in the ledger."""
        self.book.ledger.drop_running("t")
        self.book = self.read()

    def _one_of(self, choices):  # type: ignore[no-untyped-def]
        return self.draw(st.sampled_from(choices))

    def _noise(self) -> float:
        return self._one_of([-1.5, -0.5, -0.2, 0.0, 0.0, 0.1, 0.3, 0.9])


def explore(rule: str, more: str, data: st.DataObject) -> None:
    with campaign(RULES[rule] + MORE[more]) as read:
        Driver(read, data.draw).run()
        book = read()
        assert not book.unfinished and not book.under_way
        assert book.latest.n == EXPERIMENTS
        if book.arena.holdout:
            assert {0, book.incumbent.n} <= book.exams.keys() or book.incumbent.is_member


OPTIONS = dict(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # to shrink a campaign takes minutes and tells little
)


def many(rule: str, more: str, examples: int) -> None:
    run = given(st.data())(lambda data: explore(rule, more, data))
    settings(max_examples=examples, **OPTIONS)(run)()  # type: ignore[arg-type]


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("rule", RULES)
def test_a_campaign_in_any_order_asks_for_nothing_twice_and_ends(rule: str, more: str) -> None:
    many(rule, more, 4)


@pytest.mark.slow
@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("rule", RULES)
def test_many_campaigns_in_any_order_ask_for_nothing_twice_and_end(rule: str, more: str) -> None:
    many(rule, more, 40)
