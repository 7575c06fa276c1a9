"""The book: after every change it is what a book is that is read from the ledger anew."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.records import campaign
from overnight.arena.arena import Arena
from overnight.core.errors import NoCampaign
from overnight.core.experiment import Closing, Experiment, Measurement, Outcome, Purpose, Verdict
from overnight.core.under_way import Pair, Round, UnderWay
from overnight.core.usage import FREE, UNKNOWN, Usage
from overnight.record import book as module
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from toy import write_toy

WINDOW = 5
"""Experiments that these books hold beside the keeps: few, so that some are forgotten."""
TEXTS = ["a title", "nul \0 and half \ud83d", ""]
VERDICTS = [*Verdict, Verdict.KEEP, Verdict.PROVISIONAL]


def state(book: Book) -> dict[str, object]:
    """All that a book knows."""
    known = {name: value for name, value in vars(book).items() if not name.startswith("_")}
    for name in ("arena", "ledger", "version"):
        del known[name]
    for name in ("finished", "recent", "begun", "keeps", "next_number", "place", "spent", "prior"):
        known[name] = list(value) if isinstance(value := getattr(book, name), tuple) else value
    if book.begun:
        for name in ("baseline", "incumbent", "tip", "latest"):
            known[name] = getattr(book, name)
        known["stack"] = list(book.stack)
    return known


class Changes:
    """Random changes of a campaign, in any order that a campaign with many slots may make."""

    def __init__(self, book: Book, chance: random.Random) -> None:
        self.book = book
        self._chance = chance

    def make_one(self) -> None:
        acts: list[Callable[[], object]] = [self._note, self._add]
        if self.book.begun:
            acts += [self._ask, self._ask]
        if self.book.asked:
            acts += [self._end, self._add, self._add]
        if self.book.unfinished or self.book.begun:
            acts += [self._begin, self._begin]
        if self.book.under_way:
            acts += [self._enter] * 3
        if self._open():
            acts += [self._conclude] * 2
        self._chance.choice(acts)()

    def _note(self) -> None:
        self.book.note("trouble", words=self._chance.choice(TEXTS))

    def _ask(self) -> None:
        start, against = self._chance.choice(self.book.finished), self.book.tip
        agent = self._chance.choice(["codex", "tuner", "x \0"])
        usage = FREE if agent == "tuner" else UNKNOWN
        self.book.ask(agent, start.n, against.n, usage)

    def _usage(self) -> Usage:
        dollars = self._chance.choice([None, 0.25, 8.0])
        return Usage(self._chance.choice([None, 10**9]), None, self._chance.randint(0, 9), dollars)

    def _end(self) -> None:
        asked = self._chance.choice(self.book.asked)
        self.book.end(replace(asked, outcome="stopped", usage=self._usage()))

    def _add(self) -> None:
        n, now = self.book.next_number, datetime.now(UTC)
        text, expected = self._chance.choice(TEXTS), self._chance.choice([None, 0.5])
        e = Experiment(n, "tuner", now, candidate="c", description=text, expected=expected)
        if self.book.asked and n:
            asked = self._chance.choice(self.book.asked)
            ended = replace(asked, outcome="candidate", usage=self._usage(), thought=1.5, n=n)
            e = replace(e, agent=asked.agent, start=asked.start, proposal=ended)
        if n and self._chance.random() < 0.2:
            e = replace(e, candidate=None, verdict=Verdict.INVALID, reason=text, ended=now)
        self.book.add(e)

    def _begin(self) -> None:
        e = self._chance.choice([*self.book.unfinished, *self.book.finished])
        planned = UnderWay(
            id=0,
            n=e.n,
            candidate="c",
            purpose=self._chance.choice([*Purpose, *[Purpose.JUDGE] * 5]),
            seed=self.book.measured,
            at=self.book.measured,
            pair=None,
            started=datetime.now(UTC),
        )
        round = pair = None
        if self._chance.random() < 0.3:
            number = self.book.rounds[-1].number if self.book.rounds else 0
            if number == 0 or self._chance.random() < 0.5:
                round = Round(number := number + 1, e.n, 0, self.book.measured, e.n)
            newest = self.book.pair.number if self.book.pair else 0
            pair = Pair(newest + 1, number, e.n, 0, planned.seed, planned.at)
            planned = replace(planned, pair=pair.number)
        self.book.begin(planned, round, pair)

    def _enter(self) -> None:
        begun = self._chance.choice(self.book.under_way)
        outcome = self._chance.choice([*[Outcome.FINISHED] * 4, Outcome.CRASHED, None])
        taken = None
        if outcome is not None:
            score = float(self._chance.randint(0, 9)) if outcome is Outcome.FINISHED else None
            text, now = self._chance.choice(TEXTS), datetime.now(UTC)
            taken = Measurement("c", begun.seed, now, outcome, score, {"x": math.inf}, detail=text)
            taken = replace(taken, purpose=begun.purpose, at=begun.at, pair=begun.pair)
        self.book.enter(begun.id, taken)

    def _open(self) -> list[Experiment]:
        provisional = self.book.lineage.provisional if self.book.begun else []
        return [*self.book.unfinished, *provisional]

    def _conclude(self) -> None:
        open_ = self._chance.sample(self._open(), self._chance.randint(1, len(self._open())))
        self.book.conclude(
            {
                e.n: Closing(
                    Verdict.KEEP if e.n == 0 else self._chance.choice(VERDICTS),
                    self._chance.choice(TEXTS),
                    *(self._chance.choice([None, 2.5]) for _ in range(2)),
                    interval=self._chance.choice([None, (1.0, math.inf)]),
                    candidate=self._chance.choice([None, "final"]),
                )
                for e in open_
            },
            *[("prune", {"n": open_[0].n})] * self._chance.randint(0, 1),
        )


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    return Arena.load(write_toy(tmp_path_factory.mktemp("arena")))


@pytest.mark.parametrize("seed", range(4))
def test_after_every_change_it_equals_a_book_that_is_read_anew(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(module, "RECENT", WINDOW)
    ledger = Ledger.at(tmp_path / "ledger.db", arena.name)
    ledger.add_campaign(campaign("t"))
    book = Book.of(arena, ledger, "t", WINDOW)
    changes = Changes(book, random.Random(seed))
    for _ in range(40):
        before = book.version
        changes.make_one()
        assert book.version > before
        assert state(book) == state(Book.of(arena, ledger, "t", WINDOW))
    ledger.close()


def test_what_was_measured_after_a_verdict_is_known_when_the_clock_is_set_back(
    arena: Arena, tmp_path: Path
) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db", arena.name)
    ledger.add_campaign(campaign("t"))
    book = Book.of(arena, ledger, "t")

    def measure(score: float, ago: timedelta) -> None:
        now = datetime.now(UTC) - ago
        planned = UnderWay(0, 1, "c", Purpose.JUDGE, book.place, book.place, None, now)
        begun = book.begin(planned)
        taken = Measurement("c", begun.seed, now, Outcome.FINISHED, score, at=begun.at)
        book.enter(begun.id, taken)

    book.add(Experiment(1, "a", datetime.now(UTC), candidate="c"))
    measure(1.0, timedelta())  # lucky
    (chosen,) = book.conclude({1: Closing(Verdict.PROVISIONAL, "", 1.0)})
    assert chosen.judged_after(chosen) == () and chosen.score == 1.0
    for score in (2.0, 4.0):
        measure(score, timedelta(hours=1))
    again = book.find(1)
    assert again and [m.score for m in again.judged_after(again)] == [2.0, 4.0]
    assert again.score == 3.0, "the score that it was chosen for does not count"
    ledger.close()


def test_no_two_measurements_get_one_place_when_an_earlier_one_is_dropped(
    arena: Arena, tmp_path: Path
) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db", arena.name)
    ledger.add_campaign(campaign("t"))
    book = Book.of(arena, ledger, "t")
    book.add(Experiment(0, "a", datetime.now(UTC), candidate="c"))
    begun = []
    for _ in range(2):
        planned = UnderWay.planned(0, "c", Purpose.JUDGE, book.place, book.place)
        begun.append(book.begin(planned))
    book.enter(begun[0].id, None)
    assert book.place not in {one.at for one in begun}
    ledger.close()


def test_a_campaign_that_there_is_not_is_named(arena: Arena, tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "ledger.db", arena.name)
    with pytest.raises(NoCampaign, match="there is no campaign never"):
        Book.of(arena, ledger, "never")
    ledger.close()
