"""The ledger: the record of everything, in an SQLite file or, by URL, in PostgreSQL.

Every method is one transaction, durable when it returns. A row is written before the act that it
describes begins and closed after the act has ended, so that a resumed campaign knows what was under
way. Any number of processes may read and add events while one driver writes. Two drivers of one
campaign are kept apart by lock.py, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from overnight.core.errors import LedgerError
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
)
from overnight.core.spending import Spent
from overnight.core.under_way import Pair, Round, State, UnderWay
from overnight.core.usage import UNKNOWN, Usage
from overnight.record.database import Database
from overnight.record.rows import (
    DECIDING,
    EXPERIMENT_FIELDS,
    load_experiment,
    load_experiments,
    load_measurement,
    load_proposal,
    load_under_way,
)
from overnight.record.schema import (
    CAMPAIGNS,
    EVENTS,
    EXPERIMENTS,
    MEASUREMENTS,
    PAIRS,
    PROPOSALS,
    ROUNDS,
)

Note = tuple[str, Mapping[str, Value | None]]
"""An event to be written in the same transaction as a verdict: its kind and its data."""
_Query = sa.Select[Any]


class Ledger:
    """The record of one arena. Every method raises LedgerError when the database fails."""

    def __init__(self, url: str | sa.URL, arena: str, create: bool = True) -> None:
        """Open `sqlite:///PATH` or `postgresql://…`. `arena` names this arena's campaigns in a
        ledger that several arenas share. Without `create`, the ledger must exist already."""
        self._arena = arena
        self._database = Database(url, create)

    @classmethod
    def at(cls, place: Path | str, arena: str, create: bool = True) -> Ledger:
        """The ledger in this file or at this URL."""
        url = str(place)
        if isinstance(place, Path) or "://" not in place:
            return cls(sa.URL.create("sqlite", database=url), arena, create)
        return cls(url, arena, create)

    def close(self) -> None:
        self._database.close()

    # -- campaigns

    def add_campaign(self, record: CampaignRecord) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.insert(CAMPAIGNS), vars(record))

    def restart_campaign(self, tag: str, base: str) -> CampaignRecord:
        """Let the campaign start from this commit, and delete its baseline."""
        where = sa.and_(CAMPAIGNS.c.arena == self._arena, CAMPAIGNS.c.tag == tag)
        with self._database.writing() as connection:
            connection.execute(sa.delete(EXPERIMENTS).where(self._of(EXPERIMENTS, tag, 0)))
            connection.execute(sa.update(CAMPAIGNS).where(where).values(base=base))
        return next(record for record in self.campaigns() if record.tag == tag)

    def campaign(self, tag: str) -> CampaignRecord | None:
        return next((record for record in self.campaigns() if record.tag == tag), None)

    def campaigns(self) -> list[CampaignRecord]:
        """Oldest first."""
        query = sa.select(CAMPAIGNS).where(CAMPAIGNS.c.arena == self._arena)
        return [CampaignRecord(**row) for row in self._rows(query.order_by(CAMPAIGNS.c.started))]

    # -- proposals

    def open_proposal(
        self, tag: str, agent: str, start: int, against: int, usage: Usage = UNKNOWN
    ) -> Proposal:
        """Record that an agent is about to be asked. `usage`: what is known in advance of what it
        will use."""
        asked = Proposal(0, agent, start, against, _now(), usage=usage)
        row = {k: v for k, v in vars(asked).items() if k not in ("id", "usage")} | vars(usage)
        added = sa.insert(PROPOSALS).returning(PROPOSALS)
        with self._database.writing() as connection:
            return load_proposal(connection.execute(added, self._key(tag) | row).mappings().one())

    def end_proposal(self, tag: str, ended: Proposal) -> Proposal:
        """Record that a proposal has ended without an experiment. `ended` has its outcome and
        usage."""
        with self._database.writing() as connection:
            return self._end(connection, tag, ended)

    def open_proposals(self, tag: str) -> list[Proposal]:
        """Proposals whose agent still thinks, or whose driver died; oldest first."""
        query = sa.select(PROPOSALS).where(self._of(PROPOSALS, tag), PROPOSALS.c.ended.is_(None))
        return [load_proposal(row) for row in self._rows(query.order_by(PROPOSALS.c.id))]

    def spent(self, tag: str) -> list[Spent]:
        """What each agent's ended proposals have used, in the order of the agents' names."""
        table = PROPOSALS.c
        tokens = sa.func.coalesce(table.tokens_in, 0) + sa.func.coalesce(table.tokens_out, 0)
        query = sa.select(
            table.agent,
            sa.func.count().label("proposals"),
            sa.func.count(table.dollars).label("priced"),
            sa.func.coalesce(sa.func.sum(table.dollars), 0.0).label("dollars"),
            sa.func.count(sa.func.coalesce(table.tokens_in, table.tokens_out)).label("counted"),
            sa.func.coalesce(sa.func.sum(tokens), 0).label("tokens"),
            sa.func.coalesce(sa.func.sum(table.thought), 0.0).label("thought"),
        ).where(self._of(PROPOSALS, tag), table.ended.is_not(None))
        rows = self._rows(query.group_by(table.agent).order_by(table.agent))
        return [Spent(**{**row, "tokens": int(row["tokens"])}) for row in rows]

    # -- experiments

    def add_experiment(self, tag: str, e: Experiment) -> Experiment:
        """Record a new experiment, and the end of the proposal that it came of, if any. Returns it
        as the ledger has it: text that no database can hold is replaced."""
        row = {name: value for name, value in vars(e).items() if name in EXPERIMENT_FIELDS}
        low, high = e.interval or (None, None)
        row |= {"interval_low": low, "interval_high": high}
        added = sa.insert(EXPERIMENTS).returning(EXPERIMENTS)
        with self._database.writing() as connection:
            found = connection.execute(added, self._key(tag) | row).mappings().one()
            ended = self._end(connection, tag, e.proposal) if e.proposal else None
            return load_experiment(found, proposal=ended)

    def conclude(
        self, tag: str, closings: Mapping[int, Closing], at: int, *notes: Note
    ) -> list[Experiment]:
        """Give verdicts to experiments that have none or a provisional one, and add these events:
        all at once or none. `at`: the verdicts' place in time. Returns the experiments, by
        number."""
        closed = []
        with self._database.writing() as connection:
            for n, closing in sorted(closings.items()):
                open_ = EXPERIMENTS.c.verdict.is_(None)
                provisional = EXPERIMENTS.c.verdict == Verdict.PROVISIONAL
                which = sa.and_(self._of(EXPERIMENTS, tag, n), sa.or_(open_, provisional))
                first = {
                    "ended": sa.func.coalesce(EXPERIMENTS.c.ended, _now()),
                    "verdict_at": sa.func.coalesce(EXPERIMENTS.c.verdict_at, at),
                }
                change = sa.update(EXPERIMENTS).where(which).values(**closing.values, **first)
                if not connection.execute(change).rowcount:
                    raise LedgerError(
                        f"the ledger {self._database.place} has no open experiment {n} in "
                        f"campaign {tag}"
                    )
                closed += load_experiments(connection, self._select(tag, n))
            for kind, data in notes:
                self._note(connection, tag, kind, data)
        return closed

    def experiment(self, tag: str, n: int, whole: bool = False) -> Experiment | None:
        """Experiment n; `whole`: with its final exams, replays and ablations."""
        purposes = tuple(Purpose) if whole else DECIDING
        return next(iter(self._experiments(self._select(tag, n), purposes)), None)

    def experiments(
        self,
        tag: str,
        *,
        after: int = -1,
        first: int | None = None,
        last: int | None = None,
        verdict: Verdict | None = None,
        program: str | None = None,
    ) -> list[Experiment]:
        """Experiments numbered above `after`, by number, with the measurements that decide about
        them; of these the `first` or the `last` so many. `program`: the digest that they have."""
        query = self._select(tag).where(EXPERIMENTS.c.n > after)
        for column, value in ((EXPERIMENTS.c.verdict, verdict), (EXPERIMENTS.c.program, program)):
            query = query if value is None else query.where(column == value)
        order = EXPERIMENTS.c.n if last is None else EXPERIMENTS.c.n.desc()
        found = self._experiments(query.order_by(order).limit(first if last is None else last))
        return found if last is None else found[::-1]

    def repeated(self, tag: str, within: int) -> list[Experiment]:
        """The experiments with more than one score among the newest `within`, by number."""
        table = MEASUREMENTS.c
        newest = sa.select(sa.func.max(EXPERIMENTS.c.n)).where(self._of(EXPERIMENTS, tag))
        with self._database.reading() as connection:
            after = (connection.scalar(newest) or 0) - within
            judged = (table.purpose == Purpose.JUDGE, table.score.is_not(None), table.n > after)
            query = sa.select(table.n).where(self._of(MEASUREMENTS, tag), *judged)
            several = query.group_by(table.n).having(sa.func.count() > 1)
            numbers = list(connection.scalars(several))
            found = self._select(tag).where(EXPERIMENTS.c.n.in_(numbers))
            return load_experiments(connection, found.order_by(EXPERIMENTS.c.n))

    def unfinished(self, tag: str) -> list[Experiment]:
        """Experiments without a verdict, by number."""
        query = self._select(tag).where(EXPERIMENTS.c.verdict.is_(None))
        return self._experiments(query.order_by(EXPERIMENTS.c.n))

    def incumbent(self, tag: str) -> Experiment | None:
        """The confirmed keep with the largest number; the baseline is one."""
        return next(iter(self.experiments(tag, last=1, verdict=Verdict.KEEP)), None)

    def counts(self, tag: str) -> dict[Verdict, int]:
        """How many experiments ended with each verdict; verdicts that never were are absent."""
        verdict = EXPERIMENTS.c.verdict
        which = (self._of(EXPERIMENTS, tag), verdict.is_not(None))
        query = sa.select(verdict, sa.func.count().label("number")).where(*which)
        rows = self._rows(query.group_by(verdict))
        return {Verdict(row["verdict"]): row["number"] for row in rows}

    # -- measurements

    def open_measurement(
        self, tag: str, wanted: UnderWay, round: Round | None = None, pair: Pair | None = None
    ) -> UnderWay:
        """Record that a measurement is about to begin, and the pair and the round that begin with
        it. Returns it with its id."""
        row = {name: value for name, value in vars(wanted).items() if name != "id"}
        with self._database.writing() as connection:
            for table, record in ((ROUNDS, round), (PAIRS, pair)):
                if record is not None:
                    connection.execute(sa.insert(table), self._key(tag) | vars(record))
            return replace(wanted, id=_inserted(connection, MEASUREMENTS, self._key(tag) | row))

    def defer_measurement(self, id: int, handle: str, due: datetime) -> None:
        """Record that a measurement's outcome comes later, from outside. `handle`: by what it is
        asked for; `due`: when it is expected."""
        change = sa.update(MEASUREMENTS).where(MEASUREMENTS.c.id == id)
        values = {"state": State.PENDING, "handle": handle, "due": due}
        with self._database.writing() as connection:
            if not connection.execute(change.where(_UNDER_WAY), values).rowcount:
                raise self._no_open_measurement(id)

    def close_measurement(
        self, id: int, taken: Measurement, score: float | None = None
    ) -> Experiment:
        """Record the outcome of a measurement. `score`: the new estimate, if its experiment has a
        verdict already. Returns the experiment."""
        values = {name: getattr(taken, name) for name in _OUTCOME} | {"state": State.DONE}
        close = sa.update(MEASUREMENTS).where(MEASUREMENTS.c.id == id, _UNDER_WAY)
        with self._database.writing() as connection:
            closed = close.returning(MEASUREMENTS.c.tag, MEASUREMENTS.c.n)
            found = connection.execute(closed, values).one_or_none()
            if found is None:
                raise self._no_open_measurement(id)
            if score is not None:
                change = sa.update(EXPERIMENTS).where(self._of(EXPERIMENTS, found.tag, found.n))
                connection.execute(change, {"score": score})
            (e,) = load_experiments(connection, self._select(found.tag, found.n))
            return e

    def drop_measurement(self, id: int) -> None:
        """Delete a measurement that was stopped before it had an outcome."""
        which = sa.and_(MEASUREMENTS.c.id == id, _UNDER_WAY)
        with self._database.writing() as connection:
            connection.execute(sa.delete(MEASUREMENTS).where(which))

    def drop_running(self, tag: str) -> int:
        """Delete the measurements that a dead driver has left running; returns their number."""
        running = MEASUREMENTS.c.state == State.RUNNING
        which = sa.and_(self._of(MEASUREMENTS, tag), running)
        with self._database.writing() as connection:
            return connection.execute(sa.delete(MEASUREMENTS).where(which)).rowcount

    def under_way(self, tag: str) -> list[UnderWay]:
        """Measurements that are running or pending, oldest first."""
        query = sa.select(MEASUREMENTS).where(self._of(MEASUREMENTS, tag), _UNDER_WAY)
        return [load_under_way(row) for row in self._rows(query.order_by(MEASUREMENTS.c.id))]

    def measured(self, tag: str) -> int:
        """Number of finished measurements of a campaign that decide something."""
        which = (MEASUREMENTS.c.purpose == Purpose.JUDGE, MEASUREMENTS.c.state == State.DONE)
        query = sa.select(sa.func.count()).where(self._of(MEASUREMENTS, tag), *which)
        return self._number(query) or 0

    def newest_place(self, tag: str) -> int:
        """The largest place in time of a campaign's measurements that decide something; -1 if there
        are none."""
        which = (self._of(MEASUREMENTS, tag), MEASUREMENTS.c.purpose == Purpose.JUDGE)
        newest = self._number(sa.select(sa.func.max(MEASUREMENTS.c.at)).where(*which))
        return -1 if newest is None else newest

    def newest_seed(self, tag: str, purpose: Purpose) -> int | None:
        """The largest seed of a campaign's measurements for this purpose."""
        which = (self._of(MEASUREMENTS, tag), MEASUREMENTS.c.purpose == purpose)
        return self._number(sa.select(sa.func.max(MEASUREMENTS.c.seed)).where(*which))

    def exams(self, tag: str) -> dict[int, Measurement]:
        """Number → the newest holdout measurement; most experiments have none."""
        table = MEASUREMENTS.c
        which = (self._of(MEASUREMENTS, tag), table.purpose == Purpose.HOLDOUT)
        query = sa.select(MEASUREMENTS).where(*which, table.state == State.DONE)
        rows = self._rows(query.order_by(table.n, table.id))
        return {row["n"]: load_measurement(row) for row in rows}

    def exams_read(self) -> int:
        """Number of holdout scores in all of the arena's campaigns."""
        table = MEASUREMENTS.c
        which = (table.arena == self._arena, table.purpose == Purpose.HOLDOUT)
        return self._number(sa.select(sa.func.count(table.score)).where(*which)) or 0

    def rounds(self, tag: str) -> list[Round]:
        """Oldest first."""
        names = [f.name for f in fields(Round)]
        query = sa.select(*(ROUNDS.c[name] for name in names)).where(self._of(ROUNDS, tag))
        return [Round(**row) for row in self._rows(query.order_by(ROUNDS.c.number))]

    def newest_pair(self, tag: str) -> Pair | None:
        names = [f.name for f in fields(Pair)]
        query = sa.select(*(PAIRS.c[name] for name in names)).where(self._of(PAIRS, tag))
        rows = self._rows(query.order_by(PAIRS.c.number.desc()).limit(1))
        return next((Pair(**row) for row in rows), None)

    # -- events

    def add_event(self, tag: str, kind: str, **data: Value | None) -> int:
        """Add an event; returns its id. Ids of a campaign's events grow in the order in which the
        events become visible to readers."""
        with self._database.writing() as connection:
            return self._note(connection, tag, kind, data)

    def events(self, tag: str, *kinds: str, after: int = 0) -> list[Event]:
        """Events with an id above `after`, of all kinds or of these; oldest first."""
        query = sa.select(EVENTS).where(self._of(EVENTS, tag), EVENTS.c.id > after)
        if kinds:
            query = query.where(EVENTS.c.kind.in_(kinds))
        return [_event(row) for row in self._rows(query.order_by(EVENTS.c.id))]

    def newest_event(self, tag: str, kind: str) -> Event | None:
        """The newest of this kind."""
        query = sa.select(EVENTS).where(self._of(EVENTS, tag), EVENTS.c.kind == kind)
        return next(map(_event, self._rows(query.order_by(EVENTS.c.id.desc()).limit(1))), None)

    # -- queries and transactions

    def _key(self, tag: str) -> dict[str, object]:
        return {"arena": self._arena, "tag": tag}

    def _of(self, table: sa.Table, tag: str, n: int | None = None) -> sa.ColumnElement[bool]:
        mine = sa.and_(table.c.arena == self._arena, table.c.tag == tag)
        return mine if n is None else sa.and_(mine, table.c.n == n)

    def _select(self, tag: str, n: int | None = None) -> _Query:
        return sa.select(EXPERIMENTS).where(self._of(EXPERIMENTS, tag, n))

    def _rows(self, query: _Query) -> Sequence[sa.RowMapping]:
        with self._database.reading() as connection:
            return connection.execute(query).mappings().all()

    def _number(self, query: _Query) -> int | None:
        """The one number that the query asks for."""
        with self._database.reading() as connection:
            return connection.scalar(query)

    def _experiments(
        self, query: _Query, purposes: Sequence[Purpose] = DECIDING
    ) -> list[Experiment]:
        with self._database.reading() as connection:
            return load_experiments(connection, query, purposes)

    def _end(self, connection: sa.Connection, tag: str, ended: Proposal) -> Proposal:
        ended = replace(ended, ended=ended.ended or _now())
        values = {"ended": ended.ended, "outcome": ended.outcome, "n": ended.n}
        values |= vars(ended.usage) | {"thought": ended.thought}
        which = sa.and_(self._of(PROPOSALS, tag), PROPOSALS.c.id == ended.id)
        change = sa.update(PROPOSALS).where(which, PROPOSALS.c.ended.is_(None))
        found = connection.execute(change.returning(PROPOSALS), values).mappings().one_or_none()
        if found is None:
            raise LedgerError(f"the ledger {self._database.place} has no open proposal {ended.id}")
        return load_proposal(found)

    def _note(
        self, connection: sa.Connection, tag: str, kind: str, data: Mapping[str, Value | None]
    ) -> int:
        # PostgreSQL gives out ids before the commit: without this lock, a reader that asks for
        # events after id 8 would never see id 7 if that is committed later.
        campaign = sa.select(CAMPAIGNS.c.tag).where(self._of(CAMPAIGNS, tag))
        connection.execute(campaign.with_for_update(key_share=True))
        row = self._key(tag) | {"kind": kind, "at": _now(), "data": data}
        return _inserted(connection, EVENTS, row)

    def _no_open_measurement(self, id: int) -> LedgerError:
        return LedgerError(f"the ledger {self._database.place} has no open measurement {id}")


_UNDER_WAY = MEASUREMENTS.c.state != State.DONE
_PLANNED = {"candidate", "purpose", "seed", "at", "pair", "started"}
_OUTCOME = [f.name for f in fields(Measurement) if f.name not in _PLANNED]
"""The columns that a measurement's end fills; the others are known when it begins."""


def _now() -> datetime:
    return datetime.now(UTC)


def _event(row: sa.RowMapping) -> Event:
    return Event(row["id"], row["kind"], row["at"], row["data"])


def _inserted(connection: sa.Connection, table: sa.Table, row: Mapping[str, object]) -> int:
    id: int = connection.execute(sa.insert(table).returning(table.c.id), row).scalar_one()
    return id
