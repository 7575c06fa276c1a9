"""What is claimed of keeps on every page: scores without luck, and wins without what rode along."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from noisy import final, noisy
from toy import command, git
from writer import Writer, run


def test_the_score_of_a_keep_has_no_lucky_first_draw_in_it(tmp_path: Path) -> None:
    """What it was chosen for does not count; the table and the commit say the same."""
    toy = noisy(tmp_path / "arena")
    run(toy, Writer(["X=46\n"]))
    kept = final(toy)[1]
    assert kept.kept and kept.ended is not None
    later = [m.score for m in kept.judged if m.started > kept.ended and m.score is not None]
    assert 2 <= len(later) < len(kept.scores) and kept.score == median(later)
    row = (toy / ".overnight" / "results.tsv").read_text().splitlines()[2].split("\t")
    assert row[1] == f"{kept.score:.6f}"
    shown = command(toy, "show", "1").stdout
    assert f"{kept.score:.6g} (median of {len(later)} measurements)" in shown
    assert "median of" in command(toy, "status").stdout
    command(toy, "report")
    assert "is the median of these measurements" in (toy / ".overnight" / "report.md").read_text()
    newest = command(toy, "log").stdout.splitlines()[-1].split()
    assert newest[:4] == ["1", "keep", f"{kept.score:.6g}", str(len(later))]
    message = git(toy, "log", "-1", "--format=%B", "overnight/t")
    assert f"Overnight-Metric: loss {kept.score:.6g}" in message


@pytest.mark.slow
def test_a_stack_is_one_win_and_none_of_its_members_claims_a_gain(tmp_path: Path) -> None:
    """Steps that are only confirmed together."""
    toy = noisy(tmp_path / "arena")
    run(toy, Writer([f"X={50 - 1.5 * n} # 0\n" for n in range(1, 7)]))
    experiments = final(toy)
    kept = [e for n, e in experiments.items() if e.kept and n]
    members = [e for e in kept if e.is_member]
    tips = {e.within for e in members}
    assert members and all(e.claim is None and e.interval is None for e in members)
    wins = [e for e in kept if e.claim is not None]
    assert {e.n for e in wins} == tips | {e.n for e in kept if e.within is None}
    assert all(e.interval and e.interval[0] < e.claim < e.interval[1] for e in wins if e.claim)
    said = json.loads(command(toy, "status", "--json").stdout)
    assert (said["wins"], said["keeps"]) == (len(wins), len(kept))
    assert said["gain"] == pytest.approx(sum(e.claim or 0.0 for e in wins)), "it adds up"
    shown = json.loads(command(toy, "show", str(members[0].n), "--json").stdout)
    assert shown["gain"] is None and shown["confirmed_with"] == members[0].within
    message = git(toy, "log", "-1", "--format=%B", members[0].candidate or "")
    assert "Overnight-Gain" not in message
    assert f"Overnight-Confirmed-With: t/{members[0].within}" in message
    words = " ".join(command(toy, "status").stdout.split())
    assert f"with {len(wins)} win" in words and f"of {len(kept)} changes in 6" in words
    command(toy, "report")
    report = (toy / ".overnight" / "report.md").read_text()
    assert "confirmed together with it, none of them alone" in report
    lines = " ".join(command(toy, "log").stdout.split())
    assert f"confirmed with #{members[0].within}" in lines


@pytest.mark.slow
def test_a_simplification_is_no_win_and_claims_no_gain(tmp_path: Path) -> None:
    texts = ["X=50\n" + "".join(f"A{n}={n}\n" for n in range(size)) for size in (40, 30, 20, 10)]
    soft = "\n[constraints]\npeak_memory_mb = { soft = 9999 }\n"
    toy = noisy(tmp_path / "arena", f"\n[judge]\nmargin = 3\n{soft}", value=texts[0])
    run(toy, Writer(texts[1:]))
    kept = [e for n, e in final(toy).items() if e.kept and n]
    assert kept and all(e.simpler and e.claim is None for e in kept)
    said = json.loads(command(toy, "status", "--json").stdout)
    assert said["wins"] == 0 and said["keeps"] == len(kept) and said["gain"] <= 0
    words = " ".join(command(toy, "status").stdout.split())
    assert words.startswith("loss is as good as the baseline's") and "simplification" in words
    command(toy, "report")
    report = (toy / ".overnight" / "report.md").read_text()
    assert "## Wins\n\nNone." in report and "## Simpler" in report and "git merge" in report
    nothing = command(toy, "ablate")
    assert nothing.returncode == 2 and "no win to take back" in nothing.stderr
