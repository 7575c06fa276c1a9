"""Candidates that crash, hang, eat memory, fork, flood: each ends as the right verdict."""

from __future__ import annotations

import base64
import subprocess
import time
from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Limits
from overnight.agents.programs.command import CommandAgent
from overnight.arena.settings import AgentTable
from toy import ARENA, git, make_toy, overnight

PROGRAM = """import os, pathlib, sys
exec(pathlib.Path("value.py").read_text())
pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").write_text("X=5\\n")
"""


@pytest.fixture
def toy(hostile_folder: Path) -> Path:
    text = ARENA.replace("sh run.sh", "python3 run.py").replace(
        '"20s"\n\n', '"4s"\nmemory = "300MB"\n\n', 1
    )
    toy = make_toy(hostile_folder / "arena", text)
    (toy / "run.py").write_text(PROGRAM)
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "-m", "a program that runs the value")
    return toy


def tried(toy: Path, code: str) -> Experiment:
    """The experiment whose value.py is this code."""
    line = f"base64 -d <<< {base64.b64encode(code.encode()).decode()} > value.py"
    agent = CommandAgent("writer", AgentTable(command=f"bash -c '{line}'"))
    with Campaign.open(toy, "t") as campaign:
        campaign.run(agent, Limits(experiments=1))
        return campaign.book.latest


def alive(words: str) -> bool:
    return subprocess.run(["pgrep", "-f", words], capture_output=True, check=False).returncode == 0


def test_a_crash_says_the_exception_and_the_last_lines(toy: Path) -> None:
    e = tried(toy, "X=1\nprint('on my way')\nraise RuntimeError('no such luck')\n")
    assert e.verdict == "crash" and e.score is None
    assert "exit code 1, RuntimeError: no such luck" in e.reason and "on my way" in e.reason


def test_a_run_that_never_ends_is_a_timeout(toy: Path) -> None:
    code = "X=1\nimport signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(99.25)\n"
    began = time.monotonic()
    e = tried(toy, code)
    assert e.verdict == "timeout" and "4 s of wall time" in e.reason
    assert time.monotonic() - began < 40


def test_a_daemon_with_its_own_session_does_not_outlive_the_run(toy: Path) -> None:
    code = (
        "X=1\nimport subprocess\n"
        "subprocess.Popen('setsid nohup sleep 98.75 & setsid sh -c \"trap : TERM; sleep 98.75\" &',"
        " shell=True, start_new_session=True)\n"
    )
    e = tried(toy, code)
    assert e.verdict == "discard" and not alive("sleep 98.75")


def test_eating_memory_is_told_apart_from_a_crash(toy: Path) -> None:
    e = tried(toy, "X=1\nhoard = []\nwhile True: hoard.append(bytearray(10**7))\n")
    assert e.verdict == "crash" and e.reason.startswith("out of memory")


def test_a_memory_error_of_its_own_is_out_of_memory_too(toy: Path) -> None:
    e = tried(toy, "X=1\nraise MemoryError('too much')\n")
    assert e.reason.startswith("out of memory")


def test_children_that_eat_memory_together_are_counted_together(toy: Path) -> None:
    code = (
        "X=1\nimport os, time\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n        b = bytearray(os.urandom(1)) * 120_000_000\n"
        "        time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    assert tried(toy, code).reason.startswith("out of memory")


def test_a_fork_storm_is_ended_whole(toy: Path) -> None:
    code = (
        "X=1\nimport os, time\n"
        "for _ in range(200):\n"
        "    if os.fork() == 0:\n        os.setsid()\n"
        "        time.sleep(97.5)\n        os._exit(0)\n"
    )
    e = tried(toy, code)
    assert e.verdict == "discard"
    assert not alive("run.py")


def test_a_gigabyte_of_output_fills_neither_disk_nor_memory(toy: Path) -> None:
    code = (
        "X=1\nimport os\nblock = b'x' * 79 + b'\\n'\nblock *= 13107\n"
        "for _ in range(1024): os.write(1, block)\nprint('claimed: 42')\n"
    )
    text = (toy / "arena.toml").read_text().replace('"4s"', '"60s"')
    (toy / "arena.toml").write_text(text)
    git(toy, "commit", "-a", "--quiet", "-m", "longer")
    e = tried(toy, code)
    assert e.verdict == "discard", e.reason
    (measurement,) = e.measurements
    assert measurement.reported == {"claimed": 42.0}
    log = toy / ".overnight" / measurement.log / "run.log"
    assert log.stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("print('nothing of the kind')", "must print a JSON object"),
        ("print('{\"other\": 1}')", "has no \"loss\"; it has ['other']"),
        ("print('{\"loss\": NaN}')", "not a finite number"),
        ("print('{\"loss\": 1e999}')", "not a finite number"),
        ("print('{\"loss\": true}')", "not a finite number"),
        ('print(\'{"loss": "0.1"}\')', "not a finite number"),
        ("print('[' * 100000)", "must print a JSON object"),
        ("raise SystemExit('hidden data is gone')", "hidden data is gone"),
        ("pass", "it printed nothing"),
    ],
)
def test_a_referee_without_a_usable_number_is_a_sentence(toy: Path, score: str, words: str) -> None:
    (toy / "score.py").write_text(score + "\n")
    git(toy, "commit", "-a", "--quiet", "-m", "a broken referee")
    done = overnight(toy, "run", "--experiments", "1")
    assert done.returncode == 4 and words in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_stops_with_a_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
    try:
        toy = make_toy(small / "arena")
        line = 'echo "X=$((9 - $OVERNIGHT_EXPERIMENT))" > value.py'
        assert (
            overnight(toy, "run", "--experiments", "1", "--agent", f"command:{line}").returncode
            == 0
        )
        filler = small / "filler"
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False
        )
        done = overnight(toy, "run", "--experiments", "2", "--agent", f"command:{line}")
        assert done.returncode in (1, 2, 4), done.stderr
        assert "Traceback" not in done.stderr
        assert "space" in done.stderr or "full" in done.stderr, done.stderr
        filler.unlink()
        done = overnight(toy, "run", "--experiments", "2", "--agent", f"command:{line}")
        assert done.returncode == 0, done.stderr
        assert git(toy, "show", "overnight/" + tag(toy) + ":value.py") in ("X=6\n", "X=5\n")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def tag(toy: Path) -> str:
    return git(toy, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/heads/overnight").strip()


def test_a_read_only_repository_is_a_sentence(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    subprocess.run(["mount", "--bind", str(toy), str(toy)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(toy)], check=True)
        done = overnight(toy, "run", "--experiments", "1")
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr
        assert "ead-only" in done.stderr or "cannot be written" in done.stderr, done.stderr
    finally:
        subprocess.run(["umount", "-l", str(toy)], check=True)
