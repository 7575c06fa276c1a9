"""Every error that overnight raises on purpose.

OvernightError
├── UsageError                 what the person asked for cannot be done as asked
│   ├── ArenaError             arena.toml or the arena's files are wrong
│   ├── NoCampaign             there is no such campaign (yet)
│   └── WorkspaceError         the git repository is not in a state to work with
├── CampaignBusy               another process is driving this campaign
├── LedgerError                the record cannot be read or written
├── MeasurementImpossible      nothing can be measured here (setup or baseline failed)
└── AgentError                 an agent failed to propose anything

Each message names the thing, what was found, what was expected and the next step;
the command line prints it without a traceback. Anything else that escapes is a bug.
"""

from __future__ import annotations

from enum import StrEnum

from overnight.core.interrupts import EXIT_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overnight.core.usage import Usage


class Trouble(StrEnum):
    """What kept an agent from proposing anything."""

    NO_CHANGE = "no change"
    """It ended without an edit of an editable file, or with one that cannot be used."""
    RATE = "rate limit"
    OVERLOAD = "overload"
    NETWORK = "network"
    SIGN_IN = "sign-in"
    """Its key or its sign-in was refused: nothing but a person helps."""
    CREDIT = "credit"
    """Its account is used up: nothing but a person helps."""
    HUNG = "hung"
    """It did nothing until its time was over."""
    LIMIT = "limit"
    """Its share of tokens, dollars or turns was used up."""
    SPENT = "spent"
    """What the campaign's caps leave is not enough for a proposal of it."""
    BROKEN = "broken"
    """Its program is missing, crashed, or spoke what nobody understands."""

    @property
    def passes(self) -> bool:
        """Whether it may help to wait and ask again."""
        return self in (Trouble.RATE, Trouble.OVERLOAD, Trouble.NETWORK)

    @property
    def stays(self) -> bool:
        """Whether nothing but a person helps."""
        return self in (Trouble.SIGN_IN, Trouble.CREDIT)


class OvernightError(Exception):
    """Base of the family. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(OvernightError):
    """What the person asked for cannot be done as asked."""

    exit_code = 2


class ArenaError(UsageError):
    """arena.toml, or the files it speaks of, are wrong."""


class NoCampaign(UsageError):
    """The arena has no campaign yet, or none of that name."""


class WorkspaceError(UsageError):
    """The git repository is not in a state that overnight can work with."""


class CampaignBusy(OvernightError):
    """Another living process drives this campaign."""


class LedgerError(OvernightError):
    """The ledger cannot be opened, read or written."""


class MeasurementImpossible(OvernightError):
    """Not even the baseline can be measured."""

    exit_code = 4


class AgentError(OvernightError):
    """An agent failed; its experiment is recorded as invalid and the campaign goes on."""

    def __init__(
        self,
        message: str,
        trouble: Trouble = Trouble.BROKEN,
        usage: Usage | None = None,
        wait: float = 0.0,
    ) -> None:
        """`usage`: what was used all the same. `wait`: seconds that its server asks to be left
        alone for, where it says so."""
        super().__init__(message)
        self.trouble = trouble
        self.usage = usage
        self.wait = wait


class Interrupted(OvernightError):
    """Ctrl-C, or SIGTERM, where there is nothing to go on from."""

    exit_code = EXIT_CODE
