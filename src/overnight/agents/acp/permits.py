"""Answers to an agent that asks for permission, by the arena's policy.

The arena does not depend on them: the sandbox protects it, and only editable files become part of a
candidate. A "no" saves the agent the time for a change that would be dropped.
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
    """Whether a sandbox confines the agent and everything that it starts."""
    network: bool

    def refusal(self, kind: str, paths: Sequence[str]) -> str | None:
        """Why an action is not allowed; None when it is. `kind` is the protocol's: read, edit,
        delete, move, search, execute, think, fetch, switch_mode, other; `paths`: the files that the
        agent names."""
        match kind:
            case "edit" | "delete" | "move":
                return self._edit(paths)
            case "read" | "search":
                return self._read(paths)
            case "think" | "switch_mode":
                return None
            case "fetch":
                return None if self.network else "this agent has no network"
            case _:
                return self._edit(paths) if paths and kind != "execute" else self._command()

    def _edit(self, paths: Sequence[str]) -> str | None:
        if not paths:
            return "no file is named"
        wrong = [path for path in paths if not self.worktree.is_editable(path)]
        return f"{wrong[0]} is not editable" if wrong else None

    def _read(self, paths: Sequence[str]) -> str | None:
        wrong = [path for path in paths if not self.worktree.holds(path)]
        return f"{wrong[0]} is hidden, or outside of the worktree" if wrong else None

    def _command(self) -> str | None:
        return None if self.confined else "there is no sandbox to run it in"
