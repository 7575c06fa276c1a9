"""A person's, or any caller's, own working copy as an agent: what `overnight try` takes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Rejected, Workbench
from overnight.core.errors import WorkspaceError
from overnight.core.experiment import Idea, Verdict
from overnight.repo.workspace import Stale, Workspace
from overnight.stage.secrets import Secrets


@dataclass(frozen=True)
class Person:
    """Proposes what differs from HEAD in the editable files of a checkout."""

    workspace: Workspace
    caller: Path
    """The arena's folder in the caller's checkout."""
    idea: Idea
    """What was changed, why, and what is expected of it."""
    name: str = "person"

    def propose(self, bench: Workbench) -> Idea:
        parent = bench.incumbent.candidate
        assert parent is not None
        editable = bench.arena.is_editable
        try:
            changed = self.workspace.adopt(
                self.caller, bench.folder, parent, editable, Secrets.of().found_in
            )
        except Stale as error:
            raise Rejected(self._way_on(bench, parent, error), self.idea) from error
        except WorkspaceError as error:
            raise Rejected(str(error), self.idea, Verdict.INVALID) from error
        if not changed:
            raise Rejected(self._nothing(bench), self.idea, Verdict.INVALID)
        return self.idea

    def _nothing(self, bench: Workbench) -> str:
        return (
            f"nothing editable was changed: {', '.join(bench.arena.editable)} in {self.caller} is "
            "as in its HEAD. Leave your change uncommitted: what differs from HEAD is measured, "
            "and what wins is committed for you"
        )

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
