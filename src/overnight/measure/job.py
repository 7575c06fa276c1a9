"""A job: one measurement, as plain data that can be sent to another machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.experiment import Purpose
from overnight.judge.prune import Pruning
from overnight.record.lock import family_of
from overnight.record.log_folders import experiment_logs

_FOLDERS = {Purpose.JUDGE: "run", Purpose.CHECK: "checks"}
"""How the names of the folders begin, where it is not by the purpose's own value."""


@dataclass(frozen=True)
class Job:
    """What an executor is asked to do. Its paths follow from the arena of the machine it runs on.

    Two jobs under way must differ in their tag, purpose, experiment or seed: else they would share
    a folder.
    """

    id: int
    """Unique within the ledger; what `cancel` takes."""
    tag: str
    """Of the campaign."""
    n: int
    """Number of the experiment: the referee is given it, and may ask more of later ones."""
    candidate: str
    """The commit to measure."""
    base: str
    """The commit that the referee comes from."""
    seed: int
    purpose: Purpose
    sandbox: str | None
    """Name of the back end that confines the run, "none" for none; None: the strongest that
    works."""
    gpus: int
    """Graphics cards that the job gets for itself."""
    pruning: Pruning | None = None
    """What the run is compared with while it is on the clock; None: it is never ended early."""

    @property
    def name(self) -> str:
        """Name of its folders, such as `run-12-3`."""
        kind = _FOLDERS.get(self.purpose, self.purpose.value)
        return f"{kind}-{self.n}-{self.seed}"

    def place(self, arena: Arena) -> Path:
        """Scratch folder for its checkouts, removed afterwards."""
        return places(arena, self.tag) / self.name

    def logs(self, arena: Arena) -> Path:
        """Folder of its log files."""
        return experiment_logs(arena, self.tag, self.n) / self.name

    def family(self, arena: Arena) -> str:
        """What marks its processes as the campaign's, so that strays can be found and ended."""
        return family_of(arena, self.tag)


def places(arena: Arena, tag: str) -> Path:
    """The folder of all checkouts of a campaign."""
    return arena.state / "worktrees" / tag
