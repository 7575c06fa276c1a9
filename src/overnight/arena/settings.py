"""The tables of arena.toml, each a validated, frozen model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from overnight.core.quantity import Duration, Size, format_dollars, format_duration
from overnight.core.spending import Spent
from overnight.core.usage import LEAST_DOLLARS, Allowance

_METRIC = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


def _machine_memory() -> int:
    """Bytes that the machine has, or the container that this is in."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", name)
        if file.is_file() and (words := file.read_text().strip()).isdigit():
            limits.append(int(words))
    return min(limits)


class Table(BaseModel):
    """What every table is: frozen, strict, and closed to keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metric(Table):
    """What is measured, and which way is better."""

    name: str = Field(pattern=_METRIC)
    """Its key in the referee's JSON, or in the run's `key: value` lines without a referee."""
    direction: Literal["minimize", "maximize"]
    unit: str = ""
    min_gain: FiniteFloat = Field(default=0.0, ge=0)
    """Smaller gains are not worth keeping, in units of the metric."""
    best_possible: FiniteFloat | None = None
    """A score beyond it cannot be true: invalid."""

    def orient(self, score: float) -> float:
        """The score such that larger is better; its own inverse."""
        return -score if self.direction == "minimize" else score


class Setup(Table):
    """Trusted preparation, once per machine and version of the protected files, off the clock."""

    command: str = Field(min_length=1)
    timeout: Duration = 4 * 3600.0


class Run(Table):
    """The candidate's stage: untrusted, on the clock."""

    command: str = Field(min_length=1)
    budget: Duration
    """From process start, kept by overnight, never by the candidate."""
    clock: Literal["wall", "cpu"] = "wall"
    """What the budget counts in: wall seconds, or processor seconds of the whole tree."""
    memory: Size = Field(default_factory=lambda: int(0.9 * _machine_memory()))
    """Most memory the whole process tree may hold, in bytes; nine tenths of the machine's."""
    network: bool = False
    sandbox: Literal["bubblewrap", "landlock", "seatbelt"] | None = None
    """The back end that confines it; without a choice the strongest that works."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Graphics cards that one measurement needs for itself."""
    processes: int = Field(default=1000, ge=1)
    """Most processes at once."""
    disk: Size = 10_000_000_000
    """Most bytes that it may leave in OVERNIGHT_OUT and in its temporary folder."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of environment variables handed through to the run."""
    prune: bool = True
    """Whether a run that reports its progress is ended once it is lost."""


class Score(Table):
    """The referee's stage: trusted code from the arena's base commit."""

    command: str = Field(min_length=1)
    timeout: Duration = 120.0
    memory: Size | None = None
    """Most memory of the referee and of every candidate process that it asks."""


class Holdout(Score):
    """The final exam: a second referee on data that the campaign never selects on."""

    every: int = Field(default=5, ge=1)
    """Keeps from one exam to the next. The baseline sits it too, and the incumbent at the end."""
    hidden: tuple[str, ...] = Field(default=(), strict=False)
    """Further paths that no run and no agent may read, written like the arena's own."""


class Constraint(Table):
    """Bounds of a named number from the referee or from overnight's own meters. Beyond a hard one
    (min, max) a candidate is invalid; beyond the soft one its score counts for less."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    soft: FiniteFloat | None = Field(default=None, gt=0)
    """More than this is allowed, and costs."""
    cost: FiniteFloat | None = Field(default=None, gt=0)
    """What twice the soft bound costs, in units of the metric, and half of that half as much;
    without a word, the whole score."""

    def mistakes(self) -> Iterator[str]:
        """What of it could never have an effect, or never be kept to, a sentence each."""
        if self.cost is not None and self.soft is None:
            yield "cost has no effect without soft, the bound from which it counts; add that one"
        elif not self.model_fields_set:
            yield "it bounds nothing; give it min, max or soft, or remove it"
        if self.soft is not None and self.max is not None and self.soft >= self.max:
            yield (
                f"soft = {self.soft:g} never costs: above max = {self.max:g} a candidate is "
                "invalid already; lower soft, or remove it"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            yield f"min = {self.min:g} is above max = {self.max:g}; mend one of them"

    def charge(self, value: float | None, score: float) -> float:
        """What the value costs, in units of the metric."""
        if self.soft is None or value is None:
            return 0.0
        excess = max(value / self.soft - 1, 0.0)
        return excess * (abs(score) if self.cost is None else self.cost)

    def broken_by(self, value: float | None) -> str | None:
        """What is wrong with the value, or None when it lies within the hard bounds."""
        if self.max is None and self.min is None:
            return None
        if value is None:
            return "was not measured"
        if self.max is not None and value > self.max:
            return f"is {value:g}, above the maximum {self.max:g}"
        if self.min is not None and value < self.min:
            return f"is {value:g}, below the minimum {self.min:g}"
        return None


_READ_BY = {
    "confirm": ("false_keep", "max_repeats", "baseline", "simplify", "margin"),
    "threshold": ("gain", "repeats"),
}
"""Which rule reads which settings."""
_INSTEAD = {"gain": ", or write it as metric.min_gain, which every rule reads"}


class JudgeTable(Table):
    """The keep-or-discard rule and its settings."""

    rule: Literal["confirm", "greedy", "threshold"] = "confirm"
    false_keep: FiniteFloat = Field(default=0.05, gt=0, le=0.5)
    """confirm: the chance that a campaign of identical candidates keeps anything, ever."""
    max_repeats: int = Field(default=20, ge=2, le=1000)
    """confirm: most pairs of measurements in one trial."""
    baseline: int = Field(default=5, ge=2, le=100)
    """confirm: measurements of the baseline, from which the noise is first known; 3 are enough
    where they are all equal."""
    simplify: bool = True
    """confirm: keep simpler code whose score is as good as its parent's within `margin`."""
    margin: FiniteFloat | None = Field(default=None, ge=0)
    """confirm: how much worse simpler code may be, in units of the metric; without a word, the
    noise of one measurement."""
    fixed_seeds: bool = False
    """Whether a change may set a seed. By default such a change is refused before it is run."""
    same_programs: bool = False
    """Whether a candidate may be the same program as an earlier one of its campaign, comments and
    layout aside. By default such a candidate is refused before it is run."""
    gain: FiniteFloat = Field(default=0.0, ge=0)
    """threshold: the least gain that counts, in units of the metric."""
    repeats: int = Field(default=1, ge=1, le=100)
    """threshold: measurements a side before a keep."""

    def mistakes(self) -> Iterator[str]:
        """Settings that were made although nothing reads them, a sentence each: key first."""
        for rule, keys in _READ_BY.items():
            for key in keys if rule != self.rule else ():
                if key in self.model_fields_set:
                    yield (
                        f'{key}: has no effect with rule = "{self.rule}", only with "{rule}"; '
                        f"remove it{_INSTEAD.get(key, '')}"
                    )
        if self.rule == "confirm" and self.margin is not None and not self.simplify:
            yield "margin: has no effect with simplify = false; remove one of them"


class PortfolioTable(Table):
    """Several agents in one campaign."""

    agents: tuple[str, ...] = Field(default=(), strict=False)
    """Who takes part, by the names that `--agent` knows."""
    tuner: bool = True
    """Whether the tuner joins when the editable files have constants: classical search and language
    models win on different things."""
    shares: Mapping[str, Annotated[FiniteFloat, Field(gt=0)]] = Field(default_factory=dict)
    """Name → its share of the experiments. Without: by verified gain per cost."""
    dollars_per_hour: FiniteFloat = Field(default=2.0, ge=0)
    """What an hour of the machine counts for beside the dollars of a model."""

    def mistakes(self) -> Iterator[str]:
        """What is wrong with it, in sentences."""
        for name in self.shares.keys() - {*self.agents, *("tuner",) * self.tuner}:
            yield f"shares: {name} takes no part; expected one of agents: {', '.join(self.agents)}"
        for name in {*self.agents} - self.shares.keys():
            if self.shares:
                yield f"shares: {name} has none and would never be asked; give it one"


class CampaignCaps(Table):
    """What one agent may use in a campaign, by all its proposals together."""

    dollars: FiniteFloat | None = Field(default=None, ge=LEAST_DOLLARS)
    tokens: int | None = Field(default=None, ge=1)
    """Read and written."""
    time: Duration | None = None
    """Wall clock that it thinks; measuring is not its time."""

    def left(self, used: Spent) -> Allowance:
        """What is left for its next proposal. What is unknown of earlier ones counts as nothing."""
        return Allowance(
            None if self.dollars is None else self.dollars - used.dollars,
            None if self.tokens is None else self.tokens - used.tokens,
            None if self.time is None else self.time - used.thought,
        )

    def reached(self, left: Allowance) -> str | None:
        """The cap that leaves nothing, as people write it."""
        if left.penniless:
            return f"{format_dollars(self.dollars or 0.0)}"
        if left.tokens is not None and left.tokens <= 0:
            return f"{self.tokens:,} tokens"
        if left.seconds is not None and left.seconds <= 0:
            return format_duration(self.time or 0.0)
        return None


class AgentTable(Table):
    """Who proposes changes: a program, an agent that speaks the Agent Client Protocol, or a model.

    A program needs `command` or a preset, an agent that speaks the protocol `command`, a model
    `model`.
    """

    kind: Literal["program", "acp", "llm"] = "program"
    preset: str | None = None
    """program: as which known one it is run; without a word, and without `command`, that of the
    table's own name."""
    command: str | None = Field(default=None, min_length=1)
    """`{prompt}` is replaced by the brief; without it the brief comes on standard input. Of an
    `acp` agent: what starts it."""
    model: str | None = Field(default=None, min_length=1)
    """Which model it is to use; without a word its own default. `llm` needs one, written as LiteLLM
    writes it: `anthropic/NAME`, `openai/NAME`, `gemini/NAME`."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """llm: the address of a server that speaks OpenAI's format, such as one on this machine. Of a
    program with a preset: of one that speaks the format that this program wants."""
    session: Literal["fresh", "resume"] = "fresh"
    """fresh: each experiment a new agent, whose memory is in the files; resume: one conversation,
    begun anew after a failure or when it has grown too large."""
    timeout: Duration = 1800.0
    """Wall clock of one proposal."""
    tokens: int | None = Field(default=None, ge=1)
    """Most tokens, read and written, of one proposal."""
    dollars: FiniteFloat | None = Field(default=None, ge=LEAST_DOLLARS)
    """Most US dollars of one proposal."""
    campaign: CampaignCaps = CampaignCaps()
    """Most of a whole campaign; then the other agents go on without it."""
    brief: int = Field(default=10_000, ge=2000)
    """Most tokens of what it is told before an experiment."""
    network: bool = True
    """To reach its model."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of environment variables that it gets, such as the key of its model, and nobody else
    does."""
    data: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that it may read, such as the folder of its program."""

    def mistakes(self) -> Iterator[str]:
        """Settings that were made although nothing reads them, a sentence each: key first."""
        if self.kind != "program" and self.preset:
            yield f'preset: has no effect with kind = "{self.kind}"; remove one of them'
        if self.kind != "program" or not self.command:
            return
        if self.preset:
            yield "preset: has no effect beside command; remove one of them"
        for key in ("model", "url", "session", "tokens", "dollars"):
            if key in self.model_fields_set:
                yield (
                    f"{key}: has no effect beside command, whose program nothing is known of; "
                    "write it into the command, or name a preset in its place"
                )
        for key in ("dollars", "tokens"):
            if getattr(self.campaign, key) is not None:
                yield (
                    f"campaign.{key}: has no effect beside command, whose program reports none; "
                    "use campaign.time, or name a preset in its place"
                )

    def within(self, left: Allowance) -> AgentTable:
        """The same for a proposal that may use no more than this either."""
        own = Allowance(self.dollars, self.tokens, self.timeout).within(left)
        bounds = {"dollars": own.dollars, "tokens": own.tokens, "timeout": own.seconds}
        return self.model_copy(update=bounds)
