"""The book → the numbers that every view prints: terminal, report, picture and `--json` agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
)
from overnight.core.spending import Spent, together
from overnight.core.text import one_line, tail
from overnight.insights.limits_left import Left
from overnight.insights.overfitting import Gap, read_gap
from overnight.insights.pruning_savings import Savings, savings
from overnight.insights.readings import campaign_noise
from overnight.insights.wall_time import walls
from overnight.judge.noise import Noise, noise_of
from overnight.record.book import Book
from overnight.record.lock import driver_of, lock_path

_TALLY = {
    Verdict.KEEP: "kept",
    Verdict.PROVISIONAL: "provisional",
    Verdict.DISCARD: "discarded",
    Verdict.CRASH: "crashed",
    Verdict.TIMEOUT: "timed out",
    Verdict.INVALID: "invalid",
    Verdict.STALE: "stale",
}
_ASIDE = {
    Purpose.JUDGE: "is measured again, to be confirmed",
    Purpose.HOLDOUT: "sits its final exam",
    Purpose.REPLAY: "is measured again",
    Purpose.ABLATION: "is measured to see which wins carry weight",
    Purpose.CHECK: "was measured; its checks run",
}
_DECIDE = (Purpose.JUDGE, Purpose.CHECK)
_SAID_LINES = 20
_RECENT = 50
"""Experiments from which the pace is told."""


@dataclass(frozen=True)
class Running:
    """What a living driver is doing."""

    n: int | None
    """None for the setup."""
    phase: str
    """"setup", "agent" while a change is thought of, "measuring" once the candidate exists,
    "resting" while no agent can be asked, "holdout" or "replay" when an old one is measured for
    that."""
    description: str
    since: datetime
    """When the setup or the experiment began."""
    measurements: int = 0
    """Those of the experiment that are finished."""
    measured: int | None = None
    """The experiment that is on the clock: this one, or the incumbent once more."""
    measured_since: datetime | None = None
    transcript: Path | None = None
    """What an agent at work prints."""

    @property
    def words(self) -> str:
        """What is done, with the last line of an agent at work, where that is no JSON."""
        if self.transcript is None:
            return self.description
        said = tail(self.transcript, _SAID_LINES).splitlines()
        lines = [line for line in said if line.strip() and not line.lstrip().startswith("{")]
        return self.description + (f": {one_line(lines[-1])}" if lines else "")


@dataclass(frozen=True)
class Summary:
    """Where a campaign stands."""

    tag: str
    branch: str
    base: str
    """The commit it started from."""
    arena: Arena
    baseline: Experiment | None
    incumbent: Experiment | None
    experiments: int
    """Finished ones, without the baseline."""
    verdicts: Mapping[Verdict, int]
    """Of those."""
    recent: Sequence[Experiment]
    """The newest finished ones, oldest first."""
    keeps: Sequence[Experiment]
    """Everything on the branch, oldest first: wins, what was confirmed together with one, and what
    is simpler."""
    provisional: Sequence[Experiment]
    """Keeps above the incumbent that are not confirmed: on no branch."""
    noise: Noise
    """Of one measurement, from what is summarized here."""
    fixed_seed: str | None
    """The place by which all measurements may be one draw (see seeds.py)."""
    driven: bool
    """Whether a living process drives it."""
    running: Running | None
    left: Left | None
    """None when nobody drives it, or without such limits."""
    stop_reason: str | None
    seconds: float
    """Time that it was driven, pauses between two stretches left out."""
    pace: float | None
    """Mean wall seconds of a recent experiment, with the pairs and exams after it."""
    spent: Sequence[Spent]
    """What each agent's proposals have used."""
    pruning: Savings
    holdout: Gap | None
    """None without `[holdout]` and without any exam."""

    @property
    def metric(self) -> Metric:
        return self.arena.metric

    @property
    def self_reported(self) -> bool:
        """Whether the scores are the candidates' own word."""
        return self.arena.score is None

    @property
    def unconfined(self) -> bool:
        """Whether some of the runs that it tells of were not in a sandbox."""
        known = [*([self.baseline] if self.baseline else []), *self.keeps, *self.recent]
        return any("no sandbox" in e.caveats for e in known)

    @property
    def wins(self) -> Sequence[Experiment]:
        """The keeps with a gain to claim."""
        return [keep for keep in self.keeps if keep.won]

    @property
    def simpler(self) -> Sequence[Experiment]:
        """Keeps that are there for being simpler, and belong to no win."""
        return [keep for keep in self.keeps if not keep.won and not keep.is_member]

    def members_of(self, win: Experiment) -> Sequence[Experiment]:
        """The keeps below it that were confirmed together with it: none of them is shown to add
        anything by itself."""
        return [keep for keep in self.keeps if keep.is_member and keep.within == win.n]

    @property
    def kept_words(self) -> str:
        """What is on the branch, in words: `2 wins of 5 changes and 1 simplification`."""
        simpler, changes = len(self.simpler), len(self.keeps) - len(self.simpler)
        words = [counted(len(self.wins), "win")] if self.wins or not simpler else []
        if changes > len(self.wins):
            words[0] += f" of {counted(changes, 'change')}"
        return " and ".join([*words, *[counted(simpler, "simplification")] * (simpler > 0)])

    @property
    def gain(self) -> float | None:
        """What the incumbent is better by than the baseline, positive is better: what was
        confirmed, where the rule confirms, and not what lucky draws promised."""
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
        """The verdicts in words: `4 kept (33%), 6 discarded, 2 crashed`."""
        words = []
        for verdict, word in _TALLY.items():
            if count := self.verdicts.get(verdict):
                share = f" ({self.keep_rate:.0%})" if verdict is Verdict.KEEP else ""
                words.append(f"{count:,} {word}{share}")
        return ", ".join(words) or "none yet"

    @property
    def spent_words(self) -> Sequence[str]:
        """What proposals have used: all of them, then, of several agents, each; nothing where no
        model had a part."""
        if all(one.free for one in self.spent):
            return ()
        each = [f"{one_line(one.agent)}: {one.words}" for one in self.spent]
        return each if len(each) == 1 else (together(self.spent).words, *each)

    @property
    def gained(self) -> str:
        """What was gained, in words."""
        first, best = self.baseline, self.incumbent
        if first is None or best is None or first.score is None or best.score is None:
            return "nothing has been measured yet"
        name, tried = self.metric.name, counted(self.experiments, "experiment")
        if best.n == 0:
            result = f"the baseline has {name} {first.score:.6g}"
            if not self.experiments:
                return f"{result}; nothing else has been measured yet"
            return f"{result}; {tried} did not beat it"
        wins, gain = self.kept_words, self.gain or 0.0
        measured = self.metric.orient(best.score) - self.metric.orient(first.score)
        if math.isclose(gain, measured, rel_tol=1e-6):
            return f"{name} {_change(first.score, best.score)} with {wins} in {tried}"
        if not self.wins:
            words = f"{name} is as good as the baseline's {first.score:.6g} within the margin"
            return f"{words}, with {wins} in {tried}"
        if any(bounds.soft is not None for bounds in self.arena.constraints.values()):
            words = f"{name} {_change(first.score, best.score)} with {wins} in {tried}"
            return f"{words}: {gain:.6g} better with what soft constraints cost"
        # The best score has its lucky first draw in it: only what was confirmed is claimed.
        share = f" ({abs(gain / first.score) * 100:.3g}%)" if first.score else ""
        words = f"{name} is {gain:.4g} better{share} than the baseline's {first.score:.6g}"
        return f"{words}, confirmed, with {wins} in {tried}"

    @property
    def noise_words(self) -> str:
        """The noise of one measurement, in words; empty as long as nothing is known."""
        if self.noise.deterministic:
            words = "none: repeats are equal to the last digit"
            luck = f", but {self.fixed_seed}: the luck of one draw may count as gain"
            return words + (luck if self.fixed_seed else "")
        if not self.noise.sigma:
            return ""
        words = f"{self.noise.sigma:.3g} in one measurement"
        return words + (", and the machine drifts" if self.noise.drift else "")


def direction_words(metric: Metric) -> str:
    """`lower is better` or `higher is better`."""
    return f"{'lower' if metric.direction == 'minimize' else 'higher'} is better"


def counted(number: int, noun: str) -> str:
    """`1 win`, `2 wins`, `2,000 experiments`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _change(old: float, new: float) -> str:
    """`went from 1.78 to 1.69 (-5.06%)`, with the digits that it takes to tell the two apart."""
    digits = 6
    while digits < 17 and old != new and f"{old:.{digits - 1}g}" == f"{new:.{digits - 1}g}":
        digits += 1
    words = f"went from {old:.{digits}g} to {new:.{digits}g}"
    ratio = (new - old) / abs(old) if old else 0.0
    # A share of a number with another sign, or of next to nothing, says nothing.
    return f"{words} ({ratio * 100:+.3g}%)" if 1e-4 <= abs(ratio) < 10 and old * new > 0 else words


def scale(experiments: Iterable[Experiment], metric: Metric) -> tuple[float, float] | None:
    """The oriented scores, worst and best, between which a picture of these experiments tells
    most: the gain has at least a fifth of it, however bad or absurd some of the others were.

    None when no score was compared with another.
    """
    compared = [e for e in experiments if e.verdict in (Verdict.KEEP, Verdict.DISCARD)]
    scores = sorted(metric.orient(e.score) for e in compared if e.score is not None)
    if not scores:
        return None
    kept = [metric.orient(e.score) for e in compared if e.kept and e.score is not None]
    kept = kept or [scores[len(scores) // 2]]
    start, best = min(kept), max(kept)
    worse = [start - score for score in scores if score < start][::-1]
    bulk = worse[len(worse) * 3 // 4] if worse else 0.0
    reach = min(max(best - start, 1.2 * bulk), 3 * (best - start) or float("inf"))
    low = max(scores[0], start - reach)
    return low, max(best, min(scores[-1], best + (best - low) / 4))


def summarize(book: Book) -> Summary:
    """Where the campaign stands. Raises LedgerError."""
    arena, record = book.arena, book.record
    counts = dict(book.counts)
    if (first := book.find(0)) is not None and first.verdict is not None:
        counts[first.verdict] -= 1
    recent = book.recent[-_RECENT:]
    noise = campaign_noise(book) if book.begun else noise_of(())
    newest = recent[-1].ended if recent and recent[-1].ended else record.started
    driven = driver_of(lock_path(arena, book.tag)) is not None
    turns = book.events("start", "stop")
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
        seconds=_seconds(turns, newest, record.started),
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
        n, since, words = clock.n, clock.started, _ASIDE[clock.purpose]
        return Running(n, clock.purpose.value, words, since, 0, n, since)
    if book.unfinished:
        e, done = book.unfinished[-1], len(book.unfinished[-1].measurements)
        on = (clock.n, clock.started) if clock else (None, None)
        return Running(e.n, "measuring", e.description, e.started, done, *on)
    if book.asked:
        asked = book.asked[-1]
        logs = book.arena.state / "logs" / book.tag / "proposals" / str(asked.id)
        words = f"{asked.agent} thinks"
        running = Running(book.next_number, "agent", words, asked.started)
        return replace(running, transcript=logs / "agent.log")
    found = [event for event in book.events("setup", "trouble") if event.at > newest][-1:]
    phases = {"setup": "setup", "trouble": "resting"}
    return next((Running(None, phases[e.kind], str(e.data["words"]), e.at) for e in found), None)


def _left(book: Book, turns: Sequence[Event]) -> Left | None:
    if not turns or turns[-1].kind != "start":
        return None
    left = Stretch.of(turns[-1]).left(book)
    return None if left == Left() else left


def _stop_reason(turns: Sequence[Event], driven: bool) -> str | None:
    if not turns:
        return None
    if turns[-1].kind == "start":
        return None if driven else "its driver died; the same command goes on"
    return str(turns[-1].data["words"])


def _seconds(turns: Sequence[Event], newest: datetime, started: datetime) -> float:
    """From each start to its stop; without starts, as `overnight try` leaves it, from the first
    moment to the newest result."""
    spans = timedelta()
    began = None if turns else started
    for turn in turns:
        if turn.kind == "start":
            began = turn.at
        elif began is not None:
            spans += turn.at - began
            began = None
    if began is not None:
        spans += max(newest - began, timedelta())
    return spans.total_seconds()
