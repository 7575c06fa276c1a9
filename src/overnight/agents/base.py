"""The interface of an agent: one method, and what it is given."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from overnight.arena.arena import Arena
from overnight.arena.settings import AgentTable, CampaignCaps
from overnight.core.errors import AgentError, MeasurementImpossible, WorkspaceError
from overnight.core.experiment import Experiment, Idea, Verdict
from overnight.core.sections import Count, estimated_tokens
from overnight.core.usage import UNLIMITED, Allowance, Usage
from overnight.stage.secrets import name_of_key


@dataclass(frozen=True)
class Workbench:
    """Everything an agent gets for one proposal."""

    arena: Arena
    folder: Path
    """The arena's folder in a private worktree: edit files here."""
    private: Path
    """The folder that holds the worktree, `tree`, and an agent program's own `tmp` and `home`."""
    brief: str
    """What the agent is told (see briefing/brief.py)."""
    n: int
    """Number of the experiment that this proposal is for."""
    start: Experiment
    """The experiment whose candidate is in the folder: the newest keep, provisional or not, or an
    earlier one."""
    history: Sequence[Experiment]
    """Every finished experiment of this campaign, the baseline first."""
    prior: Sequence[Experiment]
    """Experiments of earlier campaigns in the same arena."""
    transcript: Path
    """The file for the agent's output, kept with the experiment's logs."""
    sandbox: str | None = None
    """Name of the sandbox that confines an agent program; None: the strongest that works here."""
    family: str = ""
    """Marks the processes of this campaign, so that leftovers can be found and ended."""
    allowance: Allowance = UNLIMITED
    """The most dollars, tokens and seconds that this proposal may use."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the campaign is stopped at once: return soon."""
    edited: Callable[[], bool] = lambda: True
    """Whether any editable file in the folder differs now from what it was."""
    refusal: Callable[[], str | None] = lambda: None
    """Why the folder, as it is now, would be refused as a program that was tried before; None: it
    is new. For agents that can choose another change."""

    @property
    def start_name(self) -> str:
        """For messages: `#3, which is provisional and on no branch`."""
        if self.start.verdict is Verdict.PROVISIONAL:
            return f"#{self.start.n}, which is provisional and on no branch"
        return f"#{self.start.n}, the {'incumbent' if self.start.n else 'baseline'}"


@dataclass(frozen=True)
class Reader:
    """How an agent wants its briefs."""

    tokens: int = 10_000
    """Most tokens in a brief."""
    count: Count = estimated_tokens
    """Counts tokens, by the tokenizer of the agent's model where that is known."""
    edits: bool = True
    """Whether the agent edits files in the worktree, and describes its change in a file there."""


@runtime_checkable
class BriefReader(Protocol):
    """An agent that says how it wants its briefs."""

    @property
    def reader(self) -> Reader: ...


class Agent(Protocol):
    """Whatever proposes a change."""

    @property
    def name(self) -> str:
        """The agent's name in the ledger."""
        ...

    def propose(self, bench: Workbench) -> Idea | None:
        """Change editable files below `bench.folder` and describe the change.

        None: there is nothing left to propose.
        Raises AgentError when this proposal failed; the agent is asked again later.
        """
        ...


@dataclass(frozen=True)
class TableAgent:
    """An agent that a table [agents.NAME] in arena.toml describes."""

    name: str
    table: AgentTable
    heeds_brief: ClassVar[bool] = True
    """Whether a hint in the brief changes what it proposes."""

    @property
    def reader(self) -> Reader:
        return Reader(self.table.brief)


def is_free(agent: Agent) -> bool:
    """Whether its proposals cost nothing, because they use no model."""
    return bool(getattr(agent, "free", False))


def heeds_brief(agent: Agent) -> bool:
    """Whether a hint in the brief changes what it proposes."""
    return bool(getattr(agent, "heeds_brief", False))


def unreported(agent: Agent) -> frozenset[str]:
    """Which of `dollars` and `tokens` it never reports."""
    return frozenset(getattr(agent, "unreported", ()))


def table_of(agent: Agent) -> AgentTable | None:
    """Its table [agents.NAME], if it has one."""
    table = getattr(agent, "table", None)
    return table if isinstance(table, AgentTable) else None


def access_of(agent: Agent) -> AgentTable | None:
    """Its table, extended by the keys and sign-in files that it may read."""
    access = getattr(agent, "access", None)
    return access if isinstance(access, AgentTable) else table_of(agent)


def caps_of(agent: Agent) -> CampaignCaps:
    """What it may use in a campaign; no caps without a table."""
    table = table_of(agent)
    return table.campaign if table else CampaignCaps()


def key_of(table: AgentTable) -> str | None:
    """The value of the key that the table names; None: LiteLLM looks for the provider's own
    variables. A server of the user's own gets "none" rather than a provider's key."""
    if key := os.environ.get(name_of_key(table.env) or ""):
        return key
    return "none" if table.url else None


@contextmanager
def charged(name: str, bench: Workbench, usage: Callable[[], Usage]) -> Iterator[None]:
    """Notes what the proposal has used in any failure within: it counts, whatever failed
    afterwards. A failure of anything but the machine becomes an AgentError, with its traceback in
    the transcript."""
    try:
        yield
    except AgentError:
        raise
    except (WorkspaceError, MeasurementImpossible) as error:
        error.usage = usage()
        raise
    except Exception as error:
        raise failed(name, bench, error, usage()) from error


def failed(
    name: str, bench: Workbench, error: BaseException, usage: Usage | None = None
) -> AgentError:
    """The error of an agent whose own code has failed; call it while that failure is handled. Its
    traceback is appended to the transcript."""
    with suppress(OSError), bench.transcript.open("a", encoding="utf-8") as transcript:
        transcript.write(traceback.format_exc())
    words = f"{name} failed: {type(error).__name__}: {error}; see {bench.transcript}"
    return AgentError(words, usage=usage)


class Rejected(AgentError):
    """A proposal with a title that cannot become a candidate: a patch that does not apply."""

    def __init__(self, message: str, idea: Idea, verdict: Verdict = Verdict.STALE) -> None:
        super().__init__(message)
        self.idea = idea
        self.verdict = verdict
