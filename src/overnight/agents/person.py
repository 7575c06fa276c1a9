"""A person's, or any caller's, own working copy as an agent: what `overnight try` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overnight.agents.base import Rejected, Workbench
from overnight.experiment import Idea
from overnight.workspace import Workspace


@dataclass
class Person:
    """Proposes the uncommitted and committed changes of a checkout, once."""

    workspace: Workspace
    caller: Path
    """The arena's folder in the caller's checkout."""
    title: str
    name: str = "person"

    def propose(self, bench: Workbench) -> Idea | None:
        ...
