"""What every ledger must know of what agents have used. Beside LedgerContract, for its fixtures."""

from __future__ import annotations

from dataclasses import replace

from contracts.records import campaign, proposed
from overnight.core.spending import Spent, together
from overnight.core.usage import FREE, UNKNOWN, Usage
from overnight.record.ledger import Ledger


class SpendingContract:
    def test_each_agent_has_an_account_of_its_proposals_that_have_ended(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        proposed(ledger, 1, "claude", Usage(900, 100, 50, 0.25))
        proposed(ledger, 2, "codex", Usage(10**11))
        proposed(ledger, 3, "claude", Usage(None, None, 7, 0.5))
        proposed(ledger, 4, "claude", UNKNOWN)
        proposed(ledger, 5, "tuner", FREE)
        accounts = [
            Spent("claude", 3, 2, 0.75, 2, 957, 6.0),
            Spent("codex", 1, 0, 0.0, 1, 10**11, 2.0),
            Spent("tuner", 1, 1, 0.0, 1, 0, 2.0),
        ]
        assert other.spent("jul1") == accounts
        assert together(accounts) == Spent("", 5, 3, 0.75, 4, 10**11 + 957, 10.0)
        ledger.add_campaign(campaign("jul2"))
        assert other.spent("jul2") == []

    def test_a_proposal_that_came_to_no_experiment_is_on_the_account(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        open_ = [ledger.open_proposal("jul1", name, 0, 0) for name in ("claude", "new", "claude")]
        assert other.spent("jul1") == [], "nothing is known yet"
        stopped = replace(open_[0], usage=Usage(800, None, 43, 0.25), thought=4.0)
        ledger.end_proposal("jul1", replace(stopped, outcome="stopped"))
        ledger.end_proposal("jul1", replace(open_[1], outcome="lost", thought=6.5))
        proposed(ledger, 1, "claude", Usage(dollars=1.0))
        assert other.spent("jul1") == [
            Spent("claude", 2, 2, 1.25, 1, 843, 6.0),
            Spent("new", 1, 0, 0.0, 0, 0, 6.5),
        ]
