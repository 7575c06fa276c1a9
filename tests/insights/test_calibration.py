"""What agents expect and what came of it: in the idea file, the ledger, and beside their keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.records import measurement
from overnight import Experiment, Idea, Verdict
from overnight.agents.base import Rejected, Workbench
from overnight.agents.programs.command import CommandAgent
from overnight.agents.programs.idea_file import idea_in
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError
from overnight.core.usage import Usage
from overnight.insights.track_record import held, track_records
from toy import command
from writer import run


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Expected: +0.01", 0.01),
        ("  Expected:-2e-3  ", -0.002),
        ("Expected: −.5", -0.5),
        ("Expected: 3.", 3.0),
    ],
)
def test_an_expectation_is_read_and_is_no_part_of_the_hypothesis(
    line: str, expected: float
) -> None:
    idea = idea_in(f"# a title\n\nHypothesis: because\n{line}\nand so on\n", "none")
    assert (idea.title, idea.expected) == ("a title", expected)
    assert idea.hypothesis == "because\nand so on"
    assert idea_in(f"{line}\na title", "none").title == "a title"
    assert idea_in(f"{line}\r\n", "none") == Idea("none", expected=expected)


@pytest.mark.parametrize(
    "line",
    [
        "Expected: a lot",
        "Expected: nan",
        "Expected: inf",
        "Expected: 1e999",
        "Expected: 1 bpb",
        "Expected: 10%",
        "expected +1",
        "Not Expected: 1",
        "Expected:",
        "Expected: 1_000",
    ],
)
def test_nonsense_is_text_like_any_other(line: str) -> None:
    idea = idea_in(f"a title\n{line}\nExpected: 2", "none")
    assert idea.expected == 2.0 and line in idea.hypothesis


def test_what_an_agent_expects_thinks_and_uses_is_recorded_whatever_comes_of_it(toy: Path) -> None:
    @dataclass
    class Thinker:
        name: str = "thinker"

        def propose(self, bench: Workbench) -> Idea:
            used = Usage(1000, 100, 50, 0.25)
            match bench.n:
                case 1:
                    (bench.folder / "value.py").write_text("X=8\n")
                    return Idea("eight", "", {}, 4.0, used)
                case 2:
                    raise AgentError("rate limit", usage=used)
                case 3:
                    raise Rejected("does not apply", Idea("nine", expected=1.0, usage=used))
            return Idea("nothing", usage=used)

    done = run(toy, Thinker(), experiments=4)
    assert [e.verdict for e in done[1:]] == ["keep", "invalid", "stale", "invalid"]
    for e in done[1:]:
        assert e.usage == Usage(1000, 100, 50, 0.25)
        assert e.thought is not None and 0 < e.thought < 10
    assert done[0].thought is None and done[3].expected == 1.0
    (told,) = json.loads(command(toy, "agents", "--stats", "--json").stdout)
    assert told == {
        "agent": "thinker",
        "experiments": 4,
        "kept": 1,
        "members": 0,
        "keep_rate": 0.25,
        "gain": 2.0,
        "tokens": 4200,
        "unknown_tokens": 0,
        "cost": 1.0,
        "unknown_cost": 0,
        "thought": pytest.approx(sum(e.thought or 0.0 for e in done)),
        "expectations": 1,
        "held": 1,
        "expected": 4.0,
        "came": 2.0,
        "ratio": 2.0,
    }
    words = command(toy, "agents", "--stats").stdout
    assert "thinker" in words and "1 of 4 (25%)" in words and "+2" in words and "1.00" in words
    assert "thinker, expected gains: 1 of 1 met; on average 2 times too large" in " ".join(
        words.split()
    )


def test_an_agent_is_told_how_its_expectations_hold(toy: Path) -> None:
    line = (
        'echo "X=$((10 - OVERNIGHT_EXPERIMENT))" > value.py; '
        "printf 'down\\nExpected: +4\\n' > .overnight-idea.md"
    )
    done = run(toy, CommandAgent("sh", AgentTable(command=line)), experiments=3)
    assert [(e.description, e.expected, e.hypothesis) for e in done[1:]] == [("down", 4.0, "")] * 3
    brief = (toy / ".overnight" / "logs" / "t" / "3" / "brief.md").read_text()
    assert (
        "- Your experiments so far: 2, 2 kept, +2 gained.\n- Your expectations so far: 0 of 2 met; "
        "on average 4 times too large." in brief
    )


def finished(expected: float | None, gain: float | None, **more: object) -> Experiment:
    verdict = Verdict.CRASH if gain is None else Verdict.KEEP if gain > 0 else Verdict.DISCARD
    base = Experiment(1, "a", datetime.now(UTC), verdict=verdict, score=gain, gain=gain)
    base = replace(base, expected=expected, measurements=(measurement(gain),))
    return replace(base, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("experiment", "so"),
    [
        (finished(1.0, 0.5), True),
        (finished(1.0, 0.4), False),
        (finished(1.0, 9.0), True),
        (finished(-1.0, -0.9), True),
        (finished(-1.0, -1.1), False),
        (finished(0.0, 0.0), True),
        (finished(-1.0, None), False),
        (finished(None, 1.0), None),
        (finished(1.0, 1.0, verdict=Verdict.PROVISIONAL), None),
        (finished(1.0, 1.0, verdict=None), None),
        (finished(1.0, None, measurements=()), None),
        (finished(1.0, 1.0, within=9), False),
    ],
)
def test_an_expectation_holds_when_half_of_it_came(experiment: Experiment, so: bool | None) -> None:
    assert held(experiment) is so


def test_members_of_a_stack_and_open_ends_count_for_nothing() -> None:
    found = track_records(
        [
            finished(1.0, 1.0, n=0),
            finished(1.0, 0.25),
            finished(1.0, 5.0, within=9),
            finished(1.0, -0.5, agent="b"),
            finished(9.0, 9.0, verdict=Verdict.PROVISIONAL),
        ]
    )
    a, b = found["a"], found["b"]
    assert (a.experiments, a.kept, a.members, a.gain) == (3, 2, 1, 0.25)
    assert (a.expectations, a.held, a.expected, a.came, a.ratio) == (2, 0, 2.0, 0.25, 8.0)
    assert b.ratio is None
    assert b.calibration == "0 of 1 met; +1 expected in total, -0.5 measured"


def test_agents_without_anything_to_tell_say_so(toy: Path) -> None:
    assert command(toy, "agents", "--stats").returncode == 2, "there is no campaign yet"
    run(toy, CommandAgent("sh", AgentTable(command="true")), experiments=0)
    done = command(toy, "agents", "--stats")
    assert done.returncode == 0 and "No agent has proposed anything" in done.stdout
    assert json.loads(command(toy, "agents", "--stats", "--json").stdout) == []
