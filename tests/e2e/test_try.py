"""`overnight try`: a user or an agent drives the loop with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.trying import Answer, Change, Driver, TryContract
from toy import ARENA, command, make_toy, overnight

EXIT_CODES = {"keep": 0, "discard": 10, "crash": 11, "invalid": 13, "stale": 13}


class CommandLine(Driver):
    """The command in this process, and the installed one where a try is ended."""

    author = "person"
    endings = ("Ctrl-C", "stop --now")

    def __init__(self, toy: Path) -> None:
        self.toy = toy

    def tried(self, change: Change) -> Answer:
        done = self._try(change, "--json")
        assert done.stdout, done.stderr
        answer = dict(json.loads(done.stdout))
        assert done.returncode == EXIT_CODES[answer["verdict"]]
        return answer

    def refused(self, change: Change) -> str:
        done = self._try(change)
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr
        return done.stderr

    def begin(self, what: str) -> None:
        self._begun = subprocess.Popen(
            ["overnight", "try", "-m", what, "--tag", "t"],
            cwd=self.toy,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TERM": "dumb"},
        )

    def end(self, how: str) -> None:
        if how == "Ctrl-C":
            self._begun.send_signal(signal.SIGINT)
        else:
            assert overnight(self.toy, "stop", "--now").returncode == 0
        _, errors = self._begun.communicate(timeout=30)
        assert self._begun.returncode == 130
        notes = [line for line in errors.splitlines() if line.startswith("note: ")]
        (last,) = errors.splitlines()[len(notes) :]
        assert last.startswith("overnight: ")

    def _try(self, change: Change, *words: str) -> subprocess.CompletedProcess[str]:
        words += ("--tag", "t", "-m", change.what, "--hypothesis", change.why)
        words += () if change.expected is None else ("--expect", str(change.expected))
        words += () if change.folder is None else ("--from", str(change.folder))
        return command(self.toy, "try", *words)


class TestCommandLine(TryContract):
    @classmethod
    @contextmanager
    def make(cls, toy: Path) -> Iterator[Driver]:
        yield CommandLine(toy)


def test_a_failure_is_printed_once_with_the_last_lines_of_its_run(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA.replace('budget = "20s"', 'budget = "2s"'))
    (toy / "value.py").write_text("echo it is broken >&2; exit 3\n")
    crashed = command(toy, "try", "-m", "break it")
    assert crashed.stdout.count("exit code 3") == 1 and "it is broken" in crashed.stdout
    (toy / "value.py").write_text("echo step 7; echo '\033[2Jloss went up'; sleep 9\n")
    slow = command(toy, "try", "-m", "sleep")
    assert slow.returncode == 12
    assert "> step 7\n" in slow.stdout and "\x1b" not in slow.stdout


def test_an_expected_gain_is_a_finite_number(toy: Path) -> None:
    done = command(toy, "try", "-m", "x", "--expect", "nan")
    assert done.returncode == 2
    assert "found nan; expected a finite number" in done.stderr
