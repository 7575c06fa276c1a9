"""report.md: its structure stands, whatever agents wrote; its numbers are the summary's."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from night import HOSTILE, Night
from overnight.core.experiment import Verdict
from overnight.views.experiment_text import results_table
from overnight.views.report import write_report

SECTIONS = ["Wins", "What did not work", "How to take it", "How it was judged"]
DIFF = "diff --git a/x b/x\n-X=1\n+X=2\n"


def report(night: Night, diff: str = DIFF) -> str:
    path = night.arena.state / "report.md"
    write_report(night.book(), lambda old, new: diff, path)
    return path.read_text(encoding="utf-8")


def screen(night: Night) -> str:
    """What `overnight log` prints of it, on a wide terminal."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(results_table(night.ledger.experiments("t"), night.arena.metric))
    return console.export_text()


def outside_fences(text: str) -> list[str]:
    """The lines that are not code, read as Markdown does: a fence ends with its own like."""
    lines, fence = [], ""
    for line in text.split("\n"):
        mark = re.match(r"`{3,}", line)
        if not fence:
            lines.append(line)
            fence = mark[0] if mark else ""
        elif mark and len(line.rstrip()) == len(mark[0]) >= len(fence):
            fence = ""
    assert not fence, "a code block is left open"
    return lines


def test_it_says_what_was_gained_and_how_to_take_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score, words in ((7.0, "baseline"), (5.0, "half the rate"), (6.0, "twice the rate")):
        night.add(score, words)
    night.add(Verdict.CRASH, "a typo", "crashed: NameError")
    text = report(night)
    assert (
        "**loss went from 7 to 5 (-28.6%) with 1 win in 3 experiments** (lower is better)" in text
    )
    assert "### #1: half the rate\n\nwhy 1\n\nKept: because.\n\n```diff\n" + DIFF + "```" in text
    assert "| 2 | 6 | -1 | twice the rate | because |" in text
    assert "| 3 | crash | a typo | crashed: NameError |" in text
    assert "git merge overnight/t" in text
    assert [line[3:] for line in text.split("\n") if line.startswith("## ")] == SECTIONS


def test_a_stack_is_one_row_and_its_members_are_below_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    night.add(6.5, "a comment", within=2)
    night.add(5.0, "half the rate", within=2, whole=1.75)
    text = report(night)
    assert (
        "loss is 1.75 better (25%) than the baseline's 7, confirmed, with 1 win of 2 changes"
        in text
    )
    wins = text.split("## What did not work")[0]
    assert "| 2 | 5 | 1.75 |  | half the rate (with #1) |" in wins
    assert wins.index("### #2: half the rate") < wins.index("### #1: a comment")
    assert night.summary().gain == 1.75
    (row,) = [line for line in screen(night).splitlines() if "a comment" in line]
    assert "confirmed with #2" in row and "+0.5" not in row


def test_a_simplification_is_no_win_and_claims_no_gain(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    night.add(7.25, "one loop less", verdict=Verdict.KEEP, simpler=True)
    text = report(night)
    assert "loss went from 7 to 7.25 (+3.57%) with 1 simplification in 1 experiment" in text
    assert "## Wins\n\nNone." in text and "## Simpler" in text and "git merge" in text
    assert night.summary().gain == -0.25
    (row,) = [line for line in screen(night).splitlines() if "one loop less" in line]
    assert "simpler" in row and "0.25" not in row.replace("7.25", "")


def test_without_wins_there_is_nothing_to_merge(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    text = report(night)
    assert "nothing else has been measured yet" in text and "git merge" not in text


def test_self_reported_scores_are_marked(tmp_path: Path) -> None:
    for referee in (True, False):
        night = Night(tmp_path / str(referee), referee=referee)
        night.add(7.0)
        assert ("self-reported" in report(night)) is not referee


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_an_agent_wrote_cannot_break_its_structure(tmp_path: Path, hostile: str) -> None:
    night = Night(tmp_path)
    for score in (7.0, 5.0, 6.0, Verdict.CRASH):
        night.add(score, hostile, hostile)
    lines = outside_fences(report(night, f"+{hostile}\n" + hostile * 3 + "\n```\n````\n## Wins\n"))
    headings = [line[3:] for line in lines if line.startswith("## ")]
    assert headings == SECTIONS
    assert len([line for line in lines if line.startswith("# ")]) == 1
    tables = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
    assert set(tables) <= {5, 6, 7}, "a row has as many cells as its table has columns"
    text = "\n".join(lines)
    assert not re.search(r"(?<!\\)<\w|(?<!\\)\]\(http", text), "neither HTML nor a link or picture"
    whole = (night.arena.state / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", whole)


@pytest.mark.parametrize("start", ["# a", "- a", "+ a", "1. a", "> a", "=== a", "--- a"])
def test_a_hypothesis_is_a_paragraph_whatever_it_begins_with(tmp_path: Path, start: str) -> None:
    night = Night(tmp_path)
    for score in (7.0, 5.0):
        night.add(score, hypothesis=start)
    (line,) = [line for line in report(night).split("\n") if line.endswith(" a")]
    assert re.match(r"\d*\\", line)


def test_what_kept_agents_from_working_is_told_in_the_morning(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0, "baseline")
    for n in range(20):
        words = f"claude could not work (rate limit): try later {n} | <b>\n# now"
        night.ledger.add_event("t", "trouble", words=words)
    night.ledger.add_event("t", "switch", n=21, words="no win in 12 experiments: bolder changes")
    night.ledger.add_event("t", "warning", words="codex needs you (sign-in): run `codex login`")
    (section,) = re.findall(r"## What else happened\n\n(.*?)\n## ", report(night), re.DOTALL)
    lines = section.strip().split("\n")
    assert lines[0] == "The newest 15; 7 earlier events not shown."
    assert len([line for line in lines if re.match(r"\| \w{3} \d\d, \d\d:\d\d \| ", line)]) == 15
    assert r"try later 19 \| \<b> # now |" in lines[-3]
    assert "bolder changes |" in lines[-2] and r"run \`codex login\` |" in lines[-1]


def test_it_is_bounded_however_long_the_diffs_and_the_campaign(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in range(40, 0, -1):
        night.add(float(score), "word " * 1000)
    text = report(night, "+" + "x" * 100_000 + "\n" + "+y\n" * 10_000)
    assert len(text) < 500_000
    assert len(re.findall("^### ", text, re.MULTILINE)) == 30
    assert "9921 more lines" in text.replace(",", "")
