"""The same program: what counts as one, and that it is not measured twice."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Idea, Limits
from overnight.agents.base import Workbench
from overnight.agents.patches import PatchesAgent
from overnight.agents.tuner.agent import Tuner
from overnight.campaign.limits import StopKind
from overnight.change.digest import file_digest, program_digest
from overnight.change.simplicity import code_size
from overnight.core.experiment import Closing, Verdict
from toy import ARENA, command, git, make_toy, write_patches
from writer import Writer, run, verdicts

ALLOWED = ARENA + "\n[judge]\nsame_programs = true\n"

Case = tuple[str, str | bytes, str | bytes]
"""The name of a file and two texts of it."""
SAME: dict[str, Case] = {
    "comments": ("a.py", "x = 1  # one\n", "# two\nx = 1\n"),
    "layout": ("a.py", "f(a, b)\n\n\ny = [1, 2]\n", "f(\n    a,\n  b,\n)\ny = [\n1,2]"),
    "numbers": ("a.py", "x = 1000\ny = 0.5\n", "x = 1_000\ny = .5\n"),
    "shell": ("a.sh", "#!/bin/sh\n\nrun a # b\n", "#!/bin/sh\n  # don't\nrun a # b\n#\n"),
    "C": ("a.cu", "f<<<1, 2>>>(a);\n\n\tg();\n", "f<<<1, 2>>>(a);\n  // `b`\n\tg();\n"),
    "not Python": ("a.py", "X=$((1 + 1))\n# a\n", "X=$((1 + 1))\n"),
    "bytes": ("a.bin", b"\xff\x00\x01", b"\xff\x00\x01"),
}
OTHER: dict[str, Case] = {
    "a number": ("a.py", "x = 1\n", "x = 2\n"),
    "an order": ("a.py", "x = 1\ny = 2\n", "y = 2\nx = 1\n"),
    "a string": ("a.py", 'x = "# a"\n', 'x = "# b"\n'),
    "a docstring": ("a.py", 'class Q(S):\n    "Be brief."\n', 'class Q(S):\n    "Be exact."\n'),
    "nesting": ("a.yaml", "a:\n  b: 1\n  c: 2\n", "a:\n  b: 1\nc: 2\n"),
    "a heading of a prompt": ("prompt.md", "# Be brief\ngo\n", "# Be exact\ngo\n"),
    "a paragraph of a prompt": ("prompt.md", "one\ntwo\n", "one\n\ntwo\n"),
    "a space": ("a.html", "<b>a</b> b\n", "<b>a</b>b\n"),
    "a space in a string": ("a.c", 'f("a  b");\n', 'f("a b");\n'),
    "a heading in a string": ("a.yaml", "p: |\n  # Be brief\n", "p: |\n  # Be exact\n"),
    "a string with #": ("a.sh", 'grep "x # a" f\n', 'grep "x # b" f\n'),
    "a string with //": ("a.js", 'f("a // b")\n', 'f("a // c")\n'),
    "a here-document": ("a.sh", "f <<E\n# Be brief\nE\n", "f <<E\n# Be exact\nE\n"),
    "a long string": ("a.sh", "f 'a\n# Be brief\n'\n", "f 'a\n# Be exact\n'\n"),
    "a template": ("a.js", "f(`\n// a\n`)\n", "f(`\n// b\n`)\n"),
    "templates": ("a.js", "f(`${g(`\n// a\n`)}`)\n", "f(`${g(`\n// b\n`)}`)\n"),
    "a text block": ("a.kt", 'f("""\n// a\n""")\n', 'f("""\n// b\n""")\n'),
    "a comment that goes on": ("a.c", "// a \\\nf();\n", "f();\n"),
    "a line that goes on": ("a.sh", "f \\\n# a\ng\n", "f \\\ng\n"),
    "an include": ("a.c", "#include <a.h>\n", "#include <b.h>\n"),
    "a build tag": ("a.go", "//go:build linux\n", "//go:build darwin\n"),
    "an address": ("a.js", 'f("http://a")\n', 'f("http://b")\n'),
    "bytes": ("a.bin", b"\xff\x00\x01", b"\xff\x00\x02"),
    "where it is": ("a.py", "if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n"),
}
HOSTILE = {
    "deep": "-" * 100_000 + "1",
    "brackets": "(" * 100_000,
    "long sum": "1" + "+1" * 100_000,
    "half a pair": "x = '\\ud800'\n",
    "NUL": "x = 1\0\n",
    "large": "x = 1\n" * 200_000,
}


@pytest.mark.parametrize(
    ("case", "same"),
    [(case, cases is SAME) for cases in (SAME, OTHER) for case in cases.values()],
    ids=[*SAME, *(f"another: {name}" for name in OTHER)],
)
def test_comments_and_layout_make_no_other_program_and_whatever_may_act_does(
    case: Case, same: bool
) -> None:
    path, *texts = case
    one, two = (
        file_digest(path, text.encode() if isinstance(text, str) else text) for text in texts
    )
    assert (one == two) is same and len(one) == 16


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_no_text_of_a_candidate_is_too_much(text: str) -> None:
    assert file_digest("a.py", text.encode()) != file_digest("a.py", text.encode() + b"y = 2\n")


def test_the_source_of_a_candidate_warns_nobody() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for look in (file_digest, code_size):
            look("a.py", b'x = "\\d"\n')
    assert not heard


def test_a_program_of_before_is_refused_unrun_with_its_number(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    done = run(toy, Writer(["X=12\n", "X=10 # ten\n", "X=8\n", "X=12 # again\n", "X=10\n"]))
    assert verdicts(done) == ["keep", "discard", "invalid", "keep", "invalid", "invalid"]
    assert done[2].reason == (
        "the same program as #0, the baseline, which it was made from: "
        "only comments or layout differ; change what it does"
    )
    assert done[4].reason == (
        "the same program as #1, which was discarded (-2): try something else"
    )
    assert "the same program as #0, the baseline, which was kept" in done[5].reason
    assert all(not e.measurements and e.candidate is None for e in (done[2], done[4], done[5]))
    assert [bool(e.program) for e in done] == [True, True, False, True, False, False]


def test_a_program_that_crashed_by_its_own_fault_is_refused_too(tmp_path: Path) -> None:
    line = 'grep -q oops value.py && { echo "ValueError: oops"; exit 3; }\n'
    toy = make_toy(tmp_path / "arena", run=line + 'cp value.py "$OVERNIGHT_OUT/value"\n')
    done = run(toy, Writer(["X=9\noops=1\n", "X=9\noops = 1\n"]))
    assert verdicts(done) == ["keep", "crash", "invalid"]
    assert done[2].reason.startswith("the same program as #1, which crashed: exit code 3")


@pytest.mark.parametrize("fault", ["sleep 60", "kill -9 $$"], ids=["timeout", "killed"])
def test_a_program_that_timed_out_or_was_killed_may_be_tried_once_more(
    tmp_path: Path, fault: str
) -> None:
    line = f'grep -q X=8 value.py && {fault}\ncp value.py "$OVERNIGHT_OUT/value"\n'
    text = ARENA.replace('budget = "20s"', 'budget = "2s"')
    toy = make_toy(tmp_path / "arena", text, run=line)
    done = run(toy, Writer(["X=8\n", "X=8 # again\n", "X=8 # and again\n"]))
    failed = "timeout" if "sleep" in fault else "crash"
    assert verdicts(done) == ["keep", failed, failed, "invalid"]
    assert "the same program as #2, which" in done[3].reason


def test_the_program_of_a_withdrawn_experiment_may_be_tried_again(toy: Path) -> None:
    (first,) = run(toy, Writer([]))
    program = program_digest({"value.py": file_digest("value.py", b"X=12\n")})
    with Campaign.open(toy, "t") as campaign:
        twelve = replace(first, n=1, start=0, against=0, program=program, verdict=None, ended=None)
        campaign.book.add(twelve)
        told = Closing(Verdict.INVALID, "interrupted before it was judged")
        campaign.book.conclude({1: told})
    again = run(toy, Writer(["", "X=12\n", "X=12 # again\n"]))
    assert verdicts(again) == ["discard", "invalid"] and again[0].program == program


def test_an_arena_may_want_the_same_program_measured_again(tmp_path: Path) -> None:
    done = run(make_toy(tmp_path / "arena", ALLOWED), Writer(["X=12\n", "X=12 # again\n"]))
    assert verdicts(done) == ["keep", "discard", "discard"]
    assert done[1].program == done[2].program != ""


def test_try_says_it_in_a_sentence(toy: Path) -> None:
    (toy / "value.py").write_text("X=10 # a comment\n")
    done = command(toy, "try", "-m", "a comment")
    assert done.returncode == 13 and "the same program as #0, the baseline" in done.stdout
    (toy / "value.py").write_text("X=8\n")
    assert command(toy, "try", "-m", "eight\n\nExpected: +2").returncode == 0
    shown = json.loads(command(toy, "show", "2", "--json").stdout)
    assert (shown["expected"], shown["gain"], shown["held"]) == (2.0, 2.0, True)
    assert "expected   +2, measured +2: met" in command(toy, "show", "2").stdout


def test_each_patch_that_makes_a_program_of_before_is_refused_and_passed_over(
    toy: Path, tmp_path: Path
) -> None:
    done = run(
        toy, PatchesAgent(write_patches(tmp_path / "p", ["X=12", "X=10 #", "X=12 #", "X=5"]))
    )
    assert verdicts(done) == ["keep", "discard", "invalid", "invalid", "keep"]


def test_the_tuner_proposes_nothing_that_another_agent_has_tried(tmp_path: Path) -> None:
    value = "X=10  # one of: 10, 11, 12, 13\n"
    toy = make_toy(tmp_path / "arena", value=value)
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Writer([f"X={n} # {value.split('# ')[1]}" for n in (11, 13)]), Limits())
        seen: list[Experiment] = []
        stop = campaign.run(Tuner(), Limits(), seen.append)
    assert stop.kind is StopKind.EXHAUSTED
    assert [(e.description, e.verdict) for e in seen] == [("X 10 → 12", "discard")]


def test_an_agent_can_ask_before_it_hands_in(tmp_path: Path) -> None:
    @dataclass
    class Asking:
        name: str = "asking"
        answers: tuple[str | None, ...] = ()

        def propose(self, bench: Workbench) -> Idea | None:
            for text in ("X=10 # ten\n", "X=12\n"):
                (bench.folder / "value.py").write_text(text)
                self.answers += (bench.refusal(),)
            return Idea("twelve") if bench.n == 1 else None

    agent = Asking()
    run(make_toy(tmp_path / "arena"), agent)
    assert [answer and answer.split(",")[0] for answer in agent.answers] == [
        "the same program as #0",
        None,
        "the same program as #0",
        "the same program as #1",
    ]


def test_the_digest_of_a_candidate_is_of_all_its_editable_files(tmp_path: Path) -> None:
    text = ARENA.replace('["value.py"]', '["value.py", "more/**"]')
    toy = make_toy(tmp_path / "arena", text)
    (toy / "more").mkdir()
    (toy / "more" / "a.sh").write_text("one\n")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "--message", "more")

    @dataclass
    class Mover:
        name: str = "mover"

        def propose(self, bench: Workbench) -> Idea | None:
            match bench.n:
                case 1:
                    (bench.folder / "more" / "a.sh").write_text("two\n")
                case 2:
                    (bench.folder / "more" / "a.sh").rename(bench.folder / "more" / "b.sh")
                case 3:
                    (bench.folder / "more" / "a.sh").write_text("# 2\ntwo\n\n")
                case _:
                    return None
            return Idea("a move")

    assert verdicts(run(toy, Mover())) == ["keep", "discard", "discard", "invalid"]
