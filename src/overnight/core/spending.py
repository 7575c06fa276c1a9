"""What proposals have used, by agent, in numbers and in words; what is unknown is called so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from overnight.core.experiment import Experiment, Proposal
from overnight.core.quantity import format_dollars, format_duration


@dataclass(frozen=True)
class Spent:
    """What the proposals of one agent, or of several, used together."""

    agent: str = ""
    proposals: int = 0
    """How often an agent was asked, with or without a result."""
    priced: int = 0
    """Proposals whose cost is known."""
    dollars: float = 0.0
    """Their cost in US dollars."""
    counted: int = 0
    """Proposals whose tokens are known."""
    tokens: int = 0
    """Tokens read and written by those."""
    thought: float = 0.0
    """Wall seconds that agents took."""

    @classmethod
    def of(cls, one: Experiment | Proposal) -> Spent:
        """What one proposal used, or that of one experiment."""
        usage = one.usage
        known = [tokens for tokens in (usage.tokens_in, usage.tokens_out) if tokens is not None]
        return cls(
            one.agent,
            proposals=1,
            priced=int(usage.dollars is not None),
            dollars=usage.dollars or 0.0,
            counted=int(bool(known)),
            tokens=sum(known),
            thought=one.thought or 0.0,
        )

    @property
    def unpriced(self) -> int:
        """Proposals of unknown cost."""
        return self.proposals - self.priced

    @property
    def uncounted(self) -> int:
        """Proposals whose tokens are unknown."""
        return self.proposals - self.counted

    @property
    def free(self) -> bool:
        """Whether all proposals are known to have cost nothing."""
        return not self.unpriced and not self.dollars

    @property
    def words(self) -> str:
        """`$3.20 and 12 proposals of unknown cost, at least 40,100 tokens, 12 min 03 s`."""
        cost = [format_dollars(self.dollars)] if self.priced else []
        if self.unpriced:
            many = f"{self.unpriced:,} proposal{'s' * (self.unpriced > 1)} of "
            cost.append(f"{many * (self.proposals > 1)}unknown cost")
        words = [" and ".join(cost)] if cost else []
        if self.tokens:
            words.append(f"{'at least ' * bool(self.uncounted)}{self.tokens:,} tokens")
        return ", ".join([*words, format_duration(self.thought)])

    def document(self) -> dict[str, object]:
        """The fields for `--json`. Null: unknown for every proposal."""
        return {
            "proposals": self.proposals,
            "cost": self.dollars if self.priced else None,
            "unknown_cost": self.unpriced,
            "tokens": self.tokens if self.counted else None,
            "unknown_tokens": self.uncounted,
            "thought": self.thought,
        }


def by_agent(accounts: Iterable[Spent]) -> list[Spent]:
    """The sum for each agent, ordered by name."""
    found: dict[str, list[Spent]] = {}
    for one in accounts:
        found.setdefault(one.agent, []).append(one)
    return [replace(together(found[name]), agent=name) for name in sorted(found)]


def together(accounts: Sequence[Spent]) -> Spent:
    """The sum over all agents."""
    return Spent(
        proposals=sum(one.proposals for one in accounts),
        priced=sum(one.priced for one in accounts),
        dollars=sum(one.dollars for one in accounts),
        counted=sum(one.counted for one in accounts),
        tokens=sum(one.tokens for one in accounts),
        thought=sum(one.thought for one in accounts),
    )
