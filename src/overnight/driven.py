"""What the parts of a campaign share while it is driven."""

from __future__ import annotations

from dataclasses import dataclass

from overnight.arena import Arena
from overnight.experiment import CampaignRecord
from overnight.history import History
from overnight.ledger import Ledger
from overnight.workspace import Workspace


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
