"""What people who write a referee use: a candidate to ask, and what it may not get away with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overnight.referee import Candidate, Invalid
from toy import ARENA, write_toy

SERVE = """import os, sys, time
import numpy as np
from overnight.exchange import Message, serve

def prepare():
    print("a word that is no message")
    seen = []
    def answer(m):
        seen.append(m)
        {body}
        return Message({{"n": len(seen)}}, {{"double": m.arrays["x"] * 2}})
    return answer

serve(prepare)
"""


@pytest.fixture(params=["bubblewrap", "landlock", "none"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An arena in whose folder a referee runs, in each sandbox."""
    write_toy(tmp_path, ARENA.replace('"20s"', '"20s"\nmemory = "400MB"', 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "weights").write_text("3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERNIGHT_SANDBOX", request.param)
    monkeypatch.setenv("A_KEY", "secret")
    return tmp_path


def candidate(folder: Path, body: str = "", timeout: float = 20.0) -> Candidate:
    (folder / "serve.py").write_text(SERVE.format(body=body or "pass"))
    return Candidate(f"{sys.executable} serve.py", timeout=timeout)


def test_arrays_come_back_as_they_were_sent(folder: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    with candidate(folder) as asked:
        for n in (1, 2):
            answer = asked.ask({"word": "x"}, x=x)
            assert answer.fields == {"n": n}
            assert np.array_equal(answer.array("double", "float32", (3, 4)), 2 * x)


def test_large_messages_go_both_ways(folder: Path) -> None:
    x = np.ones(3_000_000, np.float64)
    with candidate(folder) as asked:
        assert asked.ask(x=x).arrays["double"].sum() == 6_000_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("time.sleep(60)", "it was too slow"),
        ("sys.exit('own fault')", "own fault"),
        ("raise KeyError('oh')", "KeyError: 'oh'"),
        ("os.kill(os.getpid(), 9)", "its process ended"),
        ("seen.append(bytearray(os.urandom(1)) * 900_000_000)", "memory"),
        ("return Message({'n': [1]})", "neither a text nor a number"),
    ],
)
def test_a_candidate_that_misbehaves_is_invalid(folder: Path, body: str, words: str) -> None:
    with candidate(folder, body, timeout=4.0) as asked, pytest.raises(Invalid, match=words):
        asked.ask(x=np.zeros(2))


HOSTILE = """import os, struct, sys
sys.stdin.buffer.read1()
header = {header}
os.write(1, struct.pack("<4sI", b"ovn1", len(header)) + header)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[1]", "expected .fields, arrays."),
        (b"[[], []]", "expected .fields, arrays."),
        (b"[" * 100_000, "is not a message"),
        (b"\xff", "is not a message"),
        (b'[{}, [["x"]]]', "expected name, dtype, shape"),
        (b'[{}, [["x", "object", [1]]]]', "expected name, dtype, shape"),
        (b'[{}, [["x", "int8", [Infinity]]]]', "expected name, dtype, shape"),
        (b'[{}, [["x", "int8", [-1]]]]', "expected name, dtype, shape"),
        (b'[{}, [["x", "int8", [0, 1' + b"0" * 30 + b"]]]]", "expected name, dtype, shape"),
        (b'[{}, [["x", "int8", [1000000, 1000000]]]]', "announces 1,000,000,000,000 bytes"),
        (b'[{}, [["x", "int8", [9]]]]', "was too slow"),
    ],
)
def test_a_hostile_header_is_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes, words: str
) -> None:
    write_toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve.py").write_text(HOSTILE.format(header=header))
    asked = Candidate(f"{sys.executable} serve.py", timeout=2.0)
    with asked, pytest.raises(Invalid, match=words):
        asked.ask(x=np.zeros(2))


def test_it_sees_what_the_run_left_and_no_key(folder: Path) -> None:
    body = (
        "w = open(os.environ['OVERNIGHT_OUT'] + '/weights').read()\n"
        "        return Message({'w': w, 'key': os.environ.get('A_KEY')})"
    )
    with candidate(folder, body) as asked:
        assert asked.ask(x=np.zeros(1)).fields == {"w": "3", "key": None}


def test_nothing_of_it_is_left_when_the_referee_hangs_up(folder: Path) -> None:
    nap = f"93.{os.getpid()}"  # another worker may run the same test
    body = f"os.system('setsid sleep {nap} & (setsid sleep {nap} &)')"
    with candidate(folder, body) as asked:
        asked.ask(x=np.zeros(1))
    assert subprocess.run(["pgrep", "-f", f"sleep {nap}"], check=False).returncode == 1


def test_two_of_them_share_nothing(folder: Path) -> None:
    body = (
        "p = os.environ['TMPDIR'] + '/state'; n = os.path.exists(p); open(p, 'w').write('x')\n"
        "        return Message({'met': n})"
    )
    for _ in range(2):
        with candidate(folder, body) as asked:
            assert asked.ask(x=np.zeros(1)).fields == {"met": False}
            assert asked.ask(x=np.zeros(1)).fields == {"met": True}


def test_its_meters_are_known_at_the_end(folder: Path) -> None:
    asked = candidate(folder, "seen.append(bytearray(120_000_000))")
    asked.ask(x=np.zeros(1))
    assert 100e6 < asked.close().peak_memory_bytes < 400e6


def test_a_command_that_cannot_be_started_is_said(folder: Path) -> None:
    with Candidate("no-such-program") as asked, pytest.raises(Invalid, match="no-such-program"):
        asked.ask(x=np.zeros(1))
