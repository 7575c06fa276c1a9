"""The code-speed template: what is right, what is faster, and what only pretends to be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from overnight.agents.tuner.constants import find_constants
from overnight.arena.arena import Arena
from overnight.templates.make import make_arena
from toy import git, overnight

TEMPLATE = Path(__file__).parents[2] / "src/overnight/templates/code-speed"


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    """The arena in a repository of its own, with logs so short that a score takes 2 s."""
    folder = tmp_path / "arena"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    score = folder / "score.py"
    text = re.sub(r"^LOGS = 4", "LOGS = 2", score.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^READINGS = 4", "READINGS = 2", text, flags=re.MULTILINE)
    score.write_text(text)
    return folder


def scored(arena: Path, change: str = "") -> dict[str, Any]:
    """What the real referee says of the candidate with this code after its own."""
    start = (arena / "aggregate.py").read_text()
    candidate = arena.parent / "candidate"
    shutil.copytree(arena, candidate)
    (candidate / "aggregate.py").write_text(start + "\n\n" + change)
    env = {"OVERNIGHT_CANDIDATE": str(candidate), "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(
        [sys.executable, "score.py"], cwd=arena, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_start_is_right_and_as_fast_as_itself(arena: Path) -> None:
    found = scored(arena)
    assert 0.7 < found["relative_time"] < 1.4
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
def test_a_wrong_answer_is_invalid(arena: Path, cheat: str) -> None:
    found = scored(arena, cheat)
    assert set(found) == {"invalid"}, found


TRICKS = {
    "stopped clocks": """
import time
for name in ("time", "perf_counter", "monotonic", "process_time"):
    setattr(time, name, lambda: 0.0)
""",
    "a burner left behind to slow the other version": """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    os._exit(0)
""",
    "a referee replaced in its own process": """
import sys, overnight.exchange, reference
reference.difference = lambda answer, right: None
sys.modules["score"] = None
""",
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
def test_a_trick_gains_nothing(arena: Path, trick: str) -> None:
    assert scored(arena, trick)["relative_time"] > 0.7


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
