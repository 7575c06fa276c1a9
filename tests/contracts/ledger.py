"""What every ledger must do, whatever database is under it. Subclass with one fixture: `place`."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.processes import Place, begin, content, drive, execute, process, tell
from contracts.records import (
    COMMIT,
    campaign,
    conclude,
    experiment,
    measured,
    measurement,
    planned,
    proposed,
)
from overnight.core.errors import LedgerError
from overnight.core.experiment import (
    Closing,
    Experiment,
    Measurement,
    Outcome,
    Proposal,
    Purpose,
    Verdict,
)
from overnight.core.under_way import Pair, Round, State
from overnight.core.usage import FREE, Usage
from overnight.record.ledger import Ledger

NASTY = "tab\t newline\n nul\0 quote' \" half \ud83d bidi \u202e ü 🙂 %s ; DROP TABLE events"


class LedgerContract:
    @pytest.fixture
    def place(self) -> Place:
        """A place where no ledger is yet."""
        raise NotImplementedError

    @pytest.fixture
    def ledger(self, place: Place) -> Iterator[Ledger]:
        ledger = Ledger.at(place, "toy")
        ledger.add_campaign(campaign())
        yield ledger
        ledger.close()

    @pytest.fixture
    def other(self, place: Place, ledger: Ledger) -> Iterator[Ledger]:
        """The same ledger, as another process opens it for reading and events."""
        other = Ledger.at(place, "toy", create=False)
        yield other
        other.close()

    # -- experiments

    def test_everything_about_an_experiment_comes_back(self, ledger: Ledger, other: Ledger) -> None:
        taken = Measurement(
            candidate=COMMIT,
            seed=2**40,
            started=datetime(2026, 7, 1, 3, 0, 0, 123456, timezone(timedelta(hours=5))),
            outcome=Outcome.FINISHED,
            score=0.1 + 0.2,
            numbers={"peak_memory_mb": 12.5, "tokens": 1e6},
            reported={"val_bpb": 0.5},
            stage_seconds={"run": 1.25, "score": 0.5},
            detail="fine",
            log="logs/jul1/7/run-7-0",
            device="a processor",
            self_reported=True,
            sandbox="landlock",
            referee="0123456789abcdef",
            curve=((0.5, 2.0), (0.75, 1.5)),
            at=3,
            pair=4,
        )
        asked = ledger.open_proposal("jul1", "codex", 5, 6)
        usage = Usage(10**10, 900, dollars=0.25)
        ended = replace(asked, usage=usage, thought=2.5, outcome="candidate", n=7)
        added = Experiment(
            n=7,
            agent="codex",
            started=datetime.now(UTC),
            start=5,
            against=6,
            parent="parent",
            candidate=COMMIT,
            description="a title",
            hypothesis="because",
            parameters={"train.py:LR": 0.1, "f": True, "s": "x", "i": 3},
            expected=0.5,
            proposal=ended,
            program="fedcba9876543210",
            simplifies=True,
            dropped=("a.txt", "b/c.txt"),
        )
        ledger.add_experiment("jul1", added)
        begun = ledger.open_measurement("jul1", planned(7, 2**40, at=3, pair=4))
        ledger.close_measurement(begun.id, taken)
        closing = Closing(Verdict.KEEP, "better", 1 / 3, -0.5, (-1.0, math.inf), "final")
        (closed,) = ledger.conclude("jul1", {7: closing}, 4)

        found = other.experiment("jul1", 7)
        assert found is not None and found == closed and found.ended and found.proposal
        assert added.started <= found.proposal.ended <= found.ended <= datetime.now(UTC)
        assert found.started.tzinfo is UTC and found.measurements[0].started.tzinfo is UTC
        assert found == replace(
            added,
            candidate="final",
            verdict=Verdict.KEEP,
            reason="better",
            score=1 / 3,
            gain=-0.5,
            interval=(-1.0, math.inf),
            proposal=replace(ended, ended=found.proposal.ended),
            ended=found.ended,
            verdict_at=4,
            measurements=(replace(taken, started=begun.started),),  # not by the worker's clock
        )
        assert (found.usage, found.thought) == (usage, 2.5)

    def test_a_refused_change_is_an_experiment_that_is_finished(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        e = replace(experiment(1), candidate=None, verdict=Verdict.INVALID, reason="a seed")
        ledger.add_experiment("jul1", replace(e, ended=datetime.now(UTC)))
        found = other.experiment("jul1", 1)
        assert found is not None and found.ended
        assert found == replace(e, ended=found.ended) and other.unfinished("jul1") == []

    def test_a_crash_has_no_score_rather_than_zero(self, ledger: Ledger, other: Ledger) -> None:
        conclude(ledger, 1, Verdict.CRASH, None)
        found = other.experiment("jul1", 1)
        assert found is not None
        assert (found.score, found.gain, found.interval, found.scores) == (None, None, None, ())
        assert found.measurements[0].score is None

    def test_a_number_is_given_once(self, ledger: Ledger) -> None:
        conclude(ledger, 1, Verdict.KEEP)
        with pytest.raises(LedgerError, match="second driver"):
            ledger.add_experiment("jul1", experiment(1))
        with pytest.raises(LedgerError, match="second driver"):
            ledger.add_campaign(campaign())

    def test_what_is_not_there_is_said_to_be_missing(self, ledger: Ledger) -> None:
        assert ledger.experiment("jul1", 5) is None
        assert ledger.campaign("never") is None
        assert ledger.incumbent("jul1") is None
        assert ledger.counts("jul1") == {}
        with pytest.raises(LedgerError):
            ledger.add_experiment("never", experiment(0))
        with pytest.raises(LedgerError):
            ledger.add_event("never", "steer", words="hello")
        with pytest.raises(LedgerError):
            ledger.open_proposal("never", "codex", 0, 0)
        with pytest.raises(LedgerError):
            ledger.open_measurement("jul1", planned(5))
        with pytest.raises(LedgerError, match="no open measurement 77"):
            ledger.close_measurement(77, measurement())
        with pytest.raises(LedgerError):
            ledger.add_experiment("jul1", experiment(10**30))

    def test_arenas_share_a_ledger_without_meeting(self, ledger: Ledger, place: Place) -> None:
        neighbour = Ledger.at(place, "another arena")
        assert neighbour.campaigns() == []
        neighbour.add_campaign(campaign(arena="another arena"))
        neighbour.add_experiment("jul1", experiment(1))
        neighbour.open_proposal("jul1", "codex", 0, 0)
        neighbour.open_measurement("jul1", planned(1))
        neighbour.add_event("jul1", "steer", words="not yours")
        assert ledger.experiments("jul1") == [] and ledger.events("jul1") == []
        assert ledger.open_proposals("jul1") == [] and ledger.under_way("jul1") == []
        assert [c.arena for c in ledger.campaigns()] == ["toy"]
        neighbour.close()

    def test_campaigns_are_listed_oldest_first(self, ledger: Ledger, other: Ledger) -> None:
        late = replace(campaign("late"), started=datetime.now(UTC) + timedelta(hours=1))
        early = replace(campaign("early"), started=datetime(2020, 1, 1, tzinfo=UTC))
        ledger.add_campaign(late)
        ledger.add_campaign(early)
        assert [c.tag for c in other.campaigns()] == ["early", "jul1", "late"]
        assert other.campaign("late") == late

    def test_a_campaign_that_restarts_forgets_its_baseline(self, ledger: Ledger) -> None:
        conclude(ledger, 0, Verdict.CRASH, None)
        assert ledger.restart_campaign("jul1", "mended").base == "mended"
        assert ledger.experiments("jul1") == [] and ledger.measured("jul1") == 0
        conclude(ledger, 0, Verdict.KEEP)

    def test_experiments_are_selected_as_asked(self, ledger: Ledger) -> None:
        for n in (3, 0, 2, 4, 1):
            program = f"{n % 2:016x}"
            ledger.add_experiment("jul1", replace(experiment(n), program=program))
            for seed in range(n):
                measured(ledger, n, float(10 * n + seed), seed)
            verdict = Verdict.KEEP if n % 2 else Verdict.CRASH
            ledger.conclude("jul1", {n: Closing(verdict, "")}, 0)

        def numbers(**selection: object) -> list[int]:
            found = ledger.experiments("jul1", **selection)  # type: ignore[arg-type]
            for e in found:
                assert e.scores == tuple(float(10 * e.n + seed) for seed in range(e.n))
            return [e.n for e in found]

        assert numbers() == [0, 1, 2, 3, 4]
        assert numbers(after=1) == [2, 3, 4]
        assert numbers(after=1, first=2) == [2, 3]
        assert numbers(last=2) == [3, 4]
        assert numbers(last=9) == [0, 1, 2, 3, 4]
        assert numbers(last=0) == numbers(after=4) == []
        assert numbers(verdict=Verdict.KEEP) == [1, 3]
        assert numbers(verdict=Verdict.CRASH, last=2) == [2, 4]
        assert numbers(program=f"{1:016x}") == [1, 3]
        assert [e.n for e in ledger.repeated("jul1", 9)] == [2, 3, 4]
        assert [e.n for e in ledger.repeated("jul1", 2)] == [3, 4], "of the newest two"
        incumbent = ledger.incumbent("jul1")
        assert incumbent is not None and incumbent.n == 3, "the newest keep"
        assert ledger.counts("jul1") == {Verdict.KEEP: 2, Verdict.CRASH: 3}
        assert ledger.measured("jul1") == 10

    # -- proposals

    def test_a_proposal_is_open_until_it_has_ended_once(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        first = ledger.open_proposal("jul1", "codex", 0, 0)
        second = ledger.open_proposal("jul1", "tuner", 1, 2, FREE)
        assert other.open_proposals("jul1") == [first, second], "and so are those of a dead driver"
        assert (first.ended, first.outcome, first.n) == (None, "", None)
        assert (second.start, second.against, second.usage) == (1, 2, FREE)
        lost = ledger.end_proposal("jul1", replace(first, outcome="lost", thought=3.0))
        assert lost.ended and other.open_proposals("jul1") == [second]
        for again in (lost, Proposal(77, "codex", 0, 0, first.started)):
            with pytest.raises(LedgerError, match=f"no open proposal {again.id}"):
                ledger.end_proposal("jul1", again)

    def test_an_experiment_and_the_end_of_its_proposal_are_written_together(
        self, ledger: Ledger
    ) -> None:
        added = proposed(ledger, 0)
        assert added.proposal and added.proposal.ended and not ledger.open_proposals("jul1")
        with pytest.raises(LedgerError, match="no open proposal"):
            ledger.add_experiment("jul1", replace(experiment(1), proposal=added.proposal))
        assert ledger.experiment("jul1", 1) is None
        with pytest.raises(LedgerError, match="second driver"):
            proposed(ledger, 0)
        assert len(ledger.open_proposals("jul1")) == 1

    # -- measurements

    def test_a_measurement_is_running_or_pending_until_it_is_done(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        ledger.add_experiment("jul1", experiment(0))
        begun = [ledger.open_measurement("jul1", planned(0, seed)) for seed in range(3)]
        assert other.under_way("jul1") == begun
        assert {one.state for one in begun} == {State.RUNNING}
        due = datetime(2027, 1, 1, tzinfo=UTC)
        ledger.defer_measurement(begun[1].id, "ticket 17", due)
        pending = replace(begun[1], state=State.PENDING, handle="ticket 17", due=due)
        assert other.under_way("jul1") == [begun[0], pending, begun[2]]
        ledger.close_measurement(begun[0].id, measurement(7.0))
        assert ledger.drop_running("jul1") == 1, "of a dead driver"
        assert ledger.drop_running("jul1") == 0
        assert other.under_way("jul1") == [pending]
        ledger.close_measurement(pending.id, measurement(8.0))
        assert other.under_way("jul1") == []
        assert [e.scores for e in other.unfinished("jul1")] == [(7.0, 8.0)]
        for done in (begun[0], begun[2]):
            with pytest.raises(LedgerError, match=f"no open measurement {done.id}"):
                ledger.close_measurement(done.id, measurement(99.0))
            with pytest.raises(LedgerError, match=f"no open measurement {done.id}"):
                ledger.defer_measurement(done.id, "", due)
            ledger.drop_measurement(done.id)
        assert ledger.measured("jul1") == 2
        ledger.drop_measurement(ledger.open_measurement("jul1", planned(0)).id)
        assert other.under_way("jul1") == []

    def test_a_keep_that_is_measured_again_has_its_new_score_with_the_measurement(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        conclude(ledger, 0, Verdict.KEEP)
        begun = ledger.open_measurement("jul1", planned(0, 1))
        ledger.close_measurement(begun.id, measurement(3.5), score=2.5)
        (again,) = other.experiments("jul1")
        assert (again.score, again.scores, again.verdict) == (2.5, (1.5, 3.5), Verdict.KEEP)

    def test_each_purpose_is_found_where_it_belongs(self, ledger: Ledger, other: Ledger) -> None:
        conclude(ledger, 1, Verdict.KEEP)
        assert other.newest_seed("jul1", Purpose.ABLATION) is None
        exam = measurement(0.25)
        for purpose, seed in ((Purpose.ABLATION, 7), (Purpose.REPLAY, 10), (Purpose.HOLDOUT, 0)):
            for score in (0.5, 0.25):
                begun = ledger.open_measurement("jul1", planned(1, seed, purpose))
                ledger.close_measurement(begun.id, measurement(score, seed))
        for outcome in (Outcome.REFUSED, Outcome.FINISHED):
            begun = ledger.open_measurement("jul1", planned(1, 0, Purpose.CHECK))
            ledger.close_measurement(begun.id, replace(measurement(None), outcome=outcome))
        (e,) = other.experiments("jul1")
        assert [m.purpose for m in e.measurements] == [Purpose.JUDGE]
        assert e.checked is not None and e.checked.outcome is Outcome.FINISHED
        whole = other.experiment("jul1", 1, whole=True)
        assert whole is not None and len(whole.measurements) == 7
        assert other.newest_seed("jul1", Purpose.ABLATION) == 7
        assert other.newest_seed("jul2", Purpose.ABLATION) is None
        ((n, newest),) = other.exams("jul1").items()
        assert (n, newest.score) == (1, exam.score) and other.exams_read() == 2
        assert other.measured("jul1") == 1

    def test_rounds_and_pairs_begin_with_their_first_measurement(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        assert other.rounds("jul1") == [] and other.newest_pair("jul1") is None
        for n in range(3):
            conclude(ledger, n, Verdict.PROVISIONAL if n else Verdict.KEEP)
        rounds = [Round(1, 1, 0, 3, 1), Round(2, 2, 0, 5, 2)]
        pairs = [Pair(1, 1, 1, 0, 3, 3), Pair(2, 2, 0, 2, 2**40, 5), Pair(3, 2, 2, 0, 7, 7)]
        for round, pair in zip([*rounds, None], pairs, strict=True):
            first = planned(pair.first, pair.seed, at=pair.at, pair=pair.number)
            ledger.open_measurement("jul1", first, round, pair)
        assert other.rounds("jul1") == rounds and other.newest_pair("jul1") == pairs[-1]
        with pytest.raises(LedgerError, match="second driver"):
            ledger.open_measurement("jul1", planned(2), rounds[0])
        assert len(other.under_way("jul1")) == 3

    # -- verdicts

    def test_verdicts_of_several_are_written_with_their_events_at_once_or_not_at_all(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        for n in range(5):
            conclude(ledger, n, Verdict.PROVISIONAL if 0 < n < 3 else Verdict.KEEP)
        ledger.add_experiment("jul1", experiment(5))
        ended = [e.ended for e in other.experiments("jul1", first=5)]
        keep = Closing(Verdict.KEEP, "as a stack", 1.0, 0.5, within=2)
        for wrong in (4, 6):  # one that is finished; one that is not there
            with pytest.raises(LedgerError, match=f"no open experiment {wrong} in campaign jul1"):
                ledger.conclude("jul1", {1: keep, wrong: keep}, 0, ("prune", {"n": 1}))
        assert other.counts("jul1") == {Verdict.KEEP: 3, Verdict.PROVISIONAL: 2}
        assert other.events("jul1") == []
        dropped = Closing(Verdict.DISCARD, "no better")
        closings = {2: replace(keep, whole=0.75), 1: keep, 5: dropped}
        closed = ledger.conclude("jul1", closings, 0, ("prune", {"n": 5}), ("steer", {}))
        found = other.experiments("jul1")
        assert closed == [found[1], found[2], found[5]]
        assert [e.within for e in closed] == [2, 2, None] and closed[1].whole == 0.75
        assert [e.ended for e in found[:5]] == ended, "when they were first judged"
        assert found[5].ended and other.unfinished("jul1") == []
        assert [(e.kind, e.data) for e in other.events("jul1")] == [
            ("prune", {"n": 5}),
            ("steer", {}),
        ]

    # -- events

    def test_events_are_found_by_kind_and_by_what_came_before(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        first = ledger.add_event("jul1", "start", hours=None, experiments=12, target=0.5)
        second = other.add_event("jul1", "steer", words="Größe zuerst")
        third = other.add_event("jul1", "stop-request", now=True)
        assert first < second < third
        assert [e.id for e in ledger.events("jul1")] == [first, second, third]
        assert [e.kind for e in ledger.events("jul1", "start", "steer")] == ["start", "steer"]
        assert ledger.events("jul1", "start", after=first) == []
        start, steer, stop = other.events("jul1")
        assert start.data == {"hours": None, "experiments": 12, "target": 0.5}
        assert (steer.data, stop.data) == ({"words": "Größe zuerst"}, {"now": True})
        assert start.at.tzinfo is UTC and start.at <= steer.at
        assert other.newest_event("jul1", "steer") == steer
        assert other.newest_event("jul1", "stop") is None

    def test_hostile_text_and_numbers_stop_nothing(self, ledger: Ledger, other: Ledger) -> None:
        """An agent's title or a run's output must not be able to end the night."""
        asked = ledger.open_proposal("jul1", NASTY, 0, 0)
        e = Experiment(
            n=1,
            agent=NASTY,
            started=asked.started,
            candidate=COMMIT,
            description=NASTY,
            hypothesis=NASTY * 10_000,
            parameters={NASTY: NASTY, "x": math.nan},
            dropped=(NASTY,),
            proposal=replace(asked, n=1),
        )
        ledger.add_experiment("jul1", e)
        reported = {NASTY: 1.0, "nan": math.nan, "up": math.inf, "down": -math.inf}
        taken = replace(measurement(None), detail=NASTY, reported=reported)
        ledger.close_measurement(ledger.open_measurement("jul1", planned(1)).id, taken)
        ledger.conclude("jul1", {1: Closing(Verdict.CRASH, NASTY)}, 0, ("steer", {"words": NASTY}))

        found = other.experiment("jul1", 1)
        assert found is not None
        clean = NASTY.replace("\0", "\ufffd").replace("\ud83d", "?")
        assert found.agent == found.description == found.reason == clean
        assert asked.agent == clean == other.spent("jul1")[0].agent
        assert found.hypothesis == clean * 10_000
        assert found.dropped == (clean,) and found.parameters[clean] == clean
        back = found.measurements[0].reported
        assert back[clean] == 1.0 and math.isnan(back["nan"])
        assert (back["up"], back["down"]) == (math.inf, -math.inf)
        assert other.events("jul1")[0].data == {"words": clean}

    # -- other versions, other owners, other processes

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            ("ledger_version", r"was written by another overnight: .* 99, expected 1.*--upgrade"),
            ("overnight_schema", r"was written before release 0\.1\.0 .*another --tag"),
        ],
    )
    def test_a_ledger_of_another_version_is_refused_and_stays_as_it_is(
        self, ledger: Ledger, place: Place, version: str, words: str
    ) -> None:
        conclude(ledger, 0, Verdict.KEEP)
        ledger.close()
        if version == "overnight_schema":  # as ledgers had it during development
            execute(place, "DROP TABLE ledger_version", "DROP TABLE proposals")
            execute(place, "CREATE TABLE overnight_schema (version INTEGER)")
            execute(place, "INSERT INTO overnight_schema VALUES (1)")
        else:
            execute(place, "UPDATE ledger_version SET version = 99")
        before = content(place)
        for create in (True, False):
            with pytest.raises(LedgerError, match=words):
                Ledger.at(place, "toy", create)
        assert content(place) == before

    def test_someone_elses_tables_are_not_taken_over(self, place: Place) -> None:
        execute(place, "CREATE TABLE experiments (mine TEXT)")
        for create in (True, False):
            with pytest.raises(LedgerError, match="tables named experiments: it is damaged"):
                Ledger.at(place, "toy", create=create)
        assert content(place) == {"experiments": []}

    def test_processes_that_create_it_at_once_all_succeed(self, place: Place) -> None:
        tags = [f"tag{number}" for number in range(6)]
        with ExitStack() as stack:
            at_once = [stack.enter_context(process(begin, place, tag)) for tag in tags]
            assert [reports() for _, reports in at_once] == [[("begun", 0)]] * len(tags)
        ledger = Ledger.at(place, "toy", create=False)
        assert sorted(c.tag for c in ledger.campaigns()) == tags
        ledger.close()

    def test_a_reader_and_an_event_writer_go_on_while_a_driver_writes(
        self, ledger: Ledger, other: Ledger, place: Place
    ) -> None:
        many = 25
        with process(drive, place, many) as (driver, _), process(tell, place, many) as (teller, _):
            last = 0
            while driver.is_alive() or teller.is_alive():
                found = other.experiments("jul1")
                assert [e.n for e in found] == list(range(len(found)))
                assert len(found) >= last
                assert all(e.scores == (float(e.n),) for e in found if e.verdict)
                last = len(found)
                time.sleep(0.02)
            assert (driver.exitcode, teller.exitcode) == (0, 0)
        assert other.counts("jul1") == {Verdict.DISCARD: many}
        words = [event.data["words"] for event in other.events("jul1", "steer")]
        assert words == [f"word {number}" for number in range(many)]

    def test_a_killed_driver_loses_nothing_that_it_reported_as_recorded(
        self, ledger: Ledger, place: Place
    ) -> None:
        chance, reported = random.Random(7), []
        for _ in range(4):
            with process(drive, place, 10**6) as (driver, reports):
                for _ in range(chance.randint(1, 10)):
                    reported += reports()
                time.sleep(chance.uniform(0, 0.01))
                driver.kill()
                driver.join()
                while more := reports():
                    reported += more
            found = ledger.experiments("jul1")
            assert [e.n for e in found] == list(range(len(found)))
            for act, n in reported:
                e = found[n]
                assert e.candidate == COMMIT and e.proposal and e.proposal.ended
                assert act == "proposed" or e.scores == (float(n),)
                assert act != "concluded" or e.verdict is Verdict.DISCARD
            for e in found[:-1]:
                assert e.description == f"title {e.n}" and e.reason == f"reason {e.n}"
                assert e.scores == (e.score,) == (float(e.n),) and e.ended
            assert len(ledger.unfinished("jul1")) + len(ledger.open_proposals("jul1")) <= 1
            assert len(ledger.under_way("jul1")) <= 1
        assert len(found) > 4
