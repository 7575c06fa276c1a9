"""The tables of arena.toml, each a frozen pydantic model. Every field says what it sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from overnight.core.quantity import Duration, Size, format_dollars, format_duration
from overnight.core.spending import Spent
from overnight.core.usage import LEAST_DOLLARS, Allowance

_METRIC = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


def _machine_memory() -> int:
    """Bytes of memory of this machine, or of the container around this process."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", name)
        if file.is_file() and (words := file.read_text().strip()).isdigit():
            limits.append(int(words))
    return min(limits)


class Table(BaseModel):
    """Base of every table: frozen, strict, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metric(Table):
    """The number that is measured, and which direction is better."""

    name: str = Field(pattern=_METRIC)
    """Its key in the referee's JSON; without a referee, in the run's `key: value` lines."""
    direction: Literal["minimize", "maximize"]
    unit: str = ""
    min_gain: FiniteFloat = Field(default=0.0, ge=0)
    """Smallest gain that is worth keeping, in units of the metric."""
    best_possible: FiniteFloat | None = None
    """Limit of the metric: a better score is invalid."""

    def orient(self, score: float) -> float:
        """The score, negated where smaller is better: larger is better. Its own inverse."""
        return -score if self.direction == "minimize" else score


class Setup(Table):
    """Trusted preparation, once per machine and version of the protected files, off the clock."""

    command: str = Field(min_length=1)
    timeout: Duration = 4 * 3600.0


class Run(Table):
    """The stage that executes the candidate: untrusted, on the clock."""

    command: str = Field(min_length=1)
    budget: Duration
    """Seconds from the start of the process. overnight ends the run at this time."""
    clock: Literal["wall", "cpu"] = "wall"
    """What the budget counts: wall time, or processor time of the whole process tree."""
    memory: Size = Field(default_factory=lambda: int(0.9 * _machine_memory()))
    """Most bytes of memory of the whole process tree; default: nine tenths of the machine's."""
    network: bool = False
    """Whether the run may use the network."""
    sandbox: Literal["bubblewrap", "landlock", "seatbelt"] | None = None
    """Back end that confines the run; default: the strongest that works here."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Graphics cards that each measurement gets for itself."""
    processes: int = Field(default=1000, ge=1)
    """Most processes of the run at once."""
    disk: Size = 10_000_000_000
    """Most bytes that the run may write to its own folders."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of further environment variables that setup, run, checks and referee get."""
    prune: bool = True
    """Whether a run that reports its progress is ended once it can no longer win."""


class Score(Table):
    """The stage that scores what a run left: trusted code from the campaign's base commit."""

    command: str = Field(min_length=1)
    timeout: Duration = 120.0
    memory: Size | None = None
    """Most bytes of memory of the referee, with every candidate process that it starts."""


class Holdout(Score):
    """The final exam: a second referee on data that the campaign never selects on."""

    every: int = Field(default=5, ge=1)
    """Keeps from one exam to the next. The baseline has one too, and the incumbent at the end."""
    hidden: tuple[str, ...] = Field(default=(), strict=False)
    """Further paths that no run and no agent may read, written like the arena's `hidden`."""


class Constraint(Table):
    """Bounds of a number that the referee printed or overnight metered. Beyond a hard bound (min,
    max) a candidate is invalid; above the soft bound a penalty is taken off its score."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    soft: FiniteFloat | None = Field(default=None, gt=0)
    """Soft bound: a larger number has a penalty."""
    cost: FiniteFloat | None = Field(default=None, gt=0)
    """Penalty at 2 × `soft`, linear from 0 at `soft`, in units of the metric; default: the score's
    magnitude."""

    def mistakes(self) -> Iterator[str]:
        """A sentence for each bound that can have no effect, or that no number can meet."""
        if self.cost is not None and self.soft is None:
            yield "cost has no effect without soft, the bound from which it counts; add soft"
        elif not self.model_fields_set:
            yield "bounds nothing; add min, max or soft, or remove it"
        if self.soft is not None and self.max is not None and self.soft >= self.max:
            yield (
                f"soft = {self.soft:g} never costs anything: a candidate above max = {self.max:g} "
                "is invalid; set soft below max, or remove it"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            yield f"min = {self.min:g} is above max = {self.max:g}; expected min ≤ max"

    def charge(self, value: float | None, score: float) -> float:
        """Penalty for this value, in units of the metric."""
        if self.soft is None or value is None:
            return 0.0
        excess = max(value / self.soft - 1, 0.0)
        return excess * (abs(score) if self.cost is None else self.cost)

    def broken_by(self, value: float | None) -> str | None:
        """How the value breaks a hard bound; None when it breaks none."""
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
"""Settings that only one rule reads."""
_INSTEAD = {"gain": ", or set metric.min_gain, which every rule reads"}


class JudgeTable(Table):
    """The keep-or-discard rule and its settings."""

    rule: Literal["confirm", "greedy", "threshold"] = "confirm"
    false_keep: FiniteFloat = Field(default=0.05, gt=0, le=0.5)
    """confirm: chance that a campaign of identical candidates ever keeps one."""
    max_repeats: int = Field(default=20, ge=2, le=1000)
    """confirm: most pairs of measurements in one trial."""
    baseline: int = Field(default=5, ge=2, le=100)
    """confirm: measurements of the baseline, the first estimate of the noise; 3 when they are all
    equal."""
    simplify: bool = True
    """confirm: whether simpler code is kept if it is worse than its parent by at most `margin`."""
    margin: FiniteFloat | None = Field(default=None, ge=0)
    """confirm: how much worse simpler code may be, in units of the metric; default: the noise of
    one measurement."""
    fixed_seeds: bool = False
    """Whether a change may set a seed. By default such a change is refused before it runs."""
    same_programs: bool = False
    """Whether a candidate may differ from an earlier one of its campaign in comments and layout
    alone. By default such a candidate is refused before it runs."""
    gain: FiniteFloat = Field(default=0.0, ge=0)
    """threshold: smallest gain that is kept, in units of the metric."""
    repeats: int = Field(default=1, ge=1, le=100)
    """threshold: measurements of each of the two candidates before a keep."""

    def mistakes(self) -> Iterator[str]:
        """A sentence for each setting that has no effect, its key first."""
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
    """Names of the agents that take turns, as `--agent` takes them."""
    tuner: bool = True
    """Whether the tuner joins when the editable files have constants: classical search and language
    models find different wins."""
    shares: Mapping[str, Annotated[FiniteFloat, Field(gt=0)]] = Field(default_factory=dict)
    """Agent → its weight among the experiments. Default: turns by verified gain per cost."""
    dollars_per_hour: FiniteFloat = Field(default=2.0, ge=0)
    """Price of an hour of the machine, added to the dollars that a model costs."""

    def mistakes(self) -> Iterator[str]:
        """A sentence for each wrong setting, its key first."""
        for name in self.shares.keys() - {*self.agents, *("tuner",) * self.tuner}:
            yield f"shares: {name} takes no part; expected one of {', '.join(self.agents)}"
        for name in {*self.agents} - self.shares.keys():
            if self.shares:
                yield f"shares: {name} has no share, so it would never be asked; add one"


class CampaignCaps(Table):
    """Most that one agent may use in a campaign, all its proposals together."""

    dollars: FiniteFloat | None = Field(default=None, ge=LEAST_DOLLARS)
    tokens: int | None = Field(default=None, ge=1)
    """Tokens read and written."""
    time: Duration | None = None
    """Wall seconds that it thinks, without the measurements."""

    def left(self, used: Spent) -> Allowance:
        """What its next proposal may use. Unknown use of earlier ones counts as zero."""
        return Allowance(
            None if self.dollars is None else self.dollars - used.dollars,
            None if self.tokens is None else self.tokens - used.tokens,
            None if self.time is None else self.time - used.thought,
        )

    def reached(self, left: Allowance) -> str | None:
        """The cap that is used up, such as `$5`; None when there is none."""
        if left.penniless:
            return f"{format_dollars(self.dollars or 0.0)}"
        if left.tokens is not None and left.tokens <= 0:
            return f"{self.tokens:,} tokens"
        if left.seconds is not None and left.seconds <= 0:
            return format_duration(self.time or 0.0)
        return None


def _address(url: str) -> str:
    """Refuses what has no host, or a port that is none."""
    try:
        parts = urlsplit(url)
        wrong = "" if parts.hostname and parts.port != 0 else "it names no host, or port 0"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise ValueError(f"{wrong}; expected an address such as http://localhost:8080/v1")
    return url


class AgentTable(Table):
    """An agent: a program, which needs `command` or a preset; one that speaks the Agent Client
    Protocol (`acp`), which needs `command`; or a model (`llm`), which needs `model`."""

    kind: Literal["program", "acp", "llm"] = "program"
    preset: str | None = None
    """program: the known program that it is; default, without `command`: the table's own name."""
    command: str | None = Field(default=None, min_length=1)
    """program: shell line in which `{prompt}` is replaced by the brief; without `{prompt}` the
    brief comes on standard input. acp: shell line that starts the agent."""
    model: str | None = Field(default=None, min_length=1)
    """The model; default: the program's own. llm: in LiteLLM's form, such as `anthropic/NAME`,
    `openai/NAME` or `gemini/NAME`."""
    url: Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_address)] | None = None
    """Address of the model's server. llm: of a server that speaks OpenAI's format. program with a
    preset: of a server that speaks the format of this program."""
    session: Literal["fresh", "resume"] = "fresh"
    """fresh: a new conversation for each experiment; resume: one conversation, begun anew after a
    failure or when it has grown too large."""
    timeout: Duration = 1800.0
    """Most wall seconds of one proposal."""
    tokens: int | None = Field(default=None, ge=1)
    """Most tokens, read and written, of one proposal."""
    dollars: FiniteFloat | None = Field(default=None, ge=LEAST_DOLLARS)
    """Most US dollars of one proposal."""
    campaign: CampaignCaps = CampaignCaps()
    """Most that it may use in a campaign; then the other agents go on without it."""
    brief: int = Field(default=10_000, ge=2000)
    """Most tokens of the brief that it gets before an experiment."""
    network: bool = True
    """Whether it may use the network, to reach its model."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of further environment variables that only this agent gets, such as a model's key."""
    data: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that it may read, such as the folder of its program."""

    def mistakes(self) -> Iterator[str]:
        """A sentence for each setting that has no effect, its key first."""
        if self.kind != "program" and self.preset:
            yield f'preset: has no effect with kind = "{self.kind}"; remove one of them'
        if self.kind != "program" or not self.command:
            return
        if self.preset:
            yield "preset: has no effect beside command; remove one of them"
        for key in ("model", "url", "session", "tokens", "dollars"):
            if key in self.model_fields_set:
                yield (
                    f"{key}: has no effect beside command, since overnight does not know its "
                    "program's options; write it into the command, or set preset instead"
                )
        for key in ("dollars", "tokens"):
            if getattr(self.campaign, key) is not None:
                yield (
                    f"campaign.{key}: has no effect beside command, since overnight does not know "
                    "what its program used; set campaign.time, or preset instead of command"
                )

    def within(self, left: Allowance) -> AgentTable:
        """This table with the smaller of its own limits and these, for one proposal."""
        own = Allowance(self.dollars, self.tokens, self.timeout).within(left)
        bounds = {"dollars": own.dollars, "tokens": own.tokens, "timeout": own.seconds}
        return self.model_copy(update=bounds)
