"""What every way to try a change must do: the loop of change, try, read the answer, undo."""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stages import alive, eventually
from toy import ARENA, command, git, make_toy

VALUE = "X=10\n# one\n# two\n# three\n# four\n# five\nY=1\n"
"""X and Y are so far apart that changes of the two do not conflict."""
SLEEP = f"sleep 60.{os.getpid()}"
"""Other tests may run beside this one."""
PACED = """. ./value.py
. ./pace
cp value.py "$OVERNIGHT_OUT/value"
"""
Answer = dict[str, object]


@dataclass(frozen=True)
class Change:
    """What is said of a change when it is tried."""

    what: str
    why: str = ""
    expected: float | None = None
    folder: Path | None = None
    """The checkout that has the change; None: the arena's own folder."""


class Driver(ABC):
    """Tries changes in the working copies of one arena, for campaign t."""

    author: str
    """Who is recorded as the author of a change."""
    endings: tuple[str, ...]
    """The ways to end a try before it is judged."""

    @abstractmethod
    def tried(self, change: Change) -> Answer:
        """The answer to a try."""

    @abstractmethod
    def refused(self, change: Change) -> str:
        """The sentence with which a try is refused."""

    @abstractmethod
    def begin(self, what: str) -> None:
        """Try a change without waiting for the answer."""

    @abstractmethod
    def end(self, how: str) -> None:
        """End the try that was begun, in one of the ways, and return when it has ended."""


@dataclass
class Loop:
    """A campaign in which nine changes were tried, each after what became of the last."""

    toy: Path
    author: str
    answers: dict[str, Answer] = field(default_factory=dict)
    """By what was changed."""
    touched: list[str] = field(default_factory=list)
    """The tries that changed the working copy."""
    left: dict[str, str] = field(default_factory=dict)
    """What a checkout differed in from HEAD after the command in `go_on`."""


class TryContract:
    """Subclass it and say how a driver for an arena is made."""

    @classmethod
    def make(cls, toy: Path) -> AbstractContextManager[Driver]:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def loop(cls, tmp_path_factory: pytest.TempPathFactory) -> Loop:
        folder = tmp_path_factory.mktemp("it's ein Ordner – ü")
        toy, mine = make_toy(folder / "arena", value=VALUE), folder / "mine"
        git(toy, "worktree", "add", "--quiet", "--detach", str(mine))
        with cls.make(toy) as driver:
            loop = Loop(toy, driver.author)

            def attempt(
                what: str, where: Path, text: str = "", name: str = "value.py", **more: object
            ) -> Answer:
                if text:
                    (where / name).write_text(text)
                before = git(where, "status", "--porcelain"), git(where, "rev-parse", "HEAD")
                folder = None if where == toy else where
                answer = driver.tried(Change(what, folder=folder, **more))  # type: ignore[arg-type]
                if before != (git(where, "status", "--porcelain"), git(where, "rev-parse", "HEAD")):
                    loop.touched.append(what)
                loop.answers[what] = answer
                return answer

            def go_on(answer: Answer, where: Path) -> None:
                line = str(answer["go_on"])
                subprocess.run(["sh", "-c", line], check=True, capture_output=True)
                loop.left[str(answer["description"])] = git(where, "diff")

            said = {"why": "The last step was too small.", "expected": 4.5}
            attempt("a loss", toy, VALUE.replace("10", "12"), **said)
            git(toy, "restore", ".")
            go_on(attempt("a win", toy, VALUE.replace("10", "5")), toy)
            attempt("beside the win", mine, VALUE.replace("Y=1", "Y=2"))
            stale = attempt("against the win", mine, VALUE.replace("10", "6"))
            git(mine, "restore", ".")
            go_on(stale, mine)
            attempt("a fault", mine, "echo step 7; printf '\\033[2Jno such luck\\n' >&2; exit 3\n")
            git(mine, "restore", ".")
            attempt("a better referee", mine, "print('{\"loss\": 0}')\n", "score.py")
            git(mine, "restore", ".")
            attempt("nothing", mine)
            elsewhere = command(toy, "try", "--tag", "t", "-m", "from elsewhere")
            assert elsewhere.returncode == 13, "nobody holds a campaign between two tries"
            go_on(attempt("another win", toy, VALUE.replace("10", "4")), toy)
            (toy / "value.py").write_text("X=3\n")
            git(toy, "commit", "--quiet", "--all", "--message", "three")
            attempt("a commit", toy)
        return loop

    def test_each_change_gets_its_verdict_and_only_wins_are_on_the_branch(self, loop: Loop) -> None:
        log = json.loads(command(loop.toy, "log", "--json").stdout)
        verdicts = {e["description"]: e["verdict"] for e in log[1:]}
        assert verdicts.pop("from elsewhere") == "invalid"
        assert verdicts == {
            "a loss": "discard",
            "a win": "keep",
            "beside the win": "discard",
            "against the win": "stale",
            "a fault": "crash",
            "a better referee": "invalid",
            "nothing": "invalid",
            "another win": "keep",
            "a commit": "invalid",
        }
        assert verdicts == {what: answer["verdict"] for what, answer in loop.answers.items()}
        scores = [e["score"] for e in log if e["score"] is not None]
        assert scores == [7.0, 9.0, 2.0, 2.0, 1.0]
        wins = git(loop.toy, "log", "--format=%s", "overnight/t").splitlines()
        assert wins == ["another win", "a win", "toy"]
        assert git(loop.toy, "show", "overnight/t:value.py") == VALUE.replace("10", "4")

    def test_an_answer_says_what_was_expected_and_what_it_came_to(self, loop: Loop) -> None:
        lost, kept = loop.answers["a loss"], loop.answers["a win"]
        assert (lost["expected"], lost["hypothesis"]) == (4.5, "The last step was too small.")
        shown = json.loads(command(loop.toy, "show", "1", "--json").stdout)
        assert shown.items() <= lost.items()
        assert (lost["agent"], kept["agent"]) == (loop.author, loop.author)
        assert (lost["gain"], kept["gain"]) == (-2.0, 5.0)
        assert isinstance(lost["incumbent"], dict) and lost["incumbent"]["n"] == 0
        assert kept["incumbent"] == {"n": 2, "score": 2.0, "candidate": kept["candidate"]}
        assert kept["branch"] == "overnight/t" and "claimed: 7" in str(kept["log_tail"])

    def test_a_try_leaves_the_working_copy_alone_and_go_on_brings_it_onto_the_tip(
        self, loop: Loop
    ) -> None:
        assert loop.touched == []
        assert loop.left == {"a win": "", "against the win": "", "another win": ""}
        assert loop.answers["a loss"]["go_on"] is None, "the checkout is on the tip"

    def test_a_change_is_put_on_top_of_the_wins_or_says_what_it_conflicts_with(
        self, loop: Loop
    ) -> None:
        assert loop.answers["beside the win"]["score"] == 2.0, "the win is in the candidate"
        reason = str(loop.answers["against the win"]["reason"])
        assert "conflicts with #2, the incumbent. To continue from there, run `git " in reason

    def test_a_failure_comes_with_its_reason_and_the_last_lines_of_its_run(
        self, loop: Loop
    ) -> None:
        failed = loop.answers["a fault"]
        assert "exit code 3" in str(failed["reason"])
        assert str(failed["log_tail"]).endswith("[2Jno such luck")

    def test_a_try_without_an_uncommitted_change_of_an_editable_file_says_so(
        self, loop: Loop
    ) -> None:
        reasons = {what: str(answer["reason"]) for what, answer in loop.answers.items()}
        assert "value.py" in reasons["a better referee"]
        assert "is the same as in HEAD" in reasons["a better referee"]
        assert "nothing editable was changed" in reasons["nothing"]
        assert "Leave your change uncommitted" in reasons["a commit"]

    def test_a_mistake_is_a_sentence_before_anything_is_measured(self, toy: Path) -> None:
        with self.make(toy) as driver:
            assert "the message is empty" in driver.refused(Change(" \n"))
            assert "4000" in driver.refused(Change("x", "y" * 5000)).replace(",", "")
            for place, said in (("/nowhere", "nowhere is not a folder"), ("/", "arena.toml")):
                assert said in driver.refused(Change("x", folder=Path(place)))
        assert not (toy / ".overnight" / "ledger.db").exists()

    def test_a_try_that_is_ended_is_withdrawn_and_the_same_command_tries_it_again(
        self, tmp_path: Path
    ) -> None:
        arena = ARENA.replace("[metric]", 'data = ["pace"]\n[metric]', 1)
        toy = make_toy(tmp_path / "arena", arena, run=PACED)
        pace = toy / "pace"
        pace.write_text(f'if [ "$X" = 5 ]; then {SLEEP}; fi\n')
        (toy / "value.py").write_text("X=5\n")
        with self.make(toy) as driver:
            for n, how in enumerate(driver.endings, 1):
                driver.begin("five")
                assert eventually(lambda: alive(SLEEP), 60), f"{how}: its run never began"
                assert "already running, in process" in driver.refused(Change("six"))
                driver.end(how)
                assert alive(SLEEP) == [], how
                (last,) = json.loads(command(toy, "log", "--json", "--last", "1").stdout)
                assert (last["n"], last["description"]) == (n, "five"), how
                assert last["verdict"] == "invalid", how
                assert "before it was judged" in last["reason"] and last["candidate"], how
            pace.write_text("")
            again = driver.tried(Change("five"))
        assert (again["n"], again["verdict"]) == (len(driver.endings) + 1, "keep")
        assert again["score"] == 2.0
