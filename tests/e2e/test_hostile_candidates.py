"""Candidates that crash, hang, eat memory, fork, flood: each ends with the right verdict."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toy import ARENA, command, git, make_toy, overnight

PROGRAM = """import os, pathlib, sys
exec(pathlib.Path("value.py").read_text())
pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").write_text("X=5\\n")
"""
NAP = f"98.{os.getpid()}"  # seconds; another worker may run the same tests
CANDIDATES = {
    "crash": "print('on my way')\nraise RuntimeError('no such luck')",
    "endless": "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(99.25)",
    "daemon": "import subprocess\n"
    f"subprocess.Popen('setsid nohup sleep {NAP} & setsid sh -c \"trap : TERM; sleep {NAP}\" &',"
    " shell=True, start_new_session=True)",
    "hoard": "hoard = []\nwhile True: hoard.append(bytearray(10**7))",
    "memory error": "raise MemoryError('too much')",
    "children": "import os, time\n"
    "for _ in range(4):\n"
    "    if os.fork() == 0:\n        b = bytearray(os.urandom(1)) * 120_000_000\n"
    "        time.sleep(60)\n"
    "time.sleep(60)",
    "forks": "import os, time\n"
    "for _ in range(200):\n"
    "    if os.fork() == 0:\n        os.setsid()\n"
    f"        os.execlp('sleep', 'sleep', '{NAP}')",
    "flood": "import os\nblock = (b'x' * 79 + b'\\n') * 13107\n"
    "for _ in range(100): os.write(1, block)\nprint('claimed: 42')",
}
"""What value.py is, beside a line of its own."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One campaign with all of the candidates: each experiment, as `log --json` tells it."""
    folder = tmp_path_factory.mktemp("it's ein Ordner – ü")
    limits = '"5s"\nmemory = "300MB"\n\n'
    text = ARENA.replace("sh run.sh", "python3 run.py").replace('"20s"\n\n', limits, 1)
    toy = make_toy(folder / "arena", text)
    (toy / "run.py").write_text(PROGRAM)
    for n, code in enumerate(CANDIDATES.values(), 1):
        (toy / f"{n}.py").write_text(f"X={n}\n{code}\n")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "-m", "a program that runs the value")
    agent = "command:cp $OVERNIGHT_EXPERIMENT.py value.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERNIGHT_HOME", str(folder / "home"))
        done = command(toy, "run", "--experiments", str(len(CANDIDATES)), "--agent", agent)
        assert done.returncode == 0, done.stdout + done.stderr
        _, *found = json.loads(command(toy, "log", "--json").stdout)
    for experiment in found:
        logs = toy.glob(f".overnight/logs/*/{experiment['n']}/**/run.log")
        experiment["log bytes"] = max(log.stat().st_size for log in logs)
    return dict(zip(CANDIDATES, found, strict=True))


def test_a_crash_says_the_exception_and_the_last_lines(tried: dict[str, dict[str, Any]]) -> None:
    e = tried["crash"]
    assert e["verdict"] == "crash" and e["score"] is None
    assert "exit code 1, RuntimeError: no such luck" in e["reason"] and "on my way" in e["reason"]


def test_a_run_that_never_ends_is_a_timeout(tried: dict[str, dict[str, Any]]) -> None:
    e = tried["endless"]
    assert e["verdict"] == "timeout" and "5 s of wall time" in e["reason"]
    assert e["measurements"][0]["stage_seconds"]["run"] < 40


def test_whatever_a_run_starts_does_not_outlive_it(tried: dict[str, dict[str, Any]]) -> None:
    assert [tried[name]["verdict"] for name in ("daemon", "forks")] == ["discard"] * 2
    left = subprocess.run(["pgrep", "-f", f"sleep {NAP}"], capture_output=True, check=False)
    assert left.returncode == 1, left.stdout


@pytest.mark.parametrize("name", ["hoard", "memory error", "children"])
def test_eating_memory_alone_or_together_is_told_apart_from_a_crash(
    tried: dict[str, dict[str, Any]], name: str
) -> None:
    assert tried[name]["verdict"] == "crash"
    assert tried[name]["reason"].startswith("out of memory"), tried[name]["reason"]


def test_a_flood_of_output_fills_no_disk_and_its_end_is_read(
    tried: dict[str, dict[str, Any]],
) -> None:
    e = tried["flood"]
    assert e["verdict"] == "discard", e["reason"]
    assert e["measurements"][0]["reported"] == {"claimed": 42.0}
    assert e["log bytes"] < 12_000_000


def test_a_referee_that_fails_is_a_sentence(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    (toy / "score.py").write_text("raise SystemExit('hidden data is gone')\n")
    git(toy, "commit", "-a", "--quiet", "-m", "a broken referee")
    done = overnight(toy, "run", "--experiments", "1")
    assert done.returncode == 4 and "hidden data is gone" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_stops_with_a_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
    try:
        toy = make_toy(small / "arena")
        line = 'echo "X=$((9 - $OVERNIGHT_EXPERIMENT))" > value.py'
        agent = ("--agent", f"command:{line}")
        assert command(toy, "run", "--experiments", "1", *agent).returncode == 0
        filler = small / "filler"
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False
        )
        done = overnight(toy, "run", "--experiments", "2", *agent)
        assert done.returncode in (1, 2, 4), done.stderr
        assert "Traceback" not in done.stderr
        assert "space" in done.stderr or "full" in done.stderr, done.stderr
        filler.unlink()
        done = command(toy, "run", "--experiments", "2", *agent)
        assert done.returncode == 0, done.stdout + done.stderr
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
