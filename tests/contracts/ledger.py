"""What every ledger must do, whatever database is under it. Subclass with one fixture: `place`."""

from __future__ import annotations

import math
import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.processes import Place, begin, execute, process
from contracts.records import COMMIT, campaign, conclude, measurement
from overnight.core.errors import LedgerError
from overnight.core.experiment import (
    Closing,
    Experiment,
    Idea,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
)
from overnight.core.usage import Usage
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

    def test_everything_about_an_experiment_comes_back(self, ledger: Ledger, other: Ledger) -> None:
        begun = datetime.now(UTC)
        parameters = {"train.py:LR": 0.1, "f": True, "s": "x", "i": 3}
        idea = Idea("a title", "because", parameters, 0.5, Usage(10**10, 900, dollars=0.25))
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
        )
        ledger.open_experiment("jul1", 7, "tuner", "parent")
        ledger.record_candidate("jul1", 7, COMMIT, idea, ("a.txt", "b/c.txt"))
        ledger.close_measurement(ledger.open_measurement("jul1", 7, COMMIT, 2**40), taken)
        closing = Closing(Verdict.DISCARD, "no better", 1 / 3, -0.5, (-1.0, math.inf))
        closed = ledger.close_experiment("jul1", 7, closing.as_(Verdict.KEEP, "better", "final"))

        found = other.experiment("jul1", 7)
        assert found == closed
        assert found is not None and found.ended is not None
        assert begun <= found.started <= found.ended <= datetime.now(UTC)
        assert found.started.tzinfo is UTC and found.measurements[0].started.tzinfo is UTC
        expected = Experiment(
            n=7,
            agent="tuner",
            started=found.started,
            parent="parent",
            candidate="final",
            verdict=Verdict.KEEP,
            reason="better",
            score=1 / 3,
            gain=-0.5,
            interval=(-1.0, math.inf),
            description="a title",
            hypothesis="because",
            parameters={"train.py:LR": 0.1, "f": True, "s": "x", "i": 3},
            expected=0.5,
            tokens_in=10**10,
            tokens_cached=900,
            dollars=0.25,
            dropped=("a.txt", "b/c.txt"),
            ended=found.ended,
            measurements=(taken,),
        )
        assert found == expected

    def test_what_is_under_way_is_known_to_others(self, ledger: Ledger, other: Ledger) -> None:
        ledger.open_experiment("jul1", 0, "baseline", None)
        (thinking,) = other.unfinished("jul1")
        assert (thinking.n, thinking.candidate, thinking.verdict) == (0, None, None)
        ledger.record_candidate("jul1", 0, COMMIT, Idea("baseline"), ())
        ledger.open_measurement("jul1", 0, COMMIT, 0)
        (measuring,) = other.unfinished("jul1")
        assert (measuring.candidate, measuring.measurements) == (COMMIT, ())
        ledger.close_experiment("jul1", 0, Closing(Verdict.CRASH, "it fell"))
        assert other.unfinished("jul1") == []

    def test_a_crash_has_no_score_rather_than_zero(self, ledger: Ledger, other: Ledger) -> None:
        conclude(ledger, 1, Verdict.CRASH, None)
        found = other.experiment("jul1", 1)
        assert found is not None
        assert (found.score, found.gain, found.interval, found.scores) == (None, None, None, ())
        assert found.measurements[0].score is None

    def test_a_number_is_given_once(self, ledger: Ledger) -> None:
        conclude(ledger, 1, Verdict.KEEP)
        with pytest.raises(LedgerError, match="second driver"):
            ledger.open_experiment("jul1", 1, "tuner", None)
        with pytest.raises(LedgerError, match="second driver"):
            ledger.add_campaign(campaign())

    def test_what_is_finished_is_not_finished_again(self, ledger: Ledger) -> None:
        before = conclude(ledger, 1, Verdict.KEEP)
        with pytest.raises(LedgerError, match="no open experiment 1 in campaign jul1"):
            ledger.close_experiment("jul1", 1, Closing(Verdict.DISCARD, "changed my mind"))
        with pytest.raises(LedgerError, match="no open experiment 1"):
            ledger.record_candidate("jul1", 1, "other", Idea("other"), ())
        row = ledger.open_measurement("jul1", 1, COMMIT, 1)
        ledger.close_measurement(row, replace(before.measurements[0], seed=1))
        with pytest.raises(LedgerError, match=f"no open measurement {row}"):
            ledger.close_measurement(row, measurement(99.0))
        assert [m.seed for m in ledger.experiments("jul1")[0].measurements] == [0, 1]

    def test_what_is_not_there_is_said_to_be_missing(self, ledger: Ledger) -> None:
        assert ledger.experiment("jul1", 5) is None
        assert ledger.campaign("never") is None
        assert ledger.incumbent("jul1") is None
        assert ledger.counts("jul1") == {}
        with pytest.raises(LedgerError):
            ledger.open_experiment("never", 0, "tuner", None)
        with pytest.raises(LedgerError):
            ledger.add_event("never", "steer", words="hello")
        with pytest.raises(LedgerError):
            ledger.open_measurement("jul1", 5, COMMIT, 0)
        with pytest.raises(LedgerError, match="no experiment 5"):
            ledger.revise_score("jul1", 5, 1.0)
        with pytest.raises(LedgerError, match="no open measurement 77"):
            ledger.close_measurement(77, measurement())

    def test_arenas_share_a_ledger_without_meeting(self, ledger: Ledger, place: Place) -> None:
        neighbour = Ledger.at(place, "another arena")
        assert neighbour.campaigns() == []
        neighbour.add_campaign(campaign(arena="another arena"))
        neighbour.open_experiment("jul1", 1, "tuner", None)
        neighbour.add_event("jul1", "steer", words="not yours")
        assert ledger.experiments("jul1") == [] and ledger.events("jul1") == []
        assert [c.arena for c in ledger.campaigns()] == ["toy"]
        neighbour.close()

    def test_campaigns_are_listed_oldest_first(self, ledger: Ledger, other: Ledger) -> None:
        late = replace(campaign("late"), started=datetime.now(UTC) + timedelta(hours=1))
        early = replace(campaign("early"), started=datetime(2020, 1, 1, tzinfo=UTC))
        ledger.add_campaign(late)
        ledger.add_campaign(early)
        assert [c.tag for c in other.campaigns()] == ["early", "jul1", "late"]
        assert other.campaign("late") == late

    def test_a_dropped_experiment_leaves_nothing_behind(self, ledger: Ledger) -> None:
        conclude(ledger, 0, Verdict.KEEP)
        conclude(ledger, 1, Verdict.CRASH, None)
        ledger.drop_experiment("jul1", 1)
        assert [e.n for e in ledger.experiments("jul1")] == [0]
        assert ledger.counts("jul1") == {Verdict.KEEP: 1}
        ledger.open_experiment("jul1", 1, "tuner", None)
        again = ledger.experiment("jul1", 1)
        assert again is not None and again.measurements == () and again.verdict is None

    def test_open_measurements_of_a_dead_driver_are_dropped_alone(self, ledger: Ledger) -> None:
        conclude(ledger, 0, Verdict.KEEP)
        ledger.open_measurement("jul1", 0, COMMIT, 1)
        ledger.open_measurement("jul1", 0, COMMIT, 2)
        under_way = ledger.measuring("jul1")
        assert under_way is not None and under_way[0] == 0
        assert abs((datetime.now(UTC) - under_way[1]).total_seconds()) < 60
        assert ledger.drop_open_measurements("jul1") == 2
        assert ledger.measuring("jul1") is None
        assert ledger.drop_open_measurements("jul1") == 0
        assert len(ledger.experiments("jul1")[0].measurements) == 1

    def test_the_incumbent_is_the_newest_keep(self, ledger: Ledger, other: Ledger) -> None:
        for n, verdict in enumerate(["keep", "discard", "keep", "crash", "discard", "invalid"]):
            conclude(ledger, n, Verdict(verdict), None if verdict == "crash" else 1.0)
        ledger.open_experiment("jul1", 6, "tuner", None)
        found = other.incumbent("jul1")
        assert found is not None and found.n == 2
        ledger.close_measurement(ledger.open_measurement("jul1", 2, COMMIT, 1), measurement(3.0, 1))
        revised = ledger.revise_score("jul1", 2, 2.0)
        assert other.incumbent("jul1") == revised
        assert (revised.score, revised.scores) == (2.0, (1.0, 3.0))
        assert other.counts("jul1") == {
            Verdict.KEEP: 2,
            Verdict.DISCARD: 2,
            Verdict.CRASH: 1,
            Verdict.INVALID: 1,
        }

    def test_experiments_are_selected_as_asked(self, ledger: Ledger) -> None:
        for n in (3, 0, 2, 4, 1):
            ledger.open_experiment("jul1", n, "tuner", None)
            ledger.close_experiment(
                "jul1", n, Closing(Verdict.KEEP if n % 2 else Verdict.CRASH, "")
            )
            for seed in range(n):
                row = ledger.open_measurement("jul1", n, COMMIT, seed)
                ledger.close_measurement(row, measurement(float(10 * n + seed), seed))

        def numbers(**selection: int | Verdict) -> list[int]:
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

    def test_the_newest_seed_is_that_of_one_purpose_in_one_campaign(
        self, ledger: Ledger, other: Ledger
    ) -> None:
        conclude(ledger, 1, Verdict.KEEP)
        assert other.newest_seed("jul1", Purpose.ABLATION) is None
        for seed in (7, 9, 8):
            ledger.open_measurement("jul1", 1, COMMIT, seed, Purpose.ABLATION)
        ledger.open_measurement("jul1", 1, COMMIT, 10, Purpose.REPLAY)
        assert other.newest_seed("jul1", Purpose.ABLATION) == 9
        assert other.newest_seed("jul2", Purpose.ABLATION) is None

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

    def test_hostile_text_and_numbers_stop_nothing(self, ledger: Ledger, other: Ledger) -> None:
        """An agent's title or a run's output must not be able to end the night."""
        ledger.open_experiment("jul1", 1, NASTY, None)
        idea = Idea(NASTY, NASTY * 10_000, {NASTY: NASTY, "x": math.nan})
        ledger.record_candidate("jul1", 1, COMMIT, idea, (NASTY,))
        reported = {NASTY: 1.0, "nan": math.nan, "up": math.inf, "down": -math.inf}
        taken = replace(measurement(None), detail=NASTY, reported=reported)
        ledger.close_measurement(ledger.open_measurement("jul1", 1, COMMIT, 0), taken)
        ledger.close_experiment("jul1", 1, Closing(Verdict.CRASH, NASTY))
        ledger.add_event("jul1", "steer", words=NASTY)

        found = other.experiment("jul1", 1)
        assert found is not None
        clean = NASTY.replace("\0", "\ufffd").replace("\ud83d", "?")
        assert found.agent == found.description == found.reason == clean
        assert found.hypothesis == clean * 10_000
        assert found.dropped == (clean,) and found.parameters[clean] == clean
        back = found.measurements[0].reported
        assert back[clean] == 1.0 and math.isnan(back["nan"])
        assert (back["up"], back["down"]) == (math.inf, -math.inf)
        assert other.events("jul1")[0].data == {"words": clean}

    def test_a_number_beyond_all_bounds_is_an_error_or_absent(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError):
            ledger.open_experiment("jul1", 10**30, "tuner", None)

    def test_a_newer_ledger_is_refused(self, ledger: Ledger, place: Place) -> None:
        execute(place, "UPDATE overnight_schema SET version = 99")
        for create in (True, False):
            with pytest.raises(LedgerError, match=r"newer overnight.* 99, .*pip install --upgrade"):
                Ledger.at(place, "toy", create)

    def test_a_ledger_of_the_first_version_is_brought_up_to_date_and_loses_nothing(
        self, ledger: Ledger, place: Place
    ) -> None:
        ledger.open_experiment("jul1", 0, "baseline", None)
        ledger.record_candidate("jul1", 0, COMMIT, Idea("old"), ())
        ledger.close_measurement(ledger.open_measurement("jul1", 0, COMMIT, 0), measurement(1.5))
        ledger.close_experiment("jul1", 0, Closing(Verdict.KEEP, "first", 1.5))
        before = ledger.experiment("jul1", 0)
        ledger.close()
        execute(place, "DROP INDEX measurements_by_purpose", "DROP TABLE spent")
        execute(place, "DROP INDEX experiments_by_program")
        for table, columns in (
            ("experiments", "simpler within whole expected tokens_in tokens_cached tokens_out"),
            ("experiments", "thought program"),
            ("measurements", "purpose curve sandbox referee"),
        ):
            for column in columns.split():
                execute(place, f"ALTER TABLE {table} DROP COLUMN {column}")
        execute(place, "ALTER TABLE experiments RENAME COLUMN dollars TO cost")
        execute(place, "UPDATE overnight_schema SET version = 1")
        with closing(Ledger.at(place, "toy", create=False)) as upgraded:
            after = upgraded.experiment("jul1", 0)
            upgraded.open_experiment("jul1", 1, "tuner", COMMIT)
            upgraded.close_experiment("jul1", 1, Closing(Verdict.KEEP, "with 2", 1.4, within=2))
            assert [e.within for e in upgraded.experiments("jul1")] == [None, 2]
        assert before is not None and after is not None
        (old,), (new,) = before.measurements, after.measurements
        assert replace(after, measurements=()) == replace(before, measurements=())
        assert new == replace(old, sandbox="none", referee="", curve=())

    def test_someone_elses_tables_are_not_taken_over(self, place: Place) -> None:
        execute(place, "CREATE TABLE experiments (mine TEXT)")
        with pytest.raises(LedgerError, match="experiments"):
            Ledger.at(place, "toy")
        with pytest.raises(LedgerError, match="overnight run"):
            Ledger.at(place, "toy", create=False)

    def test_processes_that_create_it_at_once_all_succeed(self, place: Place) -> None:
        fork = multiprocessing.get_context("fork")
        barrier = fork.Barrier(6)
        tags = [f"tag{number}" for number in range(barrier.parties)]
        children = [fork.Process(target=begin, args=(place, tag, barrier)) for tag in tags]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * len(tags)
        ledger = Ledger.at(place, "toy", create=False)
        assert sorted(c.tag for c in ledger.campaigns()) == tags
        ledger.close()

    def test_a_reader_and_an_event_writer_go_on_while_a_driver_writes(
        self, ledger: Ledger, other: Ledger, place: Place
    ) -> None:
        many = 40
        with (
            process("drive", str(place), 1, many) as driver,
            process("tell", str(place), many) as teller,
        ):
            last = 0
            while driver.poll() is None or teller.poll() is None:
                found = other.experiments("jul1")
                assert [e.n for e in found] == list(range(1, len(found) + 1))
                assert len(found) >= last
                assert all(e.scores == (float(e.n),) for e in found if e.verdict)
                last = len(found)
                time.sleep(0.005)
            assert (driver.returncode, teller.returncode) == (0, 0)
        assert other.counts("jul1") == {Verdict.DISCARD: many}
        words = [event.data["words"] for event in other.events("jul1", "steer")]
        assert words == [f"word {number}" for number in range(many)]

    def test_a_killed_driver_loses_nothing_that_it_was_told_is_recorded(
        self, ledger: Ledger, place: Place
    ) -> None:
        first = 0
        chance = random.Random(7)
        for _ in range(6):
            with process("drive", str(place), first, 10**6) as driver:
                assert driver.stdout is not None
                told = [driver.stdout.readline() for _ in range(chance.randint(1, 20))]
                time.sleep(chance.uniform(0, 0.01))
                driver.send_signal(signal.SIGKILL)
                told += driver.stdout.readlines()
            found = ledger.experiments("jul1")
            assert [e.n for e in found] == list(range(len(found)))
            for act, n in (line.split() for line in told):
                e = found[int(n)]
                assert act != "proposed" or e.candidate == COMMIT
                assert act != "measured" or e.scores == (float(n),)
                assert act != "closed" or e.verdict is Verdict.DISCARD
            for e in found[:-1]:
                assert e.description == f"title {e.n}" and e.reason == f"reason {e.n}"
                assert e.scores == (e.score,) == (float(e.n),) and e.ended
            ledger.drop_open_measurements("jul1")
            for half in ledger.unfinished("jul1"):
                assert half.n == len(found) - 1
                ledger.drop_experiment("jul1", half.n)
            first = len(ledger.experiments("jul1"))
        assert first > 0
