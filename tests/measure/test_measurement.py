"""One measurement: what [run], [score], [holdout], [setup] and [metric] grant, limit and refuse."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.measure.job import Job
from overnight.measure.measurement import measure
from overnight.measure.setup import run_setup
from overnight.repo.workspace import Workspace
from overnight.stage import stage
from stages import mounted, unkillable
from toy import RUN, git, make_toy

TEXT = """
name = "toy"
editable = ["value.py"]
{top}
[metric]
name = "loss"
direction = "minimize"
{metric}
[run]
command = "sh run.sh"
budget = "{budget}"
{run}
[score]
command = "python3 score.py"
timeout = "{timeout}"
{score}
{more}
"""
PLAIN = {name: "" for name in ("top", "metric", "run", "score", "more")}
PLAIN |= {"budget": "20s", "timeout": "20s"}
FILL = "import time; held = bytearray(300_000_000); time.sleep(3)"
EXAM = '[holdout]\ncommand = "python3 exam.py"\n'


def arena(folder: Path, script: str = RUN, line: str = "", **parts: str) -> Arena:
    """The toy with these parts of arena.toml, this run, and this line before its scorer."""
    make_toy(folder / "arena", TEXT.format(**PLAIN | parts), run=script)
    toy = folder / "arena"
    scorer = (toy / "score.py").read_text()
    (toy / "score.py").write_text(f"{line}\n{scorer}")
    (toy / "exam.py").write_text(f"{line}\nprint('{{\"loss\": 5}}')\n")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "--allow-empty", "-m", "more")
    return Arena.load(toy)


def job(arena: Arena, purpose: Purpose = Purpose.JUDGE) -> tuple[Workspace, Job]:
    workspace = Workspace.open(arena.root, arena.state)
    base = workspace.head()
    return workspace, Job(1, "t", 0, base, base, 0, purpose, None, 0)


def measured(arena: Arena, purpose: Purpose = Purpose.JUDGE) -> Measurement:
    found = measure(arena, *job(arena, purpose), threading.Event())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("run", "limit", "outcome", "words"),
    [
        ("sleep 60", {"budget": "0.5s"}, Outcome.TIMEOUT, "still running after 0.5 s of wall"),
        (f"sleep 1\n{RUN}", {"budget": "0.5s", "run": 'clock = "cpu"'}, Outcome.FINISHED, ""),
        (f"python3 -c '{FILL}'", {"run": 'memory = "60MB"'}, Outcome.OUT_OF_MEMORY, "its 60 MB"),
        ("for n in 1 2 3 4 5 6 7 8 9; do sleep 9 & done; wait", {"run": "processes = 8"},
         Outcome.CRASHED, "more than 8 processes"),
        ('head -c 9000000 /dev/zero >"$OVERNIGHT_OUT/x"; sleep 2', {"run": 'disk = "1MB"'},
         Outcome.CRASHED, ""),
        (RUN, {"metric": "best_possible = 7.5"}, Outcome.REFUSED, "best_possible = 7.5"),
    ],
    ids=["budget", "clock", "memory", "processes", "disk", "best_possible"],
)  # fmt: skip
def test_a_run_is_held_to_its_limits(
    tmp_path: Path, run: str, limit: dict[str, str], outcome: Outcome, words: str
) -> None:
    found = measured(arena(tmp_path, run, **limit))
    assert found.outcome is outcome and words in found.detail, found.detail


@pytest.mark.parametrize(
    ("purpose", "line", "limit", "words"),
    [
        (Purpose.JUDGE, "import time; time.sleep(60)", {"timeout": "0.5s"}, "(deadline)"),
        (Purpose.JUDGE, FILL, {"score": 'memory = "60MB"'}, "(memory)"),
        (Purpose.HOLDOUT, "import time; time.sleep(60)", {"more": EXAM + 'timeout = "0.5s"'},
         "(deadline)"),
        (Purpose.HOLDOUT, FILL, {"more": EXAM + 'memory = "60MB"'}, "(memory)"),
    ],
    ids=["score.timeout", "score.memory", "holdout.timeout", "holdout.memory"],
)  # fmt: skip
def test_a_referee_is_held_to_its_limits(
    tmp_path: Path, purpose: Purpose, line: str, limit: dict[str, str], words: str
) -> None:
    found = measured(arena(tmp_path, line=line, **limit), purpose)
    assert found.outcome is Outcome.NO_METRIC and words in found.detail, found.detail


SHOUT = "head -c 300000 /dev/zero >&2"


@pytest.mark.parametrize(
    ("purpose", "parts", "named"),
    [
        (Purpose.JUDGE, {"script": f"{SHOUT}; {RUN}"}, "run"),
        (Purpose.JUDGE, {"line": f"import os; os.system({SHOUT!r})"}, "score"),
        (Purpose.CHECK, {"more": f'[checks]\nloud = "{SHOUT}"'}, "check loud"),
    ],
    ids=["run", "score", "check"],
)
def test_a_full_disk_is_not_the_candidates_fault(
    tmp_path: Path, small_disk: Path, purpose: Purpose, parts: dict[str, str], named: str
) -> None:
    toy = arena(tmp_path, **parts)
    toy.state.mkdir(exist_ok=True)
    (toy.state / "logs").symlink_to(small_disk)
    words = f"output of the {named} could not be written.*logs.*No space left.*Free some space"
    with pytest.raises(MeasurementImpossible, match=words):
        measured(toy, purpose)


def test_a_candidate_that_fills_the_disk_crashes_and_the_next_has_room(tmp_path: Path) -> None:
    fill = f'head -c 99000000 /dev/zero >"$OVERNIGHT_OUT/x"\n{RUN}'
    toy = arena(tmp_path, fill)
    toy.state.mkdir()
    with mounted(toy.state, "60m"):
        found = measured(toy)
        assert found.outcome is Outcome.CRASHED and "the disk has room again" in found.detail
        assert not job(toy)[1].place(toy).exists()


def test_nothing_is_measured_beside_a_process_that_cannot_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "KILL_SECONDS", 1.0)
    pid = tmp_path / "pid"
    toy = arena(tmp_path, f"sh -c 'echo $$ > {pid}; exec sleep 60' &\nsleep 1; {RUN}")
    workspace, asked = job(toy)
    alone = replace(asked, sandbox="none")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(measure, toy, workspace, alone, threading.Event())
        with unkillable(pid), pytest.raises(MeasurementImpossible, match="1 of the processes of"):
            found.result(30)


def test_the_score_is_the_referees_the_exams_or_the_runs_own(tmp_path: Path) -> None:
    examined = arena(tmp_path / "a", more=EXAM)
    assert measured(examined).score == 7.0 and measured(examined, Purpose.HOLDOUT).score == 5.0
    own = examined.model_copy(update={"score": None})
    found = measured(
        own.model_copy(update={"metric": own.metric.model_copy(update={"name": "claimed"})})
    )
    assert (found.score, found.self_reported) == (7.0, True)


PROBE = """
import os, pathlib, socket, sys
def tell(name, act):
    try:
        act()
        print(f"{name}: 1")
    except (KeyError, OSError):
        print(f"{name}: 0")
data, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
tell("variable", lambda: os.environ["MINE"])
tell("data", (data / "a").read_text)
tell("hidden", (data / "secret").read_text)
tell("exam", (data / "exam").read_text)
tell("network", lambda: socket.create_connection(("127.0.0.1", port), 5))
"""


@pytest.mark.parametrize("granted", [True, False])
def test_a_run_reaches_what_the_arena_grants_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a", "secret", "exam"):
        (data / name).write_text("x\n")
    monkeypatch.setenv("MINE", "1")
    parts = {
        "top": f'data = ["{data}"]\nhidden = ["{data}/secret"]',
        "run": 'network = true\nenv = ["MINE"]',
        "more": f'{EXAM}hidden = ["{data}/exam"]',
    }
    with socket.create_server(("127.0.0.1", 0)) as server:
        run = f"python3 -c '{PROBE}' {data} {server.getsockname()[1]}\n{RUN}"
        found = measured(arena(tmp_path, run, **(parts if granted else {})))
    names = ("variable", "data", "network", "hidden", "exam")
    assert [found.reported[name] for name in names] == [granted] * 3 + [0, 0], found.detail


def test_the_setup_runs_once_for_a_version_of_the_protected_files(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    toy = arena(tmp_path, more=f"[setup]\ncommand = \"echo x >> '{counter}'\"")
    for text in ("# the same\n", "# the same\n", "# another\n"):
        (toy.root / "run.sh").write_text(text)
        git(toy.root, "commit", "--quiet", "--allow-empty", "-am", "again")
        run_setup(toy, *job(toy), threading.Event())
    assert counter.read_text() == "x\nx\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('command = "echo no network; exit 7"', "exit code 7\nno network"),
        ('command = "sleep 60"\ntimeout = "0.5s"', r"ended by overnight \(deadline\)"),
    ],
)
def test_a_setup_that_fails_or_takes_too_long_is_told_with_its_log(
    tmp_path: Path, table: str, words: str
) -> None:
    toy = arena(tmp_path, more=f"[setup]\n{table}")
    with pytest.raises(MeasurementImpossible, match=f"{words}(.|\n)*setup.log"):
        run_setup(toy, *job(toy), threading.Event())
