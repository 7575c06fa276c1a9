"""A working copy as an agent: `overnight try` proposes what its caller has changed."""

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
class WorkingCopyAgent:
    """Proposes what differs from HEAD in the editable files of a checkout."""

    workspace: Workspace
    caller: Path
    """The arena's folder in the caller's checkout."""
    idea: Idea
    name: str = "person"

    def propose(self, bench: Workbench) -> Idea:
        incumbent = bench.start.candidate
        assert incumbent is not None
        editable = bench.arena.is_editable
        try:
            changed = self.workspace.adopt(
                self.caller, bench.folder, incumbent, editable, Secrets.of().found_in
            )
        except Stale as error:
            raise Rejected(self._conflict(bench, incumbent, error), self.idea) from error
        except WorkspaceError as error:
            raise Rejected(str(error), self.idea, Verdict.INVALID) from error
        if not changed:
            raise Rejected(self._nothing(bench), self.idea, Verdict.INVALID)
        return self.idea

    def _nothing(self, bench: Workbench) -> str:
        return (
            f"nothing editable was changed: {', '.join(bench.arena.editable)} in {self.caller} is "
            "the same as in HEAD. Leave your change uncommitted: the difference from HEAD is "
            "measured, and a win is committed for you"
        )

    def _conflict(self, bench: Workbench, incumbent: str, error: Stale) -> str:
        # The incumbent's diff would not help: it conflicts with the change in the same way.
        elsewhere = self.caller.resolve() != self.workspace.root
        folder = f" -C {shlex.quote(str(self.caller))}" if elsewhere else ""
        return (
            f"the change conflicts with {bench.start_name}. To continue from there, run "
            f"`git{folder} switch --merge --detach {incumbent[:10]}`, which keeps your change; "
            f"resolve the conflicts that it marks, then try again. git says: {error.words}"
        )
