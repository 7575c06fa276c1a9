"""The ledger: the record of everything, in an SQLite file or, by URL, in PostgreSQL.

Every method is one transaction, durable when it returns. A row is written before the act that it
describes begins and closed after it ended, so that whoever resumes knows what was under way. Any
number of processes may read and add events while one driver writes. It does not keep two drivers
off one campaign: lock.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from overnight.core.errors import LedgerError
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Event,
    Experiment,
    Idea,
    Measurement,
    Purpose,
    Value,
    Verdict,
)
from overnight.core.spending import SPENT, Spent, by_agent, event_data, usage_of
from overnight.core.usage import Usage
from overnight.record.database import Database
from overnight.record.rows import load_experiments, load_measurement
from overnight.record.schema import ACCOUNTS, CAMPAIGNS, EVENTS, EXPERIMENTS, MEASUREMENTS, VERDICTS


class Ledger:
    """The record of one arena. Every method raises LedgerError when the database fails."""

    def __init__(self, url: str | sa.URL, arena: str, create: bool = True) -> None:
        """Open `sqlite:///PATH` or `postgresql://…`. `arena` names this arena's campaigns in a
        ledger that several arenas share. Without `create`, it must exist already."""
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
            connection.execute(sa.insert(CAMPAIGNS).values(vars(record)))

    def move_campaign(self, tag: str, base: str) -> CampaignRecord:
        """The campaign starts from another commit; its baseline, without a score, is forgotten."""
        self.drop_experiment(tag, 0)
        where = sa.and_(CAMPAIGNS.c.arena == self._arena, CAMPAIGNS.c.tag == tag)
        with self._database.writing() as connection:
            connection.execute(sa.update(CAMPAIGNS).where(where).values(base=base))
        return next(record for record in self.campaigns() if record.tag == tag)

    def campaign(self, tag: str) -> CampaignRecord | None:
        return next((record for record in self.campaigns() if record.tag == tag), None)

    def campaigns(self) -> list[CampaignRecord]:
        """Oldest first."""
        query = sa.select(CAMPAIGNS).where(CAMPAIGNS.c.arena == self._arena)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(CAMPAIGNS.c.started)).mappings()
            return [CampaignRecord(**row) for row in rows]

    # -- experiments

    def open_experiment(
        self, tag: str, n: int, agent: str, parent: str | None, usage: Usage | None = None
    ) -> None:
        """The agent is about to be asked; `usage` is what is known before it was."""
        row = self._key(tag) | {"n": n, "agent": agent, "parent": parent, "started": _now()}
        row |= vars(usage) if usage else {}
        with self._database.writing() as connection:
            connection.execute(sa.insert(EXPERIMENTS).values(row))

    def record_candidate(
        self,
        tag: str,
        n: int,
        candidate: str | None,
        idea: Idea,
        dropped: tuple[str, ...],
        program: str = "",
        thought: float | None = None,
    ) -> Experiment:
        """What the agent proposed, in `thought` seconds; a candidate of None: nothing that could be
        committed."""
        return self._change(
            tag,
            n,
            candidate=candidate,
            description=idea.title,
            hypothesis=idea.hypothesis,
            parameters=idea.parameters,
            expected=idea.expected,
            dropped=dropped,
            program=program,
            thought=thought,
            **vars(idea.usage),
        )

    def close_experiment(self, tag: str, n: int, closing: Closing) -> Experiment:
        """The verdict stands. An experiment is closed once: a second closing is an error."""
        return self._change(tag, n, True, **closing.values, ended=_now())

    def revise(self, tag: str, closings: Mapping[int, Closing]) -> list[Experiment]:
        """Provisional keeps are confirmed or dropped: all at once or none, ordered by n."""
        revised = []
        with self._database.writing() as connection:
            for n, closing in sorted(closings.items()):
                provisional = EXPERIMENTS.c.verdict == Verdict.PROVISIONAL
                which = sa.and_(self._of(EXPERIMENTS, tag, n), provisional)
                change = sa.update(EXPERIMENTS).where(which).values(closing.values)
                if not connection.execute(change).rowcount:
                    raise LedgerError(
                        f"the ledger {self._database.place} has no provisional experiment {n} in "
                        f"campaign {tag}"
                    )
                self._tally(connection, tag, Verdict.PROVISIONAL, -1)
                self._tally(connection, tag, closing.verdict, 1)
                revised += load_experiments(
                    connection, self._select(tag).where(EXPERIMENTS.c.n == n)
                )
        return revised

    def revise_score(self, tag: str, n: int, score: float) -> Experiment:
        """The estimate of a finished experiment after it was measured again."""
        return self._change(tag, n, open_=False, score=score)

    def drop_experiment(self, tag: str, n: int) -> None:
        """Forget an experiment and its measurements, so that its number is free again."""
        which = self._of(EXPERIMENTS, tag, n)
        with self._database.writing() as connection:
            for dropped in load_experiments(connection, sa.select(EXPERIMENTS).where(which)):
                if dropped.verdict is not None:
                    self._tally(connection, tag, dropped.verdict, -1)
                    self._charge(connection, tag, dropped, -1)
            connection.execute(sa.delete(EXPERIMENTS).where(which))

    def abandon_experiment(
        self, tag: str, n: int, usage: Usage | None = None, thought: float | None = None
    ) -> None:
        """Forget an experiment without candidate and verdict, but for what its proposal used: that
        stays as an event. Where there is none such, nothing is changed."""
        table = EXPERIMENTS.c
        which = sa.and_(self._of(EXPERIMENTS, tag, n), table.candidate.is_(None))
        which = sa.and_(which, table.verdict.is_(None))
        with self._database.writing() as connection:
            for e in load_experiments(connection, sa.select(EXPERIMENTS).where(which)):
                if n > 0:
                    self._note(connection, tag, SPENT, event_data(e, usage or Usage(), thought))
            connection.execute(sa.delete(EXPERIMENTS).where(which))

    def experiment(self, tag: str, n: int, whole: bool = False) -> Experiment | None:
        """`whole`: with its final exams and its replays, for a person to look at."""
        purposes = tuple(Purpose) if whole else (Purpose.JUDGE,)
        with self._database.reading() as connection:
            found = load_experiments(
                connection, self._select(tag).where(EXPERIMENTS.c.n == n), purposes
            )
        return found[0] if found else None

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
        """Ordered by n, with what judges them: those numbered above `after`, of them the `first`
        or the `last` so many; `program`: the digest of their program."""
        query = self._select(tag).where(EXPERIMENTS.c.n > after)
        for column, value in ((EXPERIMENTS.c.verdict, verdict), (EXPERIMENTS.c.program, program)):
            query = query if value is None else query.where(column == value)
        order = EXPERIMENTS.c.n if last is None else EXPERIMENTS.c.n.desc()
        with self._database.reading() as connection:
            found = load_experiments(
                connection, query.order_by(order).limit(first if last is None else last)
            )
        return found if last is None else found[::-1]

    def unfinished(self, tag: str) -> list[Experiment]:
        """Experiments without a verdict: under way, or left by a dead driver."""
        query = self._select(tag).where(EXPERIMENTS.c.verdict.is_(None))
        with self._database.reading() as connection:
            return load_experiments(connection, query.order_by(EXPERIMENTS.c.n))

    def incumbent(self, tag: str) -> Experiment | None:
        """The confirmed keep with the largest number; the baseline is one."""
        found = self.experiments(tag, last=1, verdict=Verdict.KEEP)
        return found[0] if found else None

    def used(self, tag: str, first: int, since: int = 0) -> Usage:
        """What all proposals together used, as far as it is known: from experiment `first` on, and
        by events after `since` those of which no experiment came."""
        table = EXPERIMENTS.c
        sums = [sa.func.sum(table[field.name]) for field in fields(Usage)]
        query = sa.select(*sums).where(self._of(EXPERIMENTS, tag), table.n >= first)
        with self._database.reading() as connection:
            *tokens, dollars = connection.execute(query).one()
        read, cached, written = (None if n is None else int(n) for n in tokens)
        lost = map(usage_of, self.events(tag, SPENT, after=since))
        return sum(lost, Usage(read, cached, written, dollars))

    def spent(self, tag: str) -> list[Spent]:
        """What the proposals of each agent used, by name: those of finished experiments, and those
        of which none came; the baseline is nobody's."""
        query = sa.select(ACCOUNTS).where(self._of(ACCOUNTS, tag))
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings()
            found = [Spent(**{f.name: row[f.name] for f in fields(Spent)}) for row in rows]
        return by_agent([*found, *map(Spent.told, self.events(tag, SPENT))])

    def counts(self, tag: str) -> dict[Verdict, int]:
        """How many experiments ended with each verdict; verdicts that never were are absent."""
        query = sa.select(VERDICTS.c.verdict, VERDICTS.c.number).where(VERDICTS.c.number > 0)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(self._of(VERDICTS, tag)))
            return {Verdict(verdict): number for verdict, number in rows}

    # -- measurements

    def open_measurement(
        self, tag: str, n: int, candidate: str, seed: int, purpose: Purpose = Purpose.JUDGE
    ) -> int:
        """A run of experiment n's candidate is about to begin; the id to close it with."""
        row = {"n": n, "candidate": candidate, "seed": seed, "started": _now(), "purpose": purpose}
        with self._database.writing() as connection:
            return _inserted(connection, MEASUREMENTS, self._key(tag) | row)

    def close_measurement(self, id: int, measurement: Measurement) -> None:
        """The run and the score are over."""
        values = {k: v for k, v in vars(measurement).items() if k in MEASUREMENTS.c}
        change = sa.update(MEASUREMENTS).values(values)
        open_ = sa.and_(MEASUREMENTS.c.id == id, MEASUREMENTS.c.outcome.is_(None))
        with self._database.writing() as connection:
            if not connection.execute(change.where(open_)).rowcount:
                raise LedgerError(f"the ledger {self._database.place} has no open measurement {id}")

    def measured(self, tag: str) -> int:
        """How many measurements of a campaign that were taken to decide have ended."""
        judged = MEASUREMENTS.c.purpose == Purpose.JUDGE
        ended = sa.and_(self._of(MEASUREMENTS, tag), judged, MEASUREMENTS.c.outcome.is_not(None))
        with self._database.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(ended)) or 0

    def newest_seed(self, tag: str, purpose: Purpose) -> int | None:
        """The largest seed that a campaign's measurements for this purpose had."""
        which = (self._of(MEASUREMENTS, tag), MEASUREMENTS.c.purpose == purpose)
        with self._database.reading() as connection:
            newest: int | None = connection.scalar(
                sa.select(sa.func.max(MEASUREMENTS.c.seed)).where(*which)
            )
        return newest

    def exams(self, tag: str) -> dict[int, Measurement]:
        """Number → the newest holdout measurement; most experiments have none."""
        table = MEASUREMENTS.c
        which = (self._of(MEASUREMENTS, tag), table.purpose == Purpose.HOLDOUT)
        query = sa.select(MEASUREMENTS).where(*which, table.outcome.is_not(None))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(table.n, table.id))
            return {row["n"]: load_measurement(row) for row in rows.mappings()}

    def exams_read(self) -> int:
        """How many holdout scores there are in all of the arena's campaigns."""
        table = MEASUREMENTS.c
        which = (table.arena == self._arena, table.purpose == Purpose.HOLDOUT)
        query = sa.select(sa.func.count(table.score)).where(*which)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def measuring(self, tag: str) -> tuple[int, datetime, Purpose] | None:
        """The number of the experiment that is being measured, since when, and what for."""
        columns = sa.select(MEASUREMENTS.c.n, MEASUREMENTS.c.started, MEASUREMENTS.c.purpose)
        open_ = sa.and_(self._of(MEASUREMENTS, tag), MEASUREMENTS.c.outcome.is_(None))
        with self._database.reading() as connection:
            row = connection.execute(
                columns.where(open_).order_by(MEASUREMENTS.c.id.desc())
            ).first()
        return (row.n, row.started, Purpose(row.purpose)) if row else None

    def drop_open_measurements(self, tag: str) -> int:
        """Forget what a dead driver was measuring; how many there were."""
        open_ = sa.and_(self._of(MEASUREMENTS, tag), MEASUREMENTS.c.outcome.is_(None))
        with self._database.writing() as connection:
            return connection.execute(sa.delete(MEASUREMENTS).where(open_)).rowcount

    # -- events

    def add_event(self, tag: str, kind: str, **data: Value | None) -> int:
        """Its id. Ids grow in the order in which events of a campaign become visible."""
        with self._database.writing() as connection:
            return self._note(connection, tag, kind, data)

    def events(self, tag: str, *kinds: str, after: int = 0) -> list[Event]:
        """Oldest first: those with an id above `after`, of all kinds or of these."""
        query = sa.select(EVENTS).where(self._of(EVENTS, tag), EVENTS.c.id > after)
        if kinds:
            query = query.where(EVENTS.c.kind.in_(kinds))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(EVENTS.c.id)).mappings()
            return [Event(row["id"], row["kind"], row["at"], row["data"]) for row in rows]

    def newest_event(self, tag: str, kind: str) -> Event | None:
        """The newest of this kind."""
        query = sa.select(EVENTS).where(self._of(EVENTS, tag), EVENTS.c.kind == kind)
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(EVENTS.c.id.desc()).limit(1)).mappings().first()
            return Event(row["id"], row["kind"], row["at"], row["data"]) if row else None

    # -- how

    def _key(self, tag: str) -> dict[str, object]:
        return {"arena": self._arena, "tag": tag}

    def _of(self, table: sa.Table, tag: str, n: int | None = None) -> sa.ColumnElement[bool]:
        mine = sa.and_(table.c.arena == self._arena, table.c.tag == tag)
        return mine if n is None else sa.and_(mine, table.c.n == n)

    def _select(self, tag: str) -> sa.Select[tuple[object, ...]]:
        return sa.select(EXPERIMENTS).where(self._of(EXPERIMENTS, tag))

    def _change(self, tag: str, n: int, open_: bool = True, **values: object) -> Experiment:
        which = self._of(EXPERIMENTS, tag, n)
        if open_:
            which = sa.and_(which, EXPERIMENTS.c.verdict.is_(None))
        with self._database.writing() as connection:
            if not connection.execute(sa.update(EXPERIMENTS).where(which).values(values)).rowcount:
                kind = "open experiment" if open_ else "experiment"
                raise LedgerError(
                    f"the ledger {self._database.place} has no {kind} {n} in campaign {tag}"
                )
            (changed,) = load_experiments(connection, self._select(tag).where(EXPERIMENTS.c.n == n))
            if open_ and changed.verdict is not None:
                self._tally(connection, tag, changed.verdict, 1)
                self._charge(connection, tag, changed, 1)
            return changed

    def _note(
        self, connection: sa.Connection, tag: str, kind: str, data: Mapping[str, Value | None]
    ) -> int:
        # PostgreSQL deals out ids before the commit: without turns, a reader that asks for what
        # came after id 8 would never see a 7 that was committed later.
        campaign = sa.select(CAMPAIGNS.c.tag).where(self._of(CAMPAIGNS, tag))
        connection.execute(campaign.with_for_update(key_share=True))
        row = self._key(tag) | {"kind": kind, "at": _now(), "data": data}
        return _inserted(connection, EVENTS, row)

    def _tally(self, connection: sa.Connection, tag: str, verdict: Verdict, step: int) -> None:
        which = sa.and_(self._of(VERDICTS, tag), VERDICTS.c.verdict == verdict)
        change = sa.update(VERDICTS).where(which).values(number=VERDICTS.c.number + step)
        if not connection.execute(change).rowcount:
            row = self._key(tag) | {"verdict": verdict, "number": step}
            connection.execute(sa.insert(VERDICTS).values(row))

    def _charge(self, connection: sa.Connection, tag: str, e: Experiment, sign: int) -> None:
        if e.n == 0:
            return
        one = {key: sign * value for key, value in vars(Spent.of(e)).items() if key != "agent"}
        which = sa.and_(self._of(ACCOUNTS, tag), ACCOUNTS.c.agent == e.agent)
        change = sa.update(ACCOUNTS).where(which)
        change = change.values({key: ACCOUNTS.c[key] + value for key, value in one.items()})
        if not connection.execute(change).rowcount:
            row = self._key(tag) | {"agent": e.agent} | one
            connection.execute(sa.insert(ACCOUNTS).values(row))


def _now() -> datetime:
    return datetime.now(UTC)


def _inserted(connection: sa.Connection, table: sa.Table, row: Mapping[str, object]) -> int:
    key = connection.execute(sa.insert(table).values(row)).inserted_primary_key
    assert key is not None
    return int(key[0])
