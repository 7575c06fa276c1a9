"""Computes the numbers of a campaign once, so that terminal, report, picture and `--json` agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.arena.settings import Metric
from overnight.campaign.limits import Stretch
from overnight.core.experiment import (
    FIXED_SEED,
    Event,
    Experiment,
    Purpose,
    Verdict,
    confirmed_gain,
    counted_scores,
    kept_words,
)
from overnight.core.spending import Spent, together
from overnight.core.text import counted, one_line, tail
from overnight.core.usage import Left
from overnight.insights.overfitting import Gap, read_gap
from overnight.insights.pruning_savings import Savings, savings
from overnight.insights.readings import campaign_noise
from overnight.insights.wall_time import TURNS, driven_times, walls
from overnight.judge.noise import Noise, noise_of
from overnight.record.book import Book
from overnight.record.lock import driver_of, lock_path
from overnight.record.log_folders import proposal_logs

_TALLY = {
    Verdict.KEEP: "kept",
    Verdict.PROVISIONAL: "provisional",
    Verdict.DISCARD: "discarded",
    Verdict.CRASH: "crashed",
    Verdict.TIMEOUT: "timed out",
    Verdict.INVALID: "invalid",
    Verdict.STALE: "stale",
}
_ACTIVITY = {
    Purpose.JUDGE: "is measured again, to be confirmed",
    Purpose.HOLDOUT: "is measured by the final exam",
    Purpose.REPLAY: "is measured again, as you asked",
    Purpose.ABLATION: "is measured without one of its wins",
    Purpose.CHECK: "was measured; its checks run",
}
_DECIDE = (Purpose.JUDGE, Purpose.CHECK)
_TAIL_LINES = 20
_RECENT = 50
"""Newest experiments in a summary; the pace is their mean."""
SELF_REPORTED = "self-reported: no referee checks these scores"
NO_SANDBOX = "no sandbox: runs are not confined and have your rights"


@dataclass(frozen=True)
class Running:
    """What the process that drives the campaign is doing."""

    n: int | None
    """None for the setup."""
    phase: str
    """"setup", "agent" while an agent works on a change, "measuring" once its candidate exists,
    "resting" while no agent can be asked; otherwise the purpose of the measurement that runs:
    "judge", "check", "holdout", "replay" or "ablation"."""
    description: str
    since: datetime
    """When the setup, the proposal, the experiment or the rest began."""
    measurements: int = 0
    """Finished measurements of the experiment."""
    measured: int | None = None
    """Number of the experiment that is being measured: this one, or the incumbent beside it."""
    measured_since: datetime | None = None
    transcript: Path | None = None
    """The log of the agent that works."""

    @property
    def words(self) -> str:
        """The description, with the last line that the agent printed, JSON left out."""
        if self.transcript is None:
            return self.description
        said = tail(self.transcript, _TAIL_LINES).splitlines()
        lines = [line for line in said if line.strip() and not line.lstrip().startswith("{")]
        return self.description + (f": {one_line(lines[-1])}" if lines else "")


@dataclass(frozen=True)
class Summary:
    """The state of a campaign."""

    tag: str
    branch: str
    base: str
    """The commit it started from."""
    arena: Arena
    baseline: Experiment | None
    incumbent: Experiment | None
    experiments: int
    """Number of finished experiments, without the baseline."""
    verdicts: Mapping[Verdict, int]
    """How many of those got each verdict."""
    recent: Sequence[Experiment]
    """The newest finished experiments, oldest first."""
    keeps: Sequence[Experiment]
    """The experiments on the branch, oldest first: wins, the keeps that were confirmed together
    with a win, and simplifications."""
    provisional: Sequence[Experiment]
    """Provisional experiments on top of the incumbent; on no branch."""
    noise: Noise
    """The noise of one measurement, from every repeat of the campaign."""
    fixed_seed: str | None
    """Where the program fixes its seed, in words: then all measurements may be one draw."""
    driven: bool
    """Whether a running process drives the campaign."""
    running: Running | None
    left: Left | None
    """None when no process drives the campaign, or when it has no limits."""
    stop_reason: str | None
    seconds: float
    """Wall seconds that the campaign was driven, without the pauses between runs."""
    pace: float | None
    """Mean wall seconds of a recent experiment, with the pairs and exams after it."""
    spent: Sequence[Spent]
    """What the proposals have used, by agent."""
    pruning: Savings
    holdout: Gap | None
    """None without `[holdout]`, unless there are exam scores."""

    @property
    def metric(self) -> Metric:
        return self.arena.metric

    @property
    def self_reported(self) -> bool:
        """Whether the candidates report their own scores."""
        return self.arena.score is None

    @property
    def unconfined(self) -> bool:
        """Whether a run of the baseline, a keep or a recent experiment had no sandbox."""
        known = [*([self.baseline] if self.baseline else []), *self.keeps, *self.recent]
        return any("no sandbox" in e.caveats for e in known)

    @property
    def warnings(self) -> Sequence[str]:
        """Why the scores may not be trusted, a line for each reason."""
        return [*[SELF_REPORTED] * self.self_reported, *[NO_SANDBOX] * self.unconfined]

    @property
    def wins(self) -> Sequence[Experiment]:
        """The keeps with a gain to claim."""
        return [keep for keep in self.keeps if keep.won]

    @property
    def simpler(self) -> Sequence[Experiment]:
        """Keeps that were kept because they are simpler, not as part of a win."""
        return [keep for keep in self.keeps if keep.only_simpler]

    def members_of(self, win: Experiment) -> Sequence[Experiment]:
        """The earlier keeps that were confirmed together with this win; none of them is confirmed
        alone."""
        return [keep for keep in self.keeps if keep.is_member and keep.within == win.n]

    @property
    def kept_words(self) -> str:
        """The changes on the branch."""
        return kept_words(self.keeps)

    @property
    def gain(self) -> float | None:
        """Gain of the incumbent over the baseline, in units of the metric, positive is better.
        Under the rule `confirm`, only confirmed gains count."""
        first, best = self.baseline, self.incumbent
        if first is None or best is None or first.score is None or best.score is None:
            return None
        if self.arena.judge.rule == "confirm":
            return confirmed_gain(self.keeps)
        return self.metric.orient(best.score) - self.metric.orient(first.score)

    @property
    def keep_rate(self) -> float:
        """Share of the experiments that were kept, 0 to 1."""
        return self.verdicts.get(Verdict.KEEP, 0) / max(self.experiments, 1)

    @property
    def tally(self) -> str:
        """How many got each verdict: `4 kept (33%), 6 discarded, 2 crashed`."""
        words = []
        for verdict, word in _TALLY.items():
            if count := self.verdicts.get(verdict):
                share = f" ({self.keep_rate:.0%})" if verdict is Verdict.KEEP else ""
                words.append(f"{count:,} {word}{share}")
        return ", ".join(words) or "none yet"

    @property
    def spent_words(self) -> Sequence[str]:
        """What all proposals have used, then, with several agents, a line for each; empty when all
        proposals are free."""
        if all(one.free for one in self.spent):
            return ()
        each = [f"{one_line(one.agent)}: {one.words}" for one in self.spent]
        return each if len(each) == 1 else (together(self.spent).words, *each)

    @property
    def gained(self) -> str:
        """The gain over the baseline, in a sentence without its full stop."""
        first, best = self.baseline, self.incumbent
        if first is None or best is None or first.score is None or best.score is None:
            return "the baseline has no score yet"
        name, tried = self.metric.name, counted(self.experiments, "experiment")
        if best.n == 0:
            result = f"the baseline has {name} {score_words(first)}"
            if not self.experiments:
                return f"{result}; nothing else has been measured yet"
            if self.provisional:
                return f"{result}; after {tried}, no gain is confirmed yet"
            return f"{result}; {tried} did not beat it"
        wins, gain = self.kept_words, self.gain or 0.0
        measured = self.metric.orient(best.score) - self.metric.orient(first.score)
        change = f"{name} {_change(first, best)} with {wins} in {tried}"
        if math.isclose(gain, measured, rel_tol=1e-6):
            return change
        before = f"the baseline's {score_words(first)}"
        if not self.wins:
            return f"{name} is as good as {before} within the margin, with {wins} in {tried}"
        if any(bounds.soft is not None for bounds in self.arena.constraints.values()):
            return f"{change}: {gain:.6g} better after the costs of soft constraints"
        # The best score may be a lucky draw: only the confirmed gain is claimed.
        share = f" ({abs(gain / first.score) * 100:.3g}%)" if first.score else ""
        better = f"{name} is {gain:.4g} better{share} than {before}"
        return f"{better}, confirmed, with {wins} in {tried}"

    @property
    def noise_words(self) -> str:
        """The noise of one measurement, in words; empty while it is unknown."""
        if self.noise.deterministic:
            words = "none: repeats are equal to the last digit"
            luck = f", but {self.fixed_seed}: the luck of that seed may count as gain"
            return words + (luck if self.fixed_seed else "")
        if not self.noise.sigma:
            return ""
        words = f"{self.noise.sigma:.3g} in one measurement"
        return words + (", and the machine drifts" if self.noise.drift else "")


def direction_words(metric: Metric) -> str:
    """`lower is better` or `higher is better`."""
    return f"{'lower' if metric.direction == 'minimize' else 'higher'} is better"


def median_of(e: Experiment) -> int | None:
    """The number of measurements that the score is the median of; None unless they differ."""
    scores = counted_scores(e)
    return len(scores) if len(set(scores)) > 1 else None


def median_words(e: Experiment) -> str:
    """`median of 6 measurements`; empty unless they differ."""
    return f"median of {count} measurements" if (count := median_of(e)) else ""


def score_words(e: Experiment) -> str:
    """`2.59345 (median of 6 measurements)`, or the score of a single measurement alone."""
    words = median_words(e)
    return f"{e.score:.6g}" + (f" ({words})" if words else "")


def _change(first: Experiment, best: Experiment) -> str:
    """`went from 1.78 to 1.69 (-5.06%)`, with enough digits to tell the two scores apart."""
    assert first.score is not None and best.score is not None
    old, new, digits = first.score, best.score, 6
    while digits < 17 and old != new and f"{old:.{digits - 1}g}" == f"{new:.{digits - 1}g}":
        digits += 1
    ratio = (new - old) / abs(old) if old else 0.0
    # A percentage means nothing between numbers of different sign, or of a number near 0.
    useful = 1e-4 <= abs(ratio) < 10 and old * new > 0
    before = f" ({words})" if (words := median_words(first)) else ""
    notes = [*filter(None, [median_words(best)]), *[f"{ratio * 100:+.3g}%"] * useful]
    after = f" ({'; '.join(notes)})" if notes else ""
    return f"went from {old:.{digits}g}{before} to {new:.{digits}g}{after}"


def scale(experiments: Iterable[Experiment], metric: Metric) -> tuple[float, float] | None:
    """The range of oriented scores that a picture should show, worst and best. The gain takes at
    least a fifth of it, however bad some scores are.

    None when no experiment was kept, provisionally or not, or discarded with a score.
    """
    won = (Verdict.KEEP, Verdict.PROVISIONAL)
    compared = [e for e in experiments if e.verdict in (*won, Verdict.DISCARD)]
    scores = sorted(metric.orient(e.score) for e in compared if e.score is not None)
    if not scores:
        return None
    kept = [metric.orient(e.score) for e in compared if e.verdict in won and e.score is not None]
    kept = kept or [scores[len(scores) // 2]]
    start, best = min(kept), max(kept)
    worse = [start - score for score in scores if score < start][::-1]
    bulk = worse[len(worse) * 3 // 4] if worse else 0.0
    reach = min(max(best - start, 1.2 * bulk), 3 * (best - start) or float("inf"))
    low = max(scores[0], start - reach)
    return low, max(best, min(scores[-1], best + (best - low) / 4))


def summarize(book: Book) -> Summary:
    """The state of the campaign now. Raises LedgerError."""
    arena, record = book.arena, book.record
    counts = dict(book.counts)
    if (first := book.find(0)) is not None and first.verdict is not None:
        counts[first.verdict] -= 1
    recent = book.recent[-_RECENT:]
    noise = campaign_noise(book) if book.begun else noise_of(())
    newest = recent[-1].ended if recent and recent[-1].ended else record.started
    driven = driver_of(lock_path(arena, book.tag)) is not None
    turns = book.events(*TURNS)
    return Summary(
        tag=book.tag,
        branch=record.branch,
        base=record.base,
        arena=arena,
        baseline=book.baseline if book.begun else None,
        incumbent=book.incumbent if book.begun else None,
        experiments=sum(counts.values()),
        verdicts={verdict: counts[verdict] for verdict in Verdict if counts.get(verdict)},
        recent=recent,
        keeps=book.keeps,
        provisional=book.lineage.provisional if book.begun else [],
        noise=noise,
        fixed_seed=_fixed_seed(book),
        driven=driven,
        running=_running(book, newest) if driven else None,
        left=_left(book, turns) if driven else None,
        stop_reason=_stop_reason(turns, driven),
        seconds=_seconds(turns, newest, record.started).total_seconds(),
        pace=_pace(recent, turns),
        spent=book.spent,
        pruning=savings(book),
        holdout=read_gap(book, noise),
    )


def _pace(recent: Sequence[Experiment], turns: Sequence[Event]) -> float | None:
    took = [seconds for n, seconds in walls(recent, turns).items() if n > 0]
    return sum(took) / len(took) if took else None


def _fixed_seed(book: Book) -> str | None:
    event = book.ledger.newest_event(book.tag, FIXED_SEED)
    return str(event.data["words"]) if event else None


def _running(book: Book, newest: datetime) -> Running | None:
    clock = book.under_way[-1] if book.under_way else None
    if clock and (clock.purpose not in _DECIDE or not book.unfinished):
        n, since, words = clock.n, clock.started, _ACTIVITY[clock.purpose]
        return Running(n, clock.purpose.value, words, since, 0, n, since)
    if book.unfinished:
        e, done = book.unfinished[-1], len(book.unfinished[-1].measurements)
        on = (clock.n, clock.started) if clock else (None, None)
        return Running(e.n, "measuring", e.description, e.started, done, *on)
    if book.asked:
        asked = book.asked[-1]
        logs = proposal_logs(book.arena, book.tag, asked.id)
        words, log = f"{asked.agent} thinks", logs / "agent.log"
        return Running(book.next_number, "agent", words, asked.started, transcript=log)
    found = [event for event in book.events("setup", "trouble") if event.at > newest][-1:]
    phases = {"setup": "setup", "trouble": "resting"}
    return next((Running(None, phases[e.kind], str(e.data["words"]), e.at) for e in found), None)


def _left(book: Book, turns: Sequence[Event]) -> Left | None:
    if not turns or turns[-1].kind == "stop":
        return None
    start = next(turn for turn in reversed(turns) if turn.kind == "start")
    left = Stretch.of(start).left(book)
    return None if left == Left() else left


def _stop_reason(turns: Sequence[Event], driven: bool) -> str | None:
    if not turns or (driven and turns[-1].kind != "stop"):
        return None
    if turns[-1].kind != "stop":
        return "its process died; the next `overnight run` continues it"
    return str(turns[-1].data["words"])


def _seconds(turns: Sequence[Event], newest: datetime, started: datetime) -> timedelta:
    """How long the campaign was driven; when `overnight try` alone was used, which records no
    turns, the time from the first moment to the newest result."""
    spans = driven_times(turns, newest) if turns else [(started, newest)]
    return sum((end - begin for begin, end in spans), timedelta())
