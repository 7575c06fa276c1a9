"""One experiment from a working copy: what `overnight try` and the tool `try_change` share."""

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
"""A longer reason for a change is refused."""
_MOST_TITLE = 300
_TAIL_LINES = 20
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Change:
    """What differs from HEAD in a checkout, and what its author says of it."""

    idea: Idea
    folder: Path | None = None
    """The arena's folder in the checkout that has the change; None: the arena's own."""
    author: str = "person"

    @classmethod
    def said(
        cls, words: str, why: str = "", expected: float | None = None, folder: Path | None = None
    ) -> Change:
        """From a message: its first line is the title, the rest, and `why`, say why it should help.
        `expected` is the gain in units of the metric, positive is better; without it a line
        `Expected: +0.01` of the message says it.

        Raises UsageError for no title, too long a reason, or an expected gain that is no number.
        """
        if expected is None:
            words, expected = expectation_in(words)
        title, _, rest = words.strip().partition("\n")
        reason = "\n\n".join(part for part in (rest.strip(), why.strip()) if part)
        if not title:
            raise UsageError("the message is empty: say in a line what was changed")
        if len(reason) > MOST_WHY_CHARACTERS:
            raise UsageError(
                f"the hypothesis has {len(reason):,} characters, more than {MOST_WHY_CHARACTERS:,}:"
                " say it shorter; nothing was measured"
            )
        if expected is not None and not isfinite(expected):
            raise UsageError(f"the expected gain is {expected}; expected a finite number")
        return cls(Idea(one_line(title, _MOST_TITLE), reason, expected=expected), folder)


@dataclass(frozen=True)
class Tried:
    """What became of a change."""

    experiment: Experiment
    incumbent: Experiment
    """The best that is confirmed, now."""
    arena: Arena
    branch: str
    go_on: str | None
    """The command that brings the checkout onto what the next change is put on; None: it is there.
    Without it a second change of the same lines conflicts with the first."""
    warnings: Sequence[str]
    """Warnings for the user, oldest first."""

    @property
    def log_tail(self) -> str:
        """The last lines that its newest run printed: untrusted text."""
        return log_tail(self.experiment, self.arena)

    def document(self) -> dict[str, object]:
        """What `overnight try --json` prints: the experiment, and what surrounds it."""
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
        """For the terminal: the interval of the gain and the reason; for a failed run also its last
        lines, unless the reason has them."""
        e, lines = self.experiment, []
        if e.interval is not None:
            lines.append(f"gain between {e.interval[0]:+.4g} and {e.interval[1]:+.4g}")
        lines.append(e.reason)
        last = self.log_tail
        if failed(e) and last and last.splitlines()[-1] not in e.reason:
            lines += ["The run's last lines:", *(f"> {line}" for line in last.splitlines())]
        if self.go_on and e.verdict in (Verdict.KEEP, Verdict.PROVISIONAL):
            lines.append(f"To go on from it: {self.go_on}")
        return "\n".join(lines)


def failed(e: Experiment) -> bool:
    """Whether its run, or its referee, came to no score."""
    return any(m.score is None for m in e.judged)


def log_tail(e: Experiment, arena: Arena) -> str:
    """The last lines of the newest run's log, at most 4,000 bytes; empty without a run."""
    logs = [m.log for m in e.judged if m.log]
    return tail(arena.state / logs[-1] / "run.log", _TAIL_LINES, _TAIL_BYTES) if logs else ""


def try_change(
    root: Path,
    tag: str | None,
    sandbox: str | None,
    change: Change,
    begun: Callable[[Campaign], object] = lambda _: None,
) -> Tried:
    """Measure and judge a change as the campaign's next experiment, and keep it if it wins.

    The campaign is driven, and locked, from here to the return; `begun` hears when that begins,
    and may end it all by the campaign's `stopping`. An experiment that is ended before it is
    judged is withdrawn: recorded as invalid, taken up by nobody.

    Raises what Campaign.open and Campaign.try_ raise; Interrupted when it was ended.
    """
    with Campaign.open(root, tag, sandbox) as campaign:
        begun(campaign)
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
                f"ended on request before it was judged, and withdrawn; `overnight log` of "
                f"campaign {campaign.tag} says so, and the same command tries it again"
            ) from stopped
        assert experiment is not None and experiment.verdict is not None
        best, words = campaign.incumbent, tuple(campaign.warnings)
        go_on = _go_on(campaign, folder)
        return Tried(experiment, best, campaign.arena, campaign.branch, go_on, words)


def _go_on(campaign: Campaign, folder: Path) -> str | None:
    """What brings the checkout around a folder to the tip, its changes with it."""
    tip = campaign.book.tip.candidate
    try:
        head = Workspace.open(folder, campaign.arena.state).head()
    except WorkspaceError:
        return None  # it is no checkout of this repository, as the experiment's reason says
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
"""What `overnight try` ends with."""
