"""Every error that overnight raises on purpose.

OvernightError
├── UsageError                 the request cannot be carried out as given
│   ├── ArenaError             arena.toml or a file of the arena is wrong
│   ├── NoCampaign             there is no such campaign yet
│   └── WorkspaceError         the git repository cannot be used as it is
├── CampaignBusy               another process drives this campaign
├── LedgerError                the ledger cannot be opened, read or written
├── MeasurementImpossible      nothing can be measured (setup or baseline failed)
├── AgentError                 an agent failed to propose a change
└── Interrupted                Ctrl-C or SIGTERM

Each message says what is wrong, what was found and expected, and the next step; the command line
prints it without a traceback. Any other exception that escapes is a bug.
"""

from __future__ import annotations

from enum import StrEnum

from overnight.core.interrupts import EXIT_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overnight.core.usage import Usage


class Trouble(StrEnum):
    """Why an agent did not propose a change."""

    NO_CHANGE = "no change"
    """It ended without changing an editable file, or its change cannot be used."""
    RATE = "rate limit"
    OVERLOAD = "overload"
    NETWORK = "network"
    SIGN_IN = "sign-in"
    """Its key or sign-in was refused; only the user can fix that."""
    CREDIT = "credit"
    """Its account has no credit left; only the user can fix that."""
    HUNG = "hung"
    """It had no result when its time was up."""
    LIMIT = "limit"
    """It used up its limit of tokens, dollars or turns."""
    SPENT = "spent"
    """The campaign's caps leave too little for one of its proposals."""
    BROKEN = "broken"
    """Its program is missing, crashed, or gave an answer that cannot be read."""

    @property
    def passes(self) -> bool:
        """Whether waiting and asking again may help."""
        return self in (Trouble.RATE, Trouble.OVERLOAD, Trouble.NETWORK)

    @property
    def stays(self) -> bool:
        """Whether only the user can fix it."""
        return self in (Trouble.SIGN_IN, Trouble.CREDIT)


class OvernightError(Exception):
    """Base class. `exit_code`: exit code of the command line. `usage`: what a proposal had used
    when it failed."""

    exit_code = 1
    usage: Usage | None = None


class UsageError(OvernightError):
    """The request cannot be carried out as given."""

    exit_code = 2


class ArenaError(UsageError):
    """arena.toml, or a file that it names, is wrong."""


class NoCampaign(UsageError):
    """The arena has no campaign yet, or none with that tag."""


class WorkspaceError(UsageError):
    """The git repository cannot be used as it is."""


class CampaignBusy(OvernightError):
    """Another process drives this campaign."""


class LedgerError(OvernightError):
    """The ledger cannot be opened, read or written."""


class MeasurementImpossible(OvernightError):
    """Nothing can be measured: the setup or the baseline failed."""

    exit_code = 4


class AgentError(OvernightError):
    """An agent failed. Its experiment is recorded as invalid and the campaign goes on."""

    def __init__(
        self,
        message: str,
        trouble: Trouble = Trouble.BROKEN,
        usage: Usage | None = None,
        wait: float = 0.0,
    ) -> None:
        """`usage`: what was used nevertheless. `wait`: seconds that the server asks to wait before
        the next request; 0 if it does not say."""
        super().__init__(message)
        self.trouble = trouble
        self.usage = usage
        self.wait = wait


class Interrupted(OvernightError):
    """Ctrl-C or SIGTERM, and there is nothing to resume."""

    exit_code = EXIT_CODE
