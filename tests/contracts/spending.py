"""What every ledger must know of what agents have used. Beside LedgerContract, for its fixtures."""

from __future__ import annotations

from contextlib import closing

import pytest

from contracts.processes import Place, execute
from contracts.records import COMMIT, campaign, conclude
from overnight.experiment import FREE, Closing, Idea, Usage, Verdict
from overnight.ledger import Ledger
from overnight.spent import Spent, together


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
