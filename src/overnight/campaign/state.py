"""What the parts of a campaign share while it is driven."""

from __future__ import annotations

from dataclasses import dataclass

from overnight.arena.arena import Arena
from overnight.core.experiment import CampaignRecord
from overnight.record.history import History
from overnight.record.ledger import Ledger
from overnight.repo.workspace import Workspace


@dataclass(frozen=True)
class Driven:
    """A campaign in the hands of its one writer."""

    arena: Arena
    """The contract as the campaign's base commit has it."""
    record: CampaignRecord
    workspace: Workspace
    ledger: Ledger
    history: History

    @property
    def tag(self) -> str:
        return self.record.tag
