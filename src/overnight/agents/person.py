"""A person's, or any caller's, own working copy as an agent: what `overnight try` takes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Rejected, Workbench
from overnight.agents.idea import expectation_in
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
        words, expected = expectation_in(self.words)
        title, _, hypothesis = words.strip().partition("\n")
        idea = Idea(title, hypothesis.strip(), expected=expected)
        parent = bench.incumbent.candidate
        assert parent is not None
        try:
            self.workspace.adopt(self.caller, bench.folder, parent, bench.arena.is_editable)
        except Stale as error:
            raise Rejected(self._way_on(bench, parent, error), idea) from error
        except WorkspaceError as error:
            raise Rejected(str(error), idea, Verdict.INVALID) from error
        return idea

    def _way_on(self, bench: Workbench, parent: str, error: Stale) -> str:
        """What the change conflicts with, and how it gets there. A diff of the parent would not
        do: what stops the change from going onto it stops it from going onto the change."""
        elsewhere = self.caller.resolve() != self.workspace.root
        place = f" -C {shlex.quote(str(self.caller))}" if elsewhere else ""
        return (
            f"the change conflicts with {bench.parent_words}. To go on from there: "
            f"`git{place} switch --merge --detach {parent[:10]}` takes your change along; "
            f"mend what it marks, then try again. git says: {error.words}"
        )
