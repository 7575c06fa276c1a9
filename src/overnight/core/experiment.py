"""The record types: what was tried, measured and decided. All are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from statistics import median

from overnight.core.text import counted
from overnight.core.usage import UNKNOWN, Usage

Number = int | float
FORESEEN = "foreseen_gain"
"""Key in the numbers of a run that was ended early; see Experiment.foreseen."""
Value = bool | int | float | str


class Verdict(StrEnum):
    """How an experiment ended."""

    KEEP = "keep"
    PROVISIONAL = "provisional"
    """Looks better, not yet confirmed: the search continues from it, but it is on no branch."""
    DISCARD = "discard"
    CRASH = "crash"
    TIMEOUT = "timeout"
    INVALID = "invalid"
    STALE = "stale"


FAILED = (Verdict.CRASH, Verdict.TIMEOUT, Verdict.INVALID, Verdict.STALE)
"""The verdicts of experiments that were never compared with their parent."""


class Outcome(StrEnum):
    """How one measurement ended."""

    FINISHED = "finished"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NO_METRIC = "no metric"
    NOT_FINITE = "metric not finite"
    REFUSED = "refused"
    """The referee, or overnight before it, found that a rule of the arena was broken."""
    PRUNED = "pruned"
    """Ended early, because by its own progress reports it could no longer win."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that follows from this outcome; None: the judge decides."""
        if self is Outcome.FINISHED:
            return None
        forced = {
            Outcome.TIMEOUT: Verdict.TIMEOUT,
            Outcome.NOT_FINITE: Verdict.INVALID,
            Outcome.REFUSED: Verdict.INVALID,
            Outcome.PRUNED: Verdict.DISCARD,
        }
        return forced.get(self, Verdict.CRASH)


class Purpose(StrEnum):
    """Why a measurement was taken."""

    JUDGE = "judge"
    """To decide about its candidate, or about another one in comparison."""
    HOLDOUT = "holdout"
    """The final exam: for people only; no agent and no decision uses it."""
    REPLAY = "replay"
    """The user asked for it; it decides nothing."""
    ABLATION = "ablation"
    """To score the final program without one of its wins."""
    CHECK = "check"
    """The arena's checks, before a keep. Finished, without a score, when all pass; refused when one
    fails."""


@dataclass(frozen=True)
class Idea:
    """What an agent says about its change."""

    title: str
    """One line: what was changed."""
    hypothesis: str = ""
    """Why it should help."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """Named values of the candidate, for agents that search a space (`train.py:DEPTH` → 4)."""
    expected: float | None = None
    """The gain that the agent expects, in units of the metric; positive is better."""
    usage: Usage = UNKNOWN


@dataclass(frozen=True)
class Measurement:
    """One run and one score of one candidate."""

    candidate: str
    """The commit that was measured."""
    seed: int
    started: datetime
    outcome: Outcome
    score: float | None = None
    """The metric; None unless the outcome is finished."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What the referee printed besides the metric, and overnight's meters."""
    reported: Mapping[str, float] = field(default_factory=dict)
    """`key: value` lines that the run printed. Shown, never trusted."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds of each stage: prepare (the folder), run, score."""
    detail: str = ""
    """Of a failure: what happened, in one sentence, and the last lines of output. Also why its
    folder cannot be deleted."""
    log: str = ""
    """Folder of the logs, relative to the state folder."""
    device: str = ""
    self_reported: bool = False
    """Whether the run printed its own score, because the arena has no referee."""
    sandbox: str = ""
    """The back end that confined the run, or "none"."""
    referee: str = ""
    """Digest of the protected files at the measurement, 16 hexadecimal digits."""
    purpose: Purpose = Purpose.JUDGE
    curve: tuple[tuple[float, float], ...] = ()
    """What the run reported on its way: (fraction of the budget, metric). Never trusted."""
    at: int = 0
    """Its place in time: how many measurements of the campaign were taken to decide before it; the
    two of a pair share one."""
    pair: int | None = None
    """Number of the pair it is one half of, within its campaign."""

    @property
    def seconds(self) -> float:
        """Wall seconds of its stages together."""
        return sum(self.stage_seconds.values(), 0.0)


@dataclass(frozen=True)
class Proposal:
    """One turn of an agent: where it started, what it used, and the experiment that came of it."""

    id: int
    agent: str
    start: int
    """Number of the experiment whose candidate the agent's checkout had."""
    against: int
    """Number of the experiment whose candidate the change is judged beside."""
    started: datetime
    ended: datetime | None = None
    usage: Usage = UNKNOWN
    thought: float | None = None
    """Wall seconds that the agent took."""
    outcome: str = ""
    """What became of it: "candidate", "refused", "nothing left", "stopped", "lost" (its driver
    died), or the trouble that its agent was in; empty while the agent thinks."""
    n: int | None = None
    """Number of the experiment that came of it."""


@dataclass(frozen=True)
class Experiment:
    """One attempt: a candidate, its measurements and its verdict."""

    n: int
    """0 is the baseline; then 1, 2, … within the campaign."""
    agent: str
    started: datetime
    start: int | None = None
    """Number of the experiment whose candidate the agent's checkout had; None for the baseline."""
    against: int | None = None
    """Number of the experiment whose candidate this one is judged beside."""
    parent: str | None = None
    """The commit that the candidate was made on, its parent in git: that of `against`."""
    candidate: str | None = None
    """The commit under refs/overnight/<tag>/<n>; None for a proposal that was
    refused."""
    verdict: Verdict | None = None
    """None while the experiment is under way."""
    reason: str = ""
    """Why this verdict, in one sentence."""
    score: float | None = None
    """The judge's estimate of the metric from all measurements."""
    gain: float | None = None
    """Improvement over the parent, in units of the metric; positive is better. In a stack that was
    confirmed as a whole: the estimated share of this experiment, which no page claims as a gain."""
    interval: tuple[float, float] | None = None
    """Confidence interval of the gain, if the judge's rule gives one."""
    simpler: bool = False
    """Whether it was kept, confirmed or not, because it is simpler rather than better."""
    within: int | None = None
    """Of a keep that was confirmed in a stack of several: the number of the stack's tip, which
    carries the gain of the whole. The keep alone is not shown to add anything."""
    whole: float | None = None
    """Of the tip of such a stack: the confirmed gain of the whole; `interval` belongs to it."""
    description: str = ""
    hypothesis: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    expected: float | None = None
    """The gain that the agent expected before it was measured, in units of the metric."""
    proposal: Proposal | None = None
    """The turn of the agent that it came of; None for the baseline."""
    program: str = ""
    """Digest of the candidate's editable files without comments and layout, 16 hexadecimal digits:
    two candidates with the same are the same program."""
    simplifies: bool = False
    """Whether the candidate has less code than its parent, where the judge wants to know."""
    dropped: tuple[str, ...] = ()
    """Paths that the agent changed but that are not editable: not in the candidate."""
    ended: datetime | None = None
    verdict_at: int | None = None
    """The place in time of its first verdict: measurements whose `at` is this or more began after
    it. Clocks are not compared, because they can be set."""
    measurements: tuple[Measurement, ...] = ()
    """Those that decide about it. Final exams and replays are not among them, so that they reach no
    decision and no agent: views ask the ledger for the `whole` experiment."""
    checked: Measurement | None = None
    """The newest outcome of the arena's checks."""

    @property
    def usage(self) -> Usage:
        """What its proposal used."""
        return self.proposal.usage if self.proposal else UNKNOWN

    @property
    def thought(self) -> float | None:
        """Wall seconds that its agent took."""
        return self.proposal.thought if self.proposal else None

    @property
    def seconds(self) -> float | None:
        """Wall seconds that its proposal, its measurements before the verdict and its checks took;
        None while under way. The time between does not count: the driver may have been dead."""
        if self.ended is None:
            return None
        at = self.verdict_at
        taken = [m for m in self.judged if at is None or m.at < at]
        checks = (self.checked,) if self.checked else ()
        return sum((m.seconds for m in (*taken, *checks)), self.thought or 0.0)

    @property
    def scores(self) -> tuple[float, ...]:
        """The metric of each finished measurement in `judged`, in order."""
        return tuple(m.score for m in self.judged if m.score is not None)

    @property
    def judged(self) -> tuple[Measurement, ...]:
        """The measurements taken to decide, in order."""
        return tuple(m for m in self.measurements if m.purpose is Purpose.JUDGE)

    def judged_after(self, other: Experiment) -> tuple[Measurement, ...]:
        """The measurements in `judged` that began after the first verdict of `other`."""
        at = other.verdict_at
        return () if at is None else tuple(m for m in self.judged if m.at >= at)

    @property
    def foreseen(self) -> float | None:
        """The predicted gain of an experiment whose run was ended early, positive is better: a
        guess from the run's own reports."""
        first = next(iter(self.judged), None)
        return first.numbers.get(FORESEEN) if first and self.score is None else None

    @property
    def caveats(self) -> tuple[str, ...]:
        """What every page shows next to its scores: "self-reported", "no sandbox", "simpler",
        "confirmed with #7"."""
        own_word = any(m.self_reported for m in self.measurements)
        loose = any(m.sandbox == "none" for m in self.measurements)
        return (
            ("self-reported",) * own_word
            + ("no sandbox",) * loose
            + ("simpler",) * self.simpler
            + (f"confirmed with #{self.within}",) * self.is_member
        )

    @property
    def kept(self) -> bool:
        """Whether it is a commit of the branch: the baseline, or a confirmed keep."""
        return self.verdict is Verdict.KEEP

    @property
    def is_member(self) -> bool:
        """Whether it is in a stack that was confirmed as a whole, below its tip."""
        return self.within not in (None, self.n)

    @property
    def claim(self) -> float | None:
        """The gain that pages show. On the tip of a confirmed stack: that of the whole. None for
        its other members, and for what was kept for being simpler."""
        if self.within is not None:
            return self.whole
        return None if self.simpler else self.gain

    @property
    def won(self) -> bool:
        """Whether it is a win: a keep other than the baseline, with a gain to claim."""
        return self.kept and self.n > 0 and self.claim is not None

    @property
    def only_simpler(self) -> bool:
        """Whether it is a keep because it is simpler, neither a win nor part of one."""
        return self.kept and self.n > 0 and not self.won and not self.is_member


@dataclass(frozen=True)
class Closing:
    """What is written when an experiment ends."""

    verdict: Verdict
    reason: str
    score: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    candidate: str | None = None
    """The commit that replaces the measured one (same tree, final message), if any."""
    simpler: bool = False
    within: int | None = None
    whole: float | None = None

    @property
    def values(self) -> dict[str, object]:
        """Its values by column of the ledger."""
        low, high = self.interval or (None, None)
        values = vars(self) | {"interval_low": low, "interval_high": high}
        return {
            k: v for k, v in values.items() if k != "interval" and (k, v) != ("candidate", None)
        }

    def of(self, experiment: Experiment) -> Experiment:
        """The experiment with these values."""
        return replace(experiment, **{k: v for k, v in vars(self).items() if k != "candidate"})


def confirmed_gain(keeps: Iterable[Experiment]) -> float:
    """Total gain of these keeps: the gains of the wins, minus what simplifications seem to have
    lost."""
    return sum(
        min(keep.gain or 0.0, 0.0) if keep.simpler and keep.within is None else keep.claim or 0.0
        for keep in keeps
    )


def kept_words(keeps: Sequence[Experiment]) -> str:
    """These keeps in words: `2 wins of 5 changes and 1 simplification`."""
    wins, simpler = sum(e.won for e in keeps), sum(e.only_simpler for e in keeps)
    words = [counted(wins, "win")] if wins or not simpler else []
    if (changes := len(keeps) - simpler) > wins:
        words = [f"{counted(wins, 'win')} of {counted(changes, 'change')}"]
    return " and ".join([*words, *[counted(simpler, "simplification")] * (simpler > 0)])


@dataclass(frozen=True)
class CampaignRecord:
    """One search in one arena on one branch."""

    tag: str
    arena: str
    """The arena's name."""
    branch: str
    base: str
    """The commit that the campaign started from: the source of all protected files."""
    started: datetime


@dataclass(frozen=True)
class Event:
    """Something that happened in a campaign besides its experiments."""

    id: int
    kind: str
    """start, stop, stop-request, steer, warning, trouble, switch, setup, prune, fixed-seed."""
    at: datetime
    data: Mapping[str, Value | None]


def estimate(experiment: Experiment) -> float:
    """The score of a candidate: the median of its counted scores."""
    return median(counted_scores(experiment))


def counted_scores(experiment: Experiment) -> list[float]:
    """The scores of a candidate's measurements. Once some were taken after its verdict, only those
    count, because it was chosen for its first ones."""
    later = experiment.judged_after(experiment) if experiment.n else ()
    scores = [m.score for m in later if m.score is not None]
    return scores or list(experiment.scores)


FIXED_SEED = "fixed-seed"
"""Kind of the event that records where a program fixes its seed: then all measurements may be one
draw."""
