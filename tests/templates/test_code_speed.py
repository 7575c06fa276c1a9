"""The code-speed template: what is right, what is faster, and what only pretends to be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.agents.tuner.constants import find_constants
from overnight.arena.arena import Arena
from overnight.templates.make import make_arena
from template import scored
from toy import git, overnight

TEMPLATE = Path(__file__).parents[2] / "src/overnight/templates/code-speed"


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    """The arena with a score that takes 3 s of processor time: one log, read three times."""
    folder = tmp_path / "arena"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    score = folder / "score.py"
    text = score.read_text()
    for old, new in {"LOGS = 4": "LOGS = 1", "READINGS = 4": "READINGS = 3"}.items():
        assert f"\n{old}" in text
        text = text.replace(f"\n{old}", f"\n{new}")
    score.write_text(text)
    return folder


@pytest.fixture
def judged(arena: Path) -> Callable[[str], dict[str, Any]]:
    """What the referee says of the candidate with this code after its own."""

    def judged(change: str) -> dict[str, Any]:
        candidate = arena.with_name("candidate")
        shutil.copytree(arena, candidate)
        with (candidate / "aggregate.py").open("a") as file:
            file.write(f"\n\n{change}")
        return scored(arena, candidate)

    return judged


def test_the_start_is_right_and_as_fast_as_itself(judged: Callable[[str], dict[str, Any]]) -> None:
    found = judged("")
    assert 0.4 < found["relative_time"] < 2.5, "neighbours may be busy"
    assert found["candidate_peak_memory_mb"] < 80


CHEATS = {
    "the answer to the log before": """
right, kept = aggregate, []
def aggregate(log):
    kept.append(kept[0] if kept else right(log))
    return kept[-1]
""",
    "every tenth line skipped": """
right = aggregate
def aggregate(log):
    lines = log.split(b"\\n")
    return right(b"\\n".join(line for n, line in enumerate(lines) if n % 10))
""",
    "half of a log counted twice": """
right = aggregate
def aggregate(log):
    found = right(log[:log.rindex(b"\\n", 0, len(log) // 2) + 1])
    for row in found["routes"].values():
        row[0] *= 2
    return found
""",
    "another rounding": """
def rounded(value):
    return f"{float(value) / (1000 if ARITHMETIC == 'integer' else 1):.2f}"
""",
    "an answer before the question": """
import os, struct
for fd in range(3, 40):
    try:
        os.write(fd, struct.pack("<4sI", b"ovn1", 8) + b"[{}, []]")
    except OSError:
        pass
""",
    "an empty log forgotten": """
right = aggregate
def aggregate(log):
    return right(log) if log else {}
""",
    "no table at all": """
def aggregate(log):
    return [1] * 10
""",
    "a table that never ends": """
def aggregate(log):
    return {"routes": {}, "malformed": "9" * 50_000_000}
""",
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
def test_a_wrong_answer_is_invalid(judged: Callable[[str], dict[str, Any]], cheat: str) -> None:
    found = judged(cheat)
    assert set(found) == {"invalid"}, found


TRICKS = """
import os, sys, time
import overnight.exchange, reference
for name in ("time", "perf_counter", "monotonic", "process_time"):
    setattr(time, name, lambda: 0.0)
reference.difference = lambda answer, right: None
sys.modules["score"] = None
if os.fork() == 0:  # a burner that is to slow the other version
    os.setsid()
    if os.fork() == 0:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    os._exit(0)
"""


def test_tricks_with_clocks_processes_and_modules_gain_nothing(
    judged: Callable[[str], dict[str, Any]],
) -> None:
    assert judged(TRICKS)["relative_time"] > 0.7


@pytest.mark.slow
def test_the_proofs_are_kept_and_refused_in_a_campaign(arena: Path) -> None:
    place = arena.parent / "campaign"
    make_arena("code-speed", place)
    shutil.copy(arena / "score.py", place / "score.py")
    with (place / "arena.toml").open("a") as contract:
        contract.write('\n[judge]\nrule = "greedy"\n')
    git(place, "commit", "-qam", "one measurement each")
    done = overnight(place, "run", "--experiments", "2", "--agent", "patches:proofs", timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(overnight(place, "log", "--json").stdout)
    assert [one["verdict"] for one in found] == ["keep", "invalid", "keep"], done.stdout
    assert found[2]["gain"] > 0.02, "it is faster, by how much depends on what else runs"


def test_the_run_shows_the_first_mistake(arena: Path) -> None:
    with (arena / "aggregate.py").open("a") as file:
        file.write(CHEATS["every tenth line skipped"])
    done = subprocess.run(
        [sys.executable, "selftest.py"], cwd=arena, capture_output=True, text=True
    )
    assert "log 1 of 6, 2 bytes: malformed is 1 of 2" in done.stdout
    assert done.stdout.endswith("wrong_answers: 5\n")


def test_the_tuner_finds_the_knobs() -> None:
    Arena.load(TEMPLATE)
    source = (TEMPLATE / "aggregate.py").read_text()
    names = {constant.name for constant in find_constants("aggregate.py", source)}
    assert names >= {"BLOCK", "LATENCIES", "ARITHMETIC", "MINUTES_REMEMBERED"}
