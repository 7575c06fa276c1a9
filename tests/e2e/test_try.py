"""`overnight try`: what it answers, so that a person or an agent can drive the loop with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from toy import ARENA, git, make_toy, overnight

SLEEP = f"sleep 60.{os.getpid()}"
"""Other tests may run beside this one."""
SLOW = f""". ./value.py
if [ "$X" = 5 ]; then {SLEEP}; fi
cp value.py "$OVERNIGHT_OUT/value"
"""


def tried(toy: Path, *words: str) -> dict[str, object]:
    done = overnight(toy, "try", "--tag", "t", "--json", *words)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def test_the_loop_of_karpathys_program_can_be_driven_with_it(toy: Path) -> None:
    """Change, try, read the answer; undo what did not win."""
    best = 7.0
    for value in (12, 6, 8, 4):
        (toy / "value.py").write_text(f"X={value}\n")
        found = tried(toy, "-m", f"set X to {value}\n\nThe last step was too small.")
        assert found["hypothesis"] == "The last step was too small."
        incumbent = found["incumbent"]
        assert isinstance(incumbent, dict)
        if found["verdict"] == "keep":
            assert isinstance(found["score"], float) and found["score"] < best
            assert found["gain"] == best - found["score"]
            best = found["score"]
            subprocess.run(["sh", "-c", str(found["go_on"])], check=True, capture_output=True)
        else:
            git(toy, "restore", "value.py")
        assert incumbent["score"] == best and git(toy, "diff") == ""
    assert tried(toy, "-m", "nothing")["go_on"] is None
    assert best == 1.0 and git(toy, "show", "overnight/t:value.py") == "X=4\n"


def test_what_is_expected_and_why_is_recorded(toy: Path) -> None:
    (toy / "value.py").write_text("X=5\n")
    words = ("-m", "five", "--hypothesis", "closer to three", "--expect", "4.5")
    found = tried(toy, *words)
    assert (found["expected"], found["hypothesis"]) == (4.5, "closer to three")
    shown = json.loads(overnight(toy, "show", "1", "--json").stdout)
    assert (shown["expected"], shown["hypothesis"]) == (4.5, "closer to three")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-m", " "), "the message is empty"),
        (("-m", "x", "--expect", "nan"), "the expected gain is nan; expected a finite number"),
        (("-m", "x", "--hypothesis", "y" * 5000), "the hypothesis has 5,000 characters"),
    ],
)
def test_a_mistake_is_a_sentence_before_anything_is_measured(
    toy: Path, words: tuple[str, ...], said: str
) -> None:
    done = overnight(toy, "try", *words)
    assert done.returncode == 2 and said in done.stderr
    assert not (toy / ".overnight" / "ledger.db").exists()


def test_a_failure_comes_with_the_last_lines_of_its_run(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA.replace('budget = "20s"', 'budget = "1s"'))
    (toy / "value.py").write_text("echo step 7; echo '\033[2Jloss went up'; sleep 9\n")
    done = overnight(toy, "try", "-m", "sleep")
    assert done.returncode == 12
    assert "> step 7\n" in done.stdout and "\x1b" not in done.stdout
    found = tried(toy, "-m", "sleep again")
    assert str(found["log_tail"]).endswith("[2Jloss went up")


def test_the_interval_of_a_gain_is_told(toy: Path) -> None:
    (toy / "value.py").write_text("X=5\n")
    found = tried(toy, "-m", "five")
    interval = found["interval"]
    said = overnight(toy, "show", "1").stdout
    assert interval is None or (isinstance(interval, list) and "[" in said)


def test_a_committed_change_is_no_change_and_it_says_so(toy: Path) -> None:
    overnight(toy, "try", "-m", "begin", "--tag", "t")
    (toy / "value.py").write_text("X=5\n")
    git(toy, "commit", "--quiet", "--all", "--message", "five")
    found = tried(toy, "-m", "five")
    assert found["verdict"] == "invalid" and "Leave your change uncommitted" in str(found["reason"])


def begun(toy: Path) -> subprocess.Popen[str]:
    """A try whose run is on the clock and takes a minute."""
    overnight(toy, "try", "-m", "nothing yet", "--tag", "t")
    (toy / "value.py").write_text("X=5\n")
    process = subprocess.Popen(
        ["overnight", "try", "-m", "five", "--tag", "t"],
        cwd=toy,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "dumb"},
    )
    until = time.monotonic() + 30
    while subprocess.run(["pgrep", "-f", SLEEP], capture_output=True).returncode:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("how", ["Ctrl-C", "stop --now"])
def test_a_try_that_is_ended_is_withdrawn_and_the_same_command_tries_it_again(
    tmp_path: Path, how: str
) -> None:
    toy = make_toy(tmp_path / "arena", ARENA.replace("20s", "90s", 1), run=SLOW)
    process = begun(toy)
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        assert overnight(toy, "stop", "--now").returncode == 0
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
    assert len(errors.splitlines()) == 1 and errors.startswith("overnight: ")
    last = json.loads(overnight(toy, "log", "--json", "--last", "1").stdout)[0]
    assert (last["description"], last["verdict"]) == ("five", "invalid")
    assert "before it was judged" in last["reason"]
    (toy / "value.py").write_text("X=4\n")
    found = tried(toy, "-m", "four")
    assert (found["n"], found["verdict"]) == (last["n"] + 1, "keep")
