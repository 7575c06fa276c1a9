"""A text of sections within a number of tokens, whatever each of them would like to say.

Every section has a share that no other can take. What the short ones leave goes to the long ones,
the first ones first. The sizes of the parts are estimated; the whole is counted by the tokenizer
of whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Count = Callable[[str], int]
"""How many tokens a text has."""
_HEADING = 30
"""Tokens that a section spends on its heading, its fence, and on saying what it leaves out."""
_ROUNDS = 6
_FULL = 0.95
"""Of the limit, from which on nothing is gained by another round."""
FENCE = "```"


def estimated_tokens(text: str) -> int:
    """Four characters a token for English and code, up to one or two for other scripts: on the
    safe side for today's tokenizers."""
    return round(len(text) / 4 + (len(text.encode(errors="replace")) - len(text)) / 2)


@dataclass(frozen=True)
class Section:
    """A heading and what it has to say."""

    title: str
    items: Sequence[str]
    """In the order in which they are shown; each a line, or a few."""
    share: float
    """Of the whole text, that is its own."""
    ranks: Sequence[int] | None = None
    """Places of the items, the one to keep longest first; None: in their own order."""
    data: bool = False
    """Whether it quotes what runs and agents wrote: it is fenced then, and marked."""

    @property
    def size(self) -> float:
        """Estimated tokens of everything."""
        return sum(_size(item) for item in self.items)

    def text(self, most: float) -> str:
        """Its heading and as many items as fit into so many tokens, the last of them cut."""
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
    """The sections that have something to say, within `most` tokens by this count."""
    spoken = [section for section in sections if section.items]
    limit, best = float(most), ""
    for _ in range(_ROUNDS):
        text = _laid_out(spoken, limit)
        tokens = count(text)
        if tokens <= most:
            best = max(best, text, key=len)
            if tokens >= _FULL * most or limit >= sum(s.size + _HEADING for s in spoken):
                break
        # A little less than the rule of three says: it must not stop just above.
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
    """For a count that has nothing to do with the estimate: the beginning, halved until it fits."""
    while text and count(text) > most:
        text = text[: len(text) // 2]
    return text


def _size(item: str) -> float:
    return estimated_tokens(item) + 1


def _cut(item: str, most: float) -> str:
    """As much of the item as fits, with a sign that there was more."""
    if _size(item) <= most:
        return item
    characters = int(len(item) * most / _size(item))
    return item[: max(characters - 2, 1)] + "…"
