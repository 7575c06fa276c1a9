"""One request to a model, as a script sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Body = Mapping[str, Any]

_CONTEXT = (
    "<system-reminder>",
    "<environment_context>",
    "<session_context>",
    "<permissions instructions>",
    "# AGENTS.md instructions",
    "This is the Gemini CLI",
)
"""How user turns begin that a program writes by itself, before or beside the task."""
_FOLDER = re.compile(
    r"(?:[Ww]orking directory(?:\*\*)?: |<cwd>|working in the directory: "
    r"|Workspace Directories:\*?\*?\s+- )([^\s<`]+)"
)


@dataclass(frozen=True)
class Turn:
    """What a request carries beside the model's own words: a text, or what a tool gave."""

    text: str
    call: str | None = None
    """The id of the tool call that this is the result of."""


@dataclass(frozen=True)
class Ask:
    """What a program asked the model."""

    wire: str
    """anthropic, chat, responses or gemini."""
    model: str
    prompts: tuple[str, ...]
    """The texts of all user turns that carry a task: more than one in a resumed session."""
    turns: int
    """How many tool results came back in this conversation."""
    steps: int
    """How many of them since the latest prompt."""
    result: str
    """The text of the last tool result."""
    call: str | None
    """The id of the tool call that the conversation ends with the result of."""
    tools: tuple[str, ...]
    folder: str
    """Where the program says that it works; "" when it does not say."""
    count: int
    """Number of this request overall, from 1."""
    path: str
    headers: Mapping[str, str] = field(repr=False, compare=False)
    """By their names in small letters."""
    body: Body = field(repr=False, compare=False)

    @property
    def prompt(self) -> str:
        """The first user turn that carries a task."""
        return self.prompts[0] if self.prompts else ""

    @property
    def latest(self) -> str:
        """The latest one."""
        return self.prompts[-1] if self.prompts else ""


def joined(content: str | Sequence[Body]) -> str:
    """The text of what comes whole or in parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def carries_a_task(text: str) -> bool:
    """Whether a person's task is in it, and not only what a program says of itself."""
    return bool(text.strip()) and not text.lstrip().startswith(_CONTEXT)


def read_ask(
    *,
    wire: str,
    model: str,
    turns: Sequence[Turn],
    tools: Sequence[str],
    body: Body,
    said: str,
    count: int,
    path: str,
    headers: Mapping[str, str],
) -> Ask:
    """An Ask from the parts that its wire format found; `said` is the request as it came."""
    prompts = [turn.text for turn in turns if turn.call is None and carries_a_task(turn.text)]
    if not tools:
        prompts = prompts[-1:]  # what comes before are examples
    results = [turn for turn in turns if turn.call is not None]
    steps = 0
    for turn in turns:
        steps = steps + 1 if turn.call is not None else steps * (not carries_a_task(turn.text))
    folder = _FOLDER.search(said.replace("\\n", "\n"))
    return Ask(
        wire=wire,
        model=model,
        prompts=tuple(prompts),
        turns=len(results),
        steps=steps,
        result=results[-1].text if results else "",
        call=results[-1].call if results and steps else None,
        tools=tuple(tools),
        folder=folder[1] if folder else "",
        count=count,
        path=path,
        headers=headers,
        body=body,
    )
