"""What is claimed of keeps on every page: scores without luck, and wins without what rode along."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from noisy import final, noisy
from toy import git, overnight
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
    message = git(toy, "log", "-1", "--format=%B", "overnight/t")
    assert f"Overnight-Metric: loss {kept.score:.6g}" in message


def test_what_rides_along_is_no_win_on_any_page(tmp_path: Path) -> None:
    """Steps that are only confirmed together."""
    toy = noisy(tmp_path / "arena")
    run(toy, Writer([f"X={50 - 1.5 * n} # 0\n" for n in range(1, 7)]))
    experiments = final(toy)
    riders = [n for n, e in experiments.items() if e.rider]
    kept = [n for n, e in experiments.items() if e.kept and n]
    assert riders and set(riders) < set(kept)
    said = json.loads(overnight(toy, "status", "--json").stdout)
    assert said["riders"] == riders and said["wins"] == len(kept) - len(riders)
    assert said["gain"] == pytest.approx(sum(experiments[n].gain or 0.0 for n in kept))
    message = git(toy, "log", "-1", "--format=%B", experiments[riders[0]].candidate or "")
    assert "Overnight-Gain: not shown by itself" in message
    words = " ".join(overnight(toy, "status").stdout.split())
    assert f"#{riders[0]}" in words and "not shown to add anything" in words
