"""The record types: what was tried, what was measured, what was decided. All frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from statistics import median

from overnight.core.usage import UNKNOWN, Usage

Number = int | float
FORESEEN = "foreseen_gain"
"""Among the numbers of a run that was ended early: see Experiment.foreseen."""
Value = bool | int | float | str


class Verdict(StrEnum):
    """How an experiment ended."""

    KEEP = "keep"
    PROVISIONAL = "provisional"
    """Good enough to search on from, not yet confirmed: on no branch, never merged."""
    DISCARD = "discard"
    CRASH = "crash"
    TIMEOUT = "timeout"
    INVALID = "invalid"
    STALE = "stale"


class Outcome(StrEnum):
    """How one measurement ended."""

    FINISHED = "finished"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NO_METRIC = "no metric"
    NOT_FINITE = "metric not finite"
    REFUSED = "refused"
    """By the referee, or by overnight before it: a rule of the arena was broken."""
    PRUNED = "pruned"
    """Ended early, since it was lost by what it reported on its way."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that a measurement with this outcome forces; None: the judge decides."""
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
    """What a measurement was taken for."""

    JUDGE = "judge"
    """To decide about its candidate, or about another beside it."""
    HOLDOUT = "holdout"
    """The final exam: read by people, by no agent and no decision."""
    REPLAY = "replay"
    """Because a person asked; decides nothing."""
    ABLATION = "ablation"
    """To see what the final program is without one of its wins."""


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
    """The gain that the agent expects, positive is better, in units of the metric."""
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
    """What the referee printed beside the metric, and overnight's own meters."""
    reported: Mapping[str, float] = field(default_factory=dict)
    """`key: value` lines that the run printed: shown, never trusted."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds of each stage: setup of the folder, run, score."""
    detail: str = ""
    """For a failure: what happened, in a sentence, with the last lines of output."""
    log: str = ""
    """Folder of the logs, relative to the state folder."""
    device: str = ""
    self_reported: bool = False
    """True when the run printed its own score, because the arena has no referee."""
    sandbox: str = ""
    """The back end that confined the run; "none" when nothing did."""
    referee: str = ""
    """Digest of the protected files that it was measured by, 16 hexadecimal digits."""
    purpose: Purpose = Purpose.JUDGE
    curve: tuple[tuple[float, float], ...] = ()
    """What the run reported on its way: (fraction of the budget, metric). Never trusted."""
    at: int = 0
    """How many judging measurements the campaign had begun before this one, or before its pair."""
    pair: int | None = None
    """Two measurements with the same pair, of two candidates, were taken side by side."""


@dataclass(frozen=True)
class Experiment:
    """One attempt: a candidate, its measurements and its verdict."""

    n: int
    """0 is the baseline; then 1, 2, … within the campaign."""
    agent: str
    started: datetime
    parent: str | None = None
    """The commit that was the incumbent when the agent began."""
    candidate: str | None = None
    """The commit under refs/overnight/<tag>/<n>; None while the agent still thinks."""
    verdict: Verdict | None = None
    """None while the experiment is under way."""
    reason: str = ""
    """Why this verdict, in a sentence."""
    score: float | None = None
    """The judge's estimate of the metric from all measurements."""
    gain: float | None = None
    """Improvement over the parent, positive is better, in units of the metric. In a stack that was
    confirmed as a whole, the share that is believed to be its own: pages do not claim it."""
    interval: tuple[float, float] | None = None
    """Confidence interval of the gain, where the judge's rule gives one."""
    simpler: bool = False
    """Whether a keep, confirmed or not, was kept for being simpler rather than better."""
    within: int | None = None
    """Of a keep that was confirmed in a stack of several: the number of its tip, to which the gain
    of the whole belongs. By itself it is not shown to add anything."""
    whole: float | None = None
    """Of such a tip: the confirmed gain of the whole stack; the interval is that of it too."""
    description: str = ""
    hypothesis: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    expected: float | None = None
    """The gain that the agent expected before it was measured, in units of the metric."""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    dollars: float | None = None
    """What the proposal cost, as far as the agent knows; tokens as in Usage."""
    thought: float | None = None
    """Wall seconds that the agent took."""
    program: str = ""
    """Digest of the candidate's editable files without comments and layout, 16 hexadecimal digits:
    two candidates with the same are the same program."""
    dropped: tuple[str, ...] = ()
    """Paths the agent changed that are not editable: not in the candidate."""
    ended: datetime | None = None
    measurements: tuple[Measurement, ...] = ()
    """Those that judge it. The final exams and the replays are not among them, so that they reach
    no decision and no agent: a person asks the ledger for the `whole` experiment."""

    @property
    def usage(self) -> Usage:
        """What its proposal used."""
        return Usage(self.tokens_in, self.tokens_cached, self.tokens_out, self.dollars)

    @property
    def seconds(self) -> float | None:
        """Wall seconds from start to verdict; None while under way."""
        return (self.ended - self.started).total_seconds() if self.ended else None

    @property
    def scores(self) -> tuple[float, ...]:
        """The metric of every finished measurement that judges it, in the order they were taken."""
        return tuple(m.score for m in self.judged if m.score is not None)

    @property
    def judged(self) -> tuple[Measurement, ...]:
        """The measurements that were taken to decide, in the order they were taken."""
        return tuple(m for m in self.measurements if m.purpose is Purpose.JUDGE)

    @property
    def foreseen(self) -> float | None:
        """Of an experiment whose run was ended early: the gain that it seemed to come to, positive
        is better. A guess, from what that run said of itself."""
        first = next(iter(self.judged), None)
        return first.numbers.get(FORESEEN) if first and self.score is None else None

    @property
    def caveats(self) -> tuple[str, ...]:
        """What every page says beside its scores: "self-reported", "no sandbox", "simpler",
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
        """True for the baseline and what was confirmed: the commits of the branch."""
        return self.verdict is Verdict.KEEP

    @property
    def is_member(self) -> bool:
        """Whether it lies below the tip of a stack that was confirmed as a whole."""
        return self.within not in (None, self.n)

    @property
    def claim(self) -> float | None:
        """The gain that pages show: of a confirmed stack that of the whole, on its tip; none of its
        members, and none of what was kept for being simpler."""
        if self.within is not None:
            return self.whole
        return None if self.simpler else self.gain

    @property
    def won(self) -> bool:
        """Whether it is a win: a keep, after the baseline, with a gain to claim."""
        return self.kept and self.n > 0 and self.claim is not None


@dataclass(frozen=True)
class Closing:
    """What is written when an experiment ends."""

    verdict: Verdict
    reason: str
    score: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    candidate: str | None = None
    """The commit that takes the measured one's place (same tree, final message), if any."""
    simpler: bool = False
    within: int | None = None
    whole: float | None = None

    @property
    def values(self) -> dict[str, object]:
        """The columns that it fills."""
        low, high = self.interval or (None, None)
        values = vars(self) | {"interval_low": low, "interval_high": high}
        return {
            k: v for k, v in values.items() if k != "interval" and (k, v) != ("candidate", None)
        }

    def of(self, experiment: Experiment) -> Experiment:
        """The experiment as it will be."""
        return replace(experiment, **{k: v for k, v in vars(self).items() if k != "candidate"})

    def as_(self, verdict: Verdict, reason: str, candidate: str | None = None) -> Closing:
        """The same numbers under another verdict."""
        return replace(self, verdict=verdict, reason=reason, candidate=candidate)


def confirmed_gain(keeps: Iterable[Experiment]) -> float:
    """What all these keeps are better by together: the gains of the wins, less what
    simplifications seem to have lost."""
    return sum(
        min(keep.gain or 0.0, 0.0) if keep.simpler and keep.within is None else keep.claim or 0.0
        for keep in keeps
    )


@dataclass(frozen=True)
class CampaignRecord:
    """One search in one arena on one branch."""

    tag: str
    arena: str
    """The arena's name."""
    branch: str
    base: str
    """The commit the campaign started from: the source of every protected file."""
    started: datetime


@dataclass(frozen=True)
class Event:
    """Something that happened in a campaign beside its experiments."""

    id: int
    kind: str
    """start, stop, stop-request, steer, warning, trouble, switch, setup, prune, trial, pair, seed,
    spent."""
    at: datetime
    data: Mapping[str, Value | None]


def estimate(experiment: Experiment) -> float:
    """The score that stands for a candidate: the median of its measurements. It was chosen for its
    first ones, so they do not count once there are others from after it had its verdict."""
    chosen = experiment.ended if experiment.n else None
    scored = [m for m in experiment.judged if m.score is not None]
    later = [m for m in scored if chosen and m.started > chosen] or scored
    return median(m.score for m in later if m.score is not None)


SEED = "seed"
"""The kind of event that tells by which place a campaign may be measured by one draw alone."""
