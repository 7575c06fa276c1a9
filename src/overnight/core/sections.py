"""Fits a text of several sections into a number of tokens.

Every section has a guaranteed share. What short sections do not need goes to longer ones, in
order. The sizes of the parts are estimated; the whole is counted by the reader's tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Count = Callable[[str], int]
"""Counts the tokens of a text."""
_HEADING = 30
"""Tokens of a section's heading, fence, and note of what it leaves out."""
_ROUNDS = 6
_FULL = 0.95
"""Share of the limit above which another round gains nothing."""
FENCE = "```"


def estimated_tokens(text: str) -> int:
    """Estimate: 4 characters a token for English and code, 1 to 2 for other scripts. Rather too
    many than too few for today's tokenizers."""
    return round(len(text) / 4 + (len(text.encode(errors="replace")) - len(text)) / 2)


@dataclass(frozen=True)
class Section:
    """A heading and its items."""

    title: str
    items: Sequence[str]
    """In the order in which they are shown; one or a few lines each."""
    share: float
    """Its guaranteed share of the whole text, 0 to 1."""
    ranks: Sequence[int] | None = None
    """Indices of the items, most important first; None: in their own order."""
    data: bool = False
    """Whether it quotes text by runs or agents; it is then fenced and marked as data."""

    @property
    def size(self) -> float:
        """Estimated tokens of all items."""
        return sum(_size(item) for item in self.items)

    def text(self, most: float) -> str:
        """The heading and as many items as fit into `most` tokens; the last one may be cut."""
        kept: dict[int, str] = {}
        for place in self.ranks if self.ranks is not None else range(len(self.items)):
            if most < 1:
                break
            kept[place] = item = _cut(self.items[place], most)
            most -= _size(item)
        lines = [item for _, item in sorted(kept.items())]
        if self.data:
            lines = [f"{FENCE}data", *(line.replace(FENCE, "'''") for line in lines), FENCE]
        if left_out := len(self.items) - len(kept):
            lines.append(f"({left_out:,} more left out)")
        return "\n".join([f"## {self.title}", *lines, ""])


def fitted(sections: Sequence[Section], most: int, count: Count = estimated_tokens) -> str:
    """The sections that have items, within `most` tokens by this count."""
    spoken = [section for section in sections if section.items]
    limit, best = float(most), ""
    for _ in range(_ROUNDS):
        text = _laid_out(spoken, limit)
        tokens = count(text)
        if tokens <= most:
            best = max(best, text, key=len)
            if tokens >= _FULL * most or limit >= sum(s.size + _HEADING for s in spoken):
                break
        # A little less than proportional, so that it does not end just above the limit.
        limit *= 0.98 * most / max(tokens, 1)
    return best or _shortest(text, most, count)


def _laid_out(sections: Sequence[Section], most: float) -> str:
    own = [max(section.share * most - _HEADING, 0) for section in sections]
    needs = [section.size for section in sections]
    spare = most - _HEADING * len(sections) - sum(map(min, needs, own))
    texts = []
    for section, room, need in zip(sections, own, needs, strict=True):
        more = min(max(need - room, 0.0), max(spare, 0.0))
        spare -= more
        texts.append(section.text(min(need, room) + more))
    return "\n".join(texts)


def _shortest(text: str, most: int, count: Count) -> str:
    """The beginning of the text, halved until it fits: for counts far from the estimate."""
    while text and count(text) > most:
        text = text[: len(text) // 2]
    return text


def _size(item: str) -> float:
    return estimated_tokens(item) + 1


def _cut(item: str, most: float) -> str:
    """As much of the item as fits; an ellipsis marks that it was cut."""
    if _size(item) <= most:
        return item
    characters = int(len(item) * most / _size(item))
    return item[: max(characters - 2, 1)] + "…"
