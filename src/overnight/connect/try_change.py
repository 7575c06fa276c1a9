"""An experiment from a working copy, for `overnight try` and the tool `try_change`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from overnight.agents.programs.idea_file import expectation_in
from overnight.agents.working_copy import WorkingCopyAgent
from overnight.arena.arena import Arena
from overnight.campaign.campaign import Campaign
from overnight.campaign.slots import StoppedAtOnce
from overnight.core.errors import Interrupted, UsageError, WorkspaceError
from overnight.core.experiment import Experiment, Idea, Verdict
from overnight.core.text import one_line, tail
from overnight.repo.workspace import Workspace
from overnight.views.documents import experiment_document

MOST_WHY_CHARACTERS = 4000
_MOST_TITLE_CHARACTERS = 300
_TAIL_LINES = 20
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Change:
    """The difference from HEAD in a checkout, and its author's idea."""

    idea: Idea
    folder: Path | None = None
    """The arena's folder in the checkout with the change; None: the arena's own."""
    author: str = "person"

    @classmethod
    def described(
        cls, message: str, why: str = "", expected: float | None = None, folder: Path | None = None
    ) -> Change:
        """The change that a message describes: its first line is the title; its other lines and
        `why` are the hypothesis. `expected` is the gain in units of the metric, positive is better;
        by default a line `Expected: +0.01` of the message gives it.

        Raises UsageError for an empty title, a hypothesis above 4,000 characters, or an expected
        gain that is not finite.
        """
        if expected is None:
            message, expected = expectation_in(message)
        title, _, rest = message.strip().partition("\n")
        reason = "\n\n".join(part for part in (rest.strip(), why.strip()) if part)
        if not title:
            raise UsageError("the message is empty: say in one line what was changed")
        if len(reason) > MOST_WHY_CHARACTERS:
            raise UsageError(
                f"the hypothesis has {len(reason):,} characters, more than {MOST_WHY_CHARACTERS:,}:"
                " shorten it; nothing was measured"
            )
        if expected is not None and not isfinite(expected):
            raise UsageError(f"the expected gain is {expected}; expected a finite number")
        title = one_line(title, _MOST_TITLE_CHARACTERS)
        return cls(Idea(title, reason, expected=expected), folder)


@dataclass(frozen=True)
class Tried:
    """The result of trying a change."""

    experiment: Experiment
    incumbent: Experiment
    """The newest confirmed keep."""
    arena: Arena
    branch: str
    go_on: str | None
    """The git command that moves the checkout to the newest keep; None if it is there. Otherwise
    another change of the same lines would conflict with that keep."""
    warnings: Sequence[str]
    """Warnings for the user, oldest first."""

    @property
    def log_tail(self) -> str:
        """The end of its newest run's log: untrusted text."""
        return log_tail(self.experiment, self.arena)

    def document(self) -> dict[str, object]:
        """What `overnight try --json` prints."""
        best = self.incumbent
        return {
            **experiment_document(self.experiment, self.arena),
            "log_tail": self.log_tail,
            "incumbent": {"n": best.n, "score": best.score, "candidate": best.candidate},
            "branch": self.branch,
            "go_on": self.go_on,
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """For the terminal: the interval of the gain, the reason, a failed run's last lines unless
        the reason has them, and after a keep the command that continues from it."""
        e, lines = self.experiment, []
        if e.interval is not None:
            lines.append(f"gain between {e.interval[0]:+.4g} and {e.interval[1]:+.4g}")
        lines.append(e.reason)
        last = self.log_tail.splitlines()
        if any(m.score is None for m in e.judged) and last and last[-1] not in e.reason:
            lines += ["The run's last lines:", *(f"> {line}" for line in last)]
        if self.go_on and e.verdict in (Verdict.KEEP, Verdict.PROVISIONAL):
            lines.append(f"To continue from it: {self.go_on}")
        return "\n".join(lines)


def log_tail(e: Experiment, arena: Arena) -> str:
    """The last 20 lines of the newest run's log, at most 4,000 bytes; empty without a run."""
    logs = [m.log for m in e.judged if m.log]
    return tail(arena.state / logs[-1] / "run.log", _TAIL_LINES, _TAIL_BYTES) if logs else ""


def try_change(
    root: Path,
    tag: str | None,
    sandbox: str | None,
    change: Change,
    opened: Callable[[Campaign], object] = lambda _: None,
) -> Tried:
    """Measure and judge a change as the campaign's next experiment, and keep it if it wins.

    The campaign is locked meanwhile. `opened` is called with it before the measurement; set the
    campaign's `stopping` to end the call. An experiment that ends before its verdict is withdrawn:
    recorded as invalid, and not resumed.

    Raises what Campaign.open and Campaign.try_ raise, and Interrupted if the call was ended.
    """
    with Campaign.open(root, tag, sandbox) as campaign:
        opened(campaign)
        folder = change.folder or campaign.arena.root
        proposer = WorkingCopyAgent(campaign.workspace, folder, change.idea, change.author)
        try:
            experiment = campaign.try_(proposer)
        except KeyboardInterrupt:
            campaign.withdraw("interrupted before it was judged")
            raise
        except StoppedAtOnce as stopped:
            campaign.withdraw("ended on request before it was judged")
            raise Interrupted(
                f"the experiment was ended on request before it was judged, and withdrawn from "
                f"campaign {campaign.tag}; run the same command again to try it again"
            ) from stopped
        assert experiment is not None and experiment.verdict is not None
        best, warnings = campaign.incumbent, tuple(campaign.warnings)
        go_on = _go_on(campaign, folder)
        return Tried(experiment, best, campaign.arena, campaign.branch, go_on, warnings)


def _go_on(campaign: Campaign, folder: Path) -> str | None:
    """The git command that moves a folder's checkout, with its changes, to the newest keep."""
    tip = campaign.book.tip.candidate
    try:
        head = Workspace.open(folder, campaign.arena.state).head()
    except WorkspaceError:
        return None  # no checkout of this repository; the experiment's reason says so
    if tip is None or head == tip:
        return None
    return f"git -C {shlex.quote(str(folder))} switch --merge --detach {tip[:10]}"


EXIT_CODES = {
    Verdict.KEEP: 0,
    Verdict.DISCARD: 10,
    Verdict.CRASH: 11,
    Verdict.TIMEOUT: 12,
    Verdict.INVALID: 13,
    Verdict.STALE: 13,
    Verdict.PROVISIONAL: 14,
}
"""Exit code of `overnight try` for each verdict."""
