"""What people who write a referee use: a candidate to ask, and what it may not get away with."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from overnight.exchange import Channel, ExchangeError
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
SANDBOXES = ["bubblewrap", "landlock", "none"]


def sandboxes(quick: str) -> list[ParameterSet]:
    """All of them, of which one takes part in the quick tests."""
    return [pytest.param(n, marks=() if n == quick else pytest.mark.slow) for n in SANDBOXES]


@pytest.fixture
def sandbox() -> str:
    """The one for tests that are not about it."""
    return "none"


@pytest.fixture
def folder(sandbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An arena in whose folder a referee runs."""
    write_toy(tmp_path, ARENA.replace('"20s"', '"20s"\nmemory = "400MB"', 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "weights").write_text("3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERNIGHT_SANDBOX", sandbox)
    monkeypatch.setenv("A_KEY", "secret")
    return tmp_path


def candidate(folder: Path, body: str = "", timeout: float = 60.0) -> Candidate:
    (folder / "serve.py").write_text(SERVE.format(body=body or "pass"))
    return Candidate(f"{sys.executable} serve.py", timeout=timeout)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_candidate_sees_what_the_run_left_no_key_no_other_and_leaves_nothing(
    folder: Path, sandbox: str
) -> None:
    nap = f"93.{os.getpid()}"  # seconds; another worker may run the same test
    body = (
        "out, state = os.environ['OVERNIGHT_OUT'], os.environ['TMPDIR'] + '/state'\n"
        "        met = os.path.exists(state)\n"
        "        open(state, 'w').write('x')\n"
        f"        os.system('setsid sleep {nap} & (setsid sleep {nap} &)')\n"
        "        weights = open(out + '/weights').read()\n"
        "        return Message({'w': weights, 'key': os.environ.get('A_KEY'), 'met': met})"
    )
    for _ in range(2):
        with candidate(folder, body) as asked:
            answers = [asked.ask(x=np.zeros(1)).fields for _ in range(2)]
        assert answers == [{"w": "3", "key": None, "met": met} for met in (False, True)]
        assert subprocess.run(["pgrep", "-f", f"sleep {nap}"], check=False).returncode == 1


@pytest.mark.parametrize("sandbox", sandboxes("bubblewrap"))
def test_large_arrays_come_back_as_they_were_sent_and_the_meters_are_known(
    folder: Path, sandbox: str
) -> None:
    x = np.arange(3_000_000, dtype=np.float64).reshape(1000, 3000)
    asked = candidate(folder, "seen.append(bytearray(50_000_000))")
    answer = asked.ask({"word": "x"}, x=x)
    assert answer.fields == {"n": 2}
    assert np.array_equal(answer.array("double", "float64", (1000, 3000)), 2 * x)
    assert 100e6 < asked.close().peak_memory_bytes < 400e6


@pytest.mark.parametrize("sandbox", sandboxes("landlock"))
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
def test_a_candidate_that_misbehaves_is_invalid(
    folder: Path, sandbox: str, body: str, words: str
) -> None:
    timeout = 1.0 if "slow" in words else 60.0
    with candidate(folder, body, timeout) as asked, pytest.raises(Invalid, match=words):
        asked.ask(x=np.zeros(2))


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
def test_a_hostile_header_is_an_error(header: bytes, words: str) -> None:
    hear, answer = os.pipe()
    channel = Channel(hear, os.open(os.devnull, os.O_WRONLY))
    os.write(answer, struct.pack("<4sI", b"ovn1", len(header)) + header)
    with pytest.raises(ExchangeError, match=words):
        channel.receive(timeout=0.1)
    channel.close()
    os.close(answer)


def test_a_command_that_cannot_be_started_is_said(folder: Path) -> None:
    with Candidate("no-such-program") as asked, pytest.raises(Invalid, match="no-such-program"):
        asked.ask(x=np.zeros(1))
