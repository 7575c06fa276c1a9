"""The book: one campaign of the ledger, partly held in memory; every change is written through.

Held are the keeps, the newest RECENT experiments and what is under way, so memory stays bounded in
a long campaign. Readers open a book too, and change nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from overnight.arena.arena import Arena
from overnight.core.errors import NoCampaign
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Event,
    Experiment,
    Measurement,
    Proposal,
    Purpose,
    Value,
    Verdict,
    estimate,
)
from overnight.core.spending import Spent, by_agent
from overnight.core.under_way import Pair, Round, UnderWay
from overnight.core.usage import UNKNOWN, Usage
from overnight.record.ledger import Ledger, Note

RECENT = 1000
"""Number of the newest finished experiments that are held, beside every keep."""
PRIOR = 300
"""Number of the newest experiments of earlier campaigns that are held."""


@dataclass(frozen=True)
class Lineage:
    """The candidates that the next change builds on."""

    incumbent: Experiment
    """The newest confirmed keep: the tip of the branch."""
    provisional: Sequence[Experiment] = ()
    """The provisional keeps above it, oldest first."""

    @property
    def stack(self) -> Sequence[Experiment]:
        """The incumbent and the provisional keeps above it."""
        return [self.incumbent, *self.provisional]

    @property
    def tip(self) -> Experiment:
        """The newest keep, provisional or not."""
        return self.stack[-1]


class Book:
    """One campaign as it is recorded. A change is durable in the ledger before it is here."""

    def __init__(
        self, arena: Arena, ledger: Ledger, record: CampaignRecord, recent: int = RECENT
    ) -> None:
        """`recent`: how many of the newest experiments to hold. If that is less than RECENT, those
        of the newest RECENT that were measured more than once are held too. Raises LedgerError."""
        self.arena = arena
        self.ledger = ledger
        self.record = record
        self.tag = record.tag
        self.version = 0
        """Grows with every change."""
        self.unfinished = ledger.unfinished(self.tag)
        """Experiments without a verdict, by number."""
        self.under_way = ledger.under_way(self.tag)
        """Measurements without an outcome, oldest first."""
        self.asked = ledger.open_proposals(self.tag)
        """Proposals whose agent still thinks, oldest first."""
        self.rounds = ledger.rounds(self.tag)
        self.pair = ledger.newest_pair(self.tag)
        self.exams = ledger.exams(self.tag)
        """Number → the newest final exam."""
        self.measured = ledger.measured(self.tag)
        """Number of finished measurements that decide something."""
        self._newest_place = ledger.newest_place(self.tag)
        self.counts = ledger.counts(self.tag)
        """Verdict → how many experiments have it; verdicts that never were are absent."""
        self._most = recent
        self._recent = [e for e in ledger.experiments(self.tag, last=recent) if e.verdict]
        """Those with a verdict among the newest `recent` experiments, by number."""
        self._kept = ledger.experiments(self.tag, verdict=Verdict.KEEP)
        self._provisional = ledger.experiments(self.tag, verdict=Verdict.PROVISIONAL)
        more = recent < RECENT and ledger.repeated(self.tag, RECENT)
        self._repeated = [e for e in more or [] if e.verdict]
        self._spent = {one.agent: one for one in ledger.spent(self.tag)}
        self._prior: Sequence[Experiment] | None = None

    @classmethod
    def of(cls, arena: Arena, ledger: Ledger, tag: str, recent: int = RECENT) -> Book:
        """The book of the campaign `tag`. Raises NoCampaign."""
        record = ledger.campaign(tag)
        if record is None:
            raise NoCampaign(f"there is no campaign {tag}")
        return cls(arena, ledger, record, recent)

    # -- reading

    @property
    def finished(self) -> Sequence[Experiment]:
        """The experiments with a verdict that are held, oldest first."""
        oldest = self._recent[0].n if self._recent else 0
        held = {e.n: e for e in (*self._repeated, *self._kept, *self._provisional)}
        return [*(held[n] for n in sorted(held) if n < oldest), *self._recent]

    @property
    def recent(self) -> Sequence[Experiment]:
        """The newest finished experiments, oldest first, without a gap but for unfinished ones."""
        return self._recent

    @property
    def begun(self) -> bool:
        """Whether the baseline is measured."""
        return bool(self._kept)

    @property
    def baseline(self) -> Experiment:
        return self._kept[0]

    @property
    def keeps(self) -> Sequence[Experiment]:
        """Every confirmed keep after the baseline."""
        return self._kept[1:]

    @property
    def lineage(self) -> Lineage:
        return Lineage(self._kept[-1], tuple(self._provisional))

    @property
    def incumbent(self) -> Experiment:
        """The newest confirmed keep."""
        return self._kept[-1]

    @property
    def stack(self) -> Sequence[Experiment]:
        """The incumbent and the provisional keeps above it, the tip last."""
        return self.lineage.stack

    @property
    def tip(self) -> Experiment:
        """The newest keep, provisional or not."""
        return self.lineage.tip

    @property
    def latest(self) -> Experiment:
        """The newest experiment with a verdict."""
        return self._recent[-1]

    @property
    def next_number(self) -> int:
        """The number of the next experiment."""
        newest = [e.n for e in (*self._recent[-1:], *self.unfinished[-1:])]
        return max(newest, default=-1) + 1

    @property
    def place(self) -> int:
        """The place in time of the next measurement that decides something: after that of every
        measurement in the ledger."""
        begun = self.measured + sum(m.purpose is Purpose.JUDGE for m in self.under_way)
        return max(begun, self._newest_place + 1)

    @property
    def spent(self) -> Sequence[Spent]:
        """What each agent's proposals have used, in the order of the agents' names."""
        return [self._spent[name] for name in sorted(self._spent)]

    @property
    def prior(self) -> Sequence[Experiment]:
        """The newest experiments of the arena's other campaigns, oldest first."""
        if self._prior is None:
            found: list[Experiment] = []
            for campaign in reversed(self.ledger.campaigns()):
                if campaign.tag != self.tag and (room := PRIOR - len(found)):
                    newest = self.ledger.experiments(campaign.tag, last=room)
                    found = [*(e for e in newest if e.verdict), *found]
            self._prior = found
        return self._prior

    def find(self, n: int) -> Experiment | None:
        """Experiment n, or None."""
        held = (*self.unfinished, *self._kept, *self._provisional, *self._recent)
        return next((e for e in held if e.n == n), None) or self.ledger.experiment(self.tag, n)

    def events(self, *kinds: str, after: int = 0) -> list[Event]:
        """Events of these kinds with an id above `after`, oldest first. The ledger is asked every
        time, because other processes add events."""
        return self.ledger.events(self.tag, *kinds, after=after)

    # -- writing

    def note(self, kind: str, **data: Value | None) -> int:
        """Add an event; returns its id."""
        id = self.ledger.add_event(self.tag, kind, **data)
        self.version += 1
        return id

    def ask(self, agent: str, start: int, against: int, usage: Usage = UNKNOWN) -> Proposal:
        """Record that an agent is about to be asked for a change to the candidate of `start`."""
        asked = self.ledger.open_proposal(self.tag, agent, start, against, usage)
        self.asked.append(asked)
        self.version += 1
        return asked

    def end(self, proposal: Proposal) -> Proposal:
        """Record that a proposal has ended without an experiment."""
        ended = self.ledger.end_proposal(self.tag, proposal)
        self._charge(ended)
        return ended

    def add(self, e: Experiment) -> Experiment:
        """Record a new experiment, which has a candidate or was refused, and end its proposal."""
        if e.verdict is not None:
            e = replace(e, verdict_at=self.place)
        added = self.ledger.add_experiment(self.tag, e)
        if added.proposal:
            self._charge(added.proposal)
        if added.verdict is None:
            self.unfinished.append(added)
        else:
            self._finish(added)
        self._forget()
        self.version += 1
        return added

    def begin(
        self, wanted: UnderWay, round: Round | None = None, pair: Pair | None = None
    ) -> UnderWay:
        """Record that a measurement is about to begin, and the pair and the round that begin with
        it. Returns it with its id."""
        begun = self.ledger.open_measurement(self.tag, wanted, round, pair)
        self.under_way.append(begun)
        if begun.purpose is Purpose.JUDGE:
            self._newest_place = max(self._newest_place, begun.at)
        self.rounds += [round] if round else []
        self.pair = pair or self.pair
        self.version += 1
        return begun

    def enter(self, id: int, taken: Measurement | None) -> Experiment | None:
        """Record the outcome of a measurement; None deletes it, because it was stopped. Returns its
        experiment if the measurement decides something about it."""
        (begun,) = (m for m in self.under_way if m.id == id)
        again = None
        if taken is None:
            self.ledger.drop_measurement(id)
            self._newest_place = self.ledger.newest_place(self.tag)
        else:
            again = self.ledger.close_measurement(id, taken, self._rescored(begun, taken))
        self.under_way.remove(begun)
        self.version += 1
        if taken is not None and begun.purpose is Purpose.HOLDOUT:
            self.exams = self.ledger.exams(self.tag)
        if again is None or begun.purpose not in (Purpose.JUDGE, Purpose.CHECK):
            return None
        self.measured += begun.purpose is Purpose.JUDGE
        self._replace(again)
        return again

    def conclude(self, closings: Mapping[int, Closing], *notes: Note) -> list[Experiment]:
        """Record verdicts and their events, all at once. Returns the experiments, by number."""
        before = {n: self.find(n) for n in closings}
        closed = self.ledger.conclude(self.tag, closings, self.place, *notes)
        for e in closed:
            old = before[e.n]
            if old and old.verdict:
                self._count(old.verdict, -1)
                self._provisional = [other for other in self._provisional if other.n != e.n]
                self._hold(e)
                self._count(e.verdict, 1)
                self._replace(e)
            else:
                self.unfinished = [other for other in self.unfinished if other.n != e.n]
                self._finish(e)
        self.version += 1
        return closed

    # -- keeping memory like the ledger

    def _rescored(self, begun: UnderWay, taken: Measurement) -> float | None:
        """The new estimate, with this measurement, if the experiment has a verdict already."""
        e = self.find(begun.n)
        if e is None or e.verdict is None or begun.purpose is not Purpose.JUDGE:
            return None
        again = replace(e, measurements=(*e.measurements, taken))
        return estimate(again) if again.scores else None

    def _charge(self, ended: Proposal) -> None:
        self.asked = [other for other in self.asked if other.id != ended.id]
        known = [self._spent[ended.agent]] if ended.agent in self._spent else []
        (self._spent[ended.agent],) = by_agent([*known, Spent.of(ended)])
        self.version += 1

    def _finish(self, e: Experiment) -> None:
        insort(self._recent, e, key=_number)
        self._count(e.verdict, 1)
        self._hold(e)

    def _forget(self) -> None:
        """Release experiments older than the newest `recent`."""
        oldest = self.next_number - self._most
        self._recent = [e for e in self._recent if e.n >= oldest]

    def _hold(self, e: Experiment) -> None:
        """Hold a keep, however old it gets."""
        if e.kept:
            insort(self._kept, e, key=_number)
        elif e.verdict is Verdict.PROVISIONAL:
            insort(self._provisional, e, key=_number)

    def _count(self, verdict: Verdict | None, step: int) -> None:
        if verdict is not None:
            self.counts[verdict] = self.counts.get(verdict, 0) + step
            if not self.counts[verdict]:
                del self.counts[verdict]

    def _replace(self, e: Experiment) -> None:
        for held in (self.unfinished, self._kept, self._provisional, self._recent):
            held[:] = [e if other.n == e.n else other for other in held]


def _number(e: Experiment) -> int:
    return e.n
