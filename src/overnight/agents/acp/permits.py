"""What an agent that asks for permission may do: the arena's policy, as answers.

Not what keeps the arena safe: that is the sandbox, and that only editable files become part of a
candidate. An agent that is told no at once loses no time with what would be dropped later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overnight.agents.acp.files import Worktree


@dataclass(frozen=True)
class Permits:
    """The policy for one proposal."""

    worktree: Worktree
    confined: bool
    """Whether a sandbox holds the agent and everything that it starts."""
    network: bool

    def refusal(self, kind: str, paths: Sequence[str]) -> str | None:
        """Why not, in words; None when it may. `kind` is the protocol's: read, edit, delete, move,
        search, execute, think, fetch, switch_mode, other; `paths` is what it says it touches."""
        match kind:
            case "edit" | "delete" | "move":
                return self._edit(paths)
            case "read" | "search":
                return self._read(paths)
            case "think" | "switch_mode":
                return None
            case "fetch":
                return None if self.network else "the network is closed to this agent"
            case _:
                return self._edit(paths) if paths and kind != "execute" else self._command()

    def _edit(self, paths: Sequence[str]) -> str | None:
        if not paths:
            return "it does not say which file"
        wrong = [path for path in paths if not self.worktree.is_editable(path)]
        return f"{wrong[0]} is not editable" if wrong else None

    def _read(self, paths: Sequence[str]) -> str | None:
        wrong = [path for path in paths if not self.worktree.holds(path)]
        return f"{wrong[0]} is not a readable part of the worktree" if wrong else None

    def _command(self) -> str | None:
        return None if self.confined else "no sandbox holds what it starts"
