"""The whole interface of an agent: one method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable, CampaignCaps
from overnight.core.errors import AgentError
from overnight.core.experiment import Experiment, Idea, Verdict
from overnight.core.sections import Count, estimated_tokens
from overnight.core.usage import UNLIMITED, Allowance


@dataclass(frozen=True)
class Workbench:
    """Everything an agent gets for one proposal."""

    arena: Arena
    folder: Path
    """The arena's folder in a private worktree of the incumbent: edit files here."""
    place: Path
    """The folder of that worktree, `tree`, and of an agent program's private ones, `tmp` and
    `home`."""
    brief: str
    """What there is to know, as text (see brief.py)."""
    n: int
    """Number of the experiment that this proposal is for."""
    incumbent: Experiment
    """What the change is made to: the newest keep, provisional or not."""
    history: Sequence[Experiment]
    """Every finished experiment of this campaign, the baseline first."""
    prior: Sequence[Experiment]
    """Experiments of earlier campaigns in the same arena."""
    transcript: Path
    """File for whatever the agent program says; kept with the experiment's logs."""
    sandbox: str | None = None
    """Name of the back end that confines an agent program; None: the strongest that works."""
    family: str = ""
    """Names the processes of this campaign, so that strays can be found and ended."""
    allowance: Allowance = UNLIMITED
    """What this proposal may use at most of dollars and tokens."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the campaign is being stopped at once: return soon."""
    edited: Callable[[], bool] = lambda: True
    """Whether an editable file of the folder, as it stands, is another than it was."""
    refusal: Callable[[], str | None] = lambda: None
    """Why the folder, as it stands, would be refused as a program that was there before, in a
    sentence; None when it is new. To be asked before a proposal is handed in."""

    @property
    def parent_words(self) -> str:
        """What the change is made to, in words: `#3, which is provisional and on no branch`."""
        if self.incumbent.verdict is Verdict.PROVISIONAL:
            return f"#{self.incumbent.n}, which is provisional and on no branch"
        return f"#{self.incumbent.n}, the {'incumbent' if self.incumbent.n else 'baseline'}"


@dataclass(frozen=True)
class Reader:
    """Who reads a brief."""

    tokens: int = 10_000
    """Most tokens of it."""
    count: Count = estimated_tokens
    """By its model's tokenizer, where that is known."""
    edits: bool = True
    """Whether it works in the worktree, and says what it did in files there."""


@runtime_checkable
class BriefReader(Protocol):
    """An agent that says how it wants its briefs."""

    @property
    def reader(self) -> Reader: ...


class Agent(Protocol):
    """Whatever proposes a change."""

    @property
    def name(self) -> str:
        """How the ledger calls it."""
        ...

    def propose(self, bench: Workbench) -> Idea | None:
        """Change editable files below `bench.folder` and say what was done.

        None means: nothing left to propose, the campaign ends.
        Raises AgentError when this proposal failed; the next experiment asks again.
        """
        ...


@dataclass(frozen=True)
class TableAgent:
    """What is known of every agent of a table [agents.NAME]."""

    name: str
    table: AgentTable
    heeds_brief: ClassVar[bool] = True

    @property
    def reader(self) -> Reader:
        return Reader(self.table.brief)


def is_free(agent: Agent) -> bool:
    """Whether its proposals cost nothing, for no model has a part in them."""
    return bool(getattr(agent, "free", False))


def unreported(agent: Agent) -> frozenset[str]:
    """Which of `dollars` and `tokens` it is known never to report."""
    return frozenset(getattr(agent, "unreported", ()))


def table_of(agent: Agent) -> AgentTable | None:
    """Its table [agents.NAME], if it has one."""
    table = getattr(agent, "table", None)
    return table if isinstance(table, AgentTable) else None


def reach_of(agent: Agent) -> AgentTable | None:
    """Its table with what it may read beside what it names: its key, its sign-in."""
    reach = getattr(agent, "reach", None)
    return reach if isinstance(reach, AgentTable) else table_of(agent)


def caps_of(agent: Agent) -> CampaignCaps:
    """What it may use in a campaign; nothing is said without a table."""
    table = table_of(agent)
    return table.campaign if table else CampaignCaps()


class Rejected(AgentError):
    """A proposal that has a name but cannot become a candidate: a patch that does not apply."""

    def __init__(self, message: str, idea: Idea, verdict: Verdict = Verdict.STALE) -> None:
        super().__init__(message)
        self.idea = idea
        self.verdict = verdict
