"""A person's, or any caller's, own working copy as an agent: what `overnight try` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Rejected, Workbench
from overnight.errors import WorkspaceError
from overnight.experiment import Idea, Verdict
from overnight.workspace import Stale, Workspace


@dataclass(frozen=True)
class Person:
    """Proposes what differs from HEAD in the editable files of a checkout."""

    workspace: Workspace
    caller: Path
    """The arena's folder in the caller's checkout."""
    words: str
    """What was changed and why: the title is its first line."""
    name: str = "person"

    def propose(self, bench: Workbench) -> Idea:
        title, _, hypothesis = self.words.strip().partition("\n")
        idea = Idea(title, hypothesis.strip())
        parent = bench.incumbent.candidate
        assert parent is not None
        try:
            self.workspace.adopt(self.caller, bench.folder, parent, bench.arena.is_editable)
        except Stale as error:
            raise Rejected(str(error), idea) from error
        except WorkspaceError as error:
            raise Rejected(str(error), idea, Verdict.INVALID) from error
        return idea
