"""What every ledger must know of what agents have used. Beside LedgerContract, for its fixtures."""

from __future__ import annotations

from contextlib import closing

import pytest

from contracts.processes import Place, execute
from contracts.records import COMMIT, campaign, conclude
from overnight.core.experiment import Closing, Idea, Verdict
from overnight.core.spending import Spent, together
from overnight.core.usage import FREE, Usage
from overnight.record.ledger import Ledger


def ask(ledger: Ledger, n: int, agent: str, usage: Usage, verdict: Verdict | None) -> None:
    """A proposal that took 2 s, and what became of it."""
    ledger.open_experiment("jul1", n, agent, COMMIT)
    ledger.record_candidate("jul1", n, COMMIT, Idea("t", usage=usage), (), thought=2.0)
    if verdict:
        ledger.close_experiment("jul1", n, Closing(verdict, "so"))


def fill(ledger: Ledger) -> None:
    ask(ledger, 0, "baseline", Usage(), Verdict.KEEP)
    ask(ledger, 1, "claude", Usage(900, 100, 50, 0.25), Verdict.KEEP)
    ask(ledger, 2, "codex", Usage(10**11), Verdict.CRASH)
    ask(ledger, 3, "claude", Usage(None, None, 7, 0.5), Verdict.INVALID)
    ask(ledger, 4, "claude", Usage(), Verdict.STALE)
    ask(ledger, 5, "tuner", FREE, Verdict.DISCARD)
    ask(ledger, 6, "claude", Usage(dollars=9.0), None)


ACCOUNTS = [
    Spent("claude", 3, 2, 0.75, 2, 957, 6.0),
    Spent("codex", 1, 0, 0.0, 1, 10**11, 2.0),
    Spent("tuner", 1, 1, 0.0, 1, 0, 2.0),
]


class SpendingContract:
    def test_each_agent_has_an_account_of_what_it_used(self, ledger: Ledger, other: Ledger) -> None:
        fill(ledger)
        assert other.spent("jul1") == ACCOUNTS
        assert together(ACCOUNTS) == Spent("", 5, 3, 0.75, 4, 10**11 + 957, 10.0)
        ledger.add_campaign(campaign("jul2"))
        assert other.spent("jul2") == []

    def test_what_is_dropped_is_taken_off_the_account(self, ledger: Ledger) -> None:
        fill(ledger)
        for n in (6, 3):
            ledger.drop_experiment("jul1", n)
        assert ledger.spent("jul1")[0] == Spent("claude", 2, 1, 0.25, 1, 950, 4.0)

    def test_what_came_to_no_experiment_is_on_the_account_once(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        fill(ledger)
        ledger.open_experiment("jul1", 7, "new", COMMIT)
        ledger.open_experiment("jul1", 8, "tuner", COMMIT, FREE)
        ledger.open_experiment("jul1", 9, "claude", COMMIT)
        for _ in range(2):
            ledger.abandon_experiment("jul1", 7, thought=6.5)
            ledger.abandon_experiment("jul1", 8)
            ledger.abandon_experiment("jul1", 9, Usage(800, None, 43, 0.25), 4.0)
        claude, codex, new, tuner = other.spent("jul1")
        assert claude == Spent("claude", 4, 3, 1.0, 3, 1800, 10.0) and codex == ACCOUNTS[1]
        assert new == Spent("new", 1, 0, 0.0, 0, 0, 6.5)
        assert (tuner.proposals, tuner.free, tuner.uncounted) == (2, True, 0)
        assert [e.n for e in other.experiments("jul1")] == list(range(7)), "the numbers are free"

    def test_what_has_a_candidate_or_a_verdict_is_not_abandoned(self, ledger: Ledger) -> None:
        fill(ledger)
        ledger.open_experiment("jul1", 7, "claude", COMMIT)
        ledger.close_experiment("jul1", 7, Closing(Verdict.INVALID, "so"))
        before = ledger.spent("jul1")
        for n in range(8):
            ledger.abandon_experiment("jul1", n, Usage(dollars=1.0))
        assert ledger.spent("jul1") == before and len(ledger.experiments("jul1")) == 8

    def test_what_was_used_is_told_from_a_number_and_an_event_on(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        assert ledger.used("jul1", 1) == Usage()
        for dollars in (1.0, 2.0):
            ledger.open_experiment("jul1", 1, "claude", COMMIT)
            ledger.abandon_experiment("jul1", 1, Usage(10, None, 5, dollars))
        ask(ledger, 1, "claude", Usage(900, 100, 50, 0.25), Verdict.KEEP)
        first, second = (event.id for event in other.events("jul1", "spent"))
        assert other.used("jul1", 1) == Usage(920, 100, 60, 3.25)
        assert other.used("jul1", 1, since=first) == Usage(910, 100, 55, 2.25)
        assert other.used("jul1", 2, since=second) == Usage()

    def test_the_accounts_of_an_older_ledger_are_made_from_its_experiments(
        self, ledger: Ledger, place: Place
    ) -> None:
        fill(ledger)
        ledger.close()
        execute(place, "DROP TABLE spent")
        execute(place, "UPDATE experiments SET dollars = NULL, tokens_in = NULL WHERE n = 5")
        execute(place, "UPDATE overnight_schema SET version = 5")
        with closing(Ledger.at(place, "toy", create=False)) as upgraded:
            assert upgraded.spent("jul1") == ACCOUNTS
            upgraded.close_experiment("jul1", 6, Closing(Verdict.DISCARD, "so"))
            conclude(upgraded, 7, Verdict.DISCARD)
            claude, _, tuner = upgraded.spent("jul1")
        assert claude.dollars == pytest.approx(9.75) and claude.unpriced == 1
        assert (tuner.proposals, tuner.priced) == (2, 1)
