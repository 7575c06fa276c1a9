"""What proposals cost: every page tells it, by agent, and what is unknown is told as unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from night import Night
from overnight import Campaign, Idea, Limits
from overnight.agents.base import Workbench
from overnight.agents.patches import PatchesAgent
from overnight.campaign.limits import Stretch
from overnight.core.quantity import format_count, format_dollars
from overnight.core.usage import UNKNOWN, Usage
from overnight.record.lock import CampaignLock, lock_path
from overnight.views.live import status_text
from overnight.views.report import write_report
from test_live import printed
from toy import ARENA, command, make_toy, overnight, write_patches
from writer import run


@dataclass
class Spender:
    """Proposes what was not there before, and reports one usage after another."""

    name: str
    reports: Sequence[Usage]
    asked: int = 0

    def propose(self, bench: Workbench) -> Idea | None:
        self.asked += 1
        (bench.folder / "value.py").write_text(f"X={100 + bench.n}\n")
        return Idea(f"set {bench.n}", usage=self.reports[(self.asked - 1) % len(self.reports)])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A campaign in which one agent knows what it costs, and one does not."""
    night = Night(tmp_path_factory.mktemp("spent"))
    known = [Usage(1000, 900, 50, 0.25), Usage(2000, 0, 150, 1.5)]
    night.add(7.0)
    for usage in known:
        night.add(9.0, agent="codex", usage=UNKNOWN)
        night.add(9.0, agent="claude", usage=usage)
    return night


def test_every_page_tells_what_each_agent_has_spent(spent: Night, tmp_path: Path) -> None:
    root = spent.arena.root
    status = flat(command(root, "status").stdout)
    assert "spent $1.75 and 2 proposals of unknown cost, at least 3,200 tokens, " in status
    assert "claude: $1.75, 3,200 tokens, " in status
    assert "codex: 2 proposals of unknown cost, " in status
    write_report(spent.book(), lambda old, new: "", tmp_path / "report.md")
    report = (tmp_path / "report.md").read_text()
    assert "## What it cost\n\n$1.75 and 2 proposals of unknown cost, " in report
    assert "| claude | 2 | $1.75 |  | 3,200 | " in report
    assert "| codex | 2 | unknown | 2 | unknown | " in report
    stats = flat(command(root, "agents", "--stats").stdout)
    assert "3,200 1.75" in stats and "unknown unknown" in stats
    log = command(root, "log").stdout.splitlines()
    assert "cost" in log[0] and "unknown" in log[2] and "$0.25" in log[3] and "$1.50" in log[5]
    assert "unknown" not in log[1], "the baseline is nobody's"
    assert "spent      $1.50, 2,150 tokens, " in command(root, "show", "4").stdout
    assert "spent      unknown cost, " in command(root, "show", "3").stdout


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_names_are_seen_however_narrow_the_terminal_and_large_the_numbers(
    tmp_path: Path, columns: int
) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    for usage in (Usage(1_200_000, 900, 1594, 1234.5), UNKNOWN):
        night.add(9.0, agent="careful-claude-2", usage=usage)
    for usage in (Usage(91_000_000, 0, 200_000, 3.2), UNKNOWN):
        night.add(9.0, agent="gemini", usage=usage)
    done = overnight(tmp_path, "agents", "--stats", env={"COLUMNS": str(columns)}).stdout
    assert max(map(len, done.splitlines())) <= columns
    lines = [" ".join(line.split()) for line in done.splitlines()]
    assert lines[1].startswith("careful-claude-2 0 of 2 (0%)"), done
    assert columns == 40 or "1.2M 1234.50 " in lines[1]
    assert columns == 40 or lines[2] == "+ 1 unknown + 1 unknown"
    assert any(line.startswith("gemini 0 of 2 (0%)") for line in lines)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1_201_594, "1.2M"),
        (34_567_890, "34.6M"),
        (5 * 10**12, "5000G"),
    ],
)
def test_large_counts_have_three_digits(count: int, words: str) -> None:
    assert format_count(count) == words


def test_documents_tell_it_too(spent: Night) -> None:
    root = spent.arena.root
    status = json.loads(command(root, "status", "--json").stdout)
    assert (status["cost"], status["unknown_cost"], status["tokens"]) == (1.75, 2, 3200)
    assert status["unknown_tokens"] == 2 and status["thought"] > 0
    claude, codex = status["agents"]
    assert (claude["agent"], claude["proposals"], claude["cost"]) == ("claude", 2, 1.75)
    assert (codex["agent"], codex["cost"], codex["unknown_cost"]) == ("codex", None, 2)
    first, second = json.loads(command(root, "agents", "--stats", "--json").stdout)
    assert (first["cost"], first["unknown_cost"], first["tokens"]) == (None, 2, None)
    assert (second["cost"], second["unknown_cost"], second["unknown_tokens"]) == (1.75, 0, 0)
    costs = [e["cost"] for e in json.loads(command(root, "log", "--json").stdout)]
    assert costs == [None, None, 0.25, None, 1.5]


def test_where_no_model_has_a_part_nothing_is_said_of_dollars(toy: Path, tmp_path: Path) -> None:
    run(toy, PatchesAgent(write_patches(tmp_path / "patches", ["X=12", "X=5", "X=4"])))
    pages = [command(toy, *w).stdout for w in (("status",), ("log",), ("show", "1"))]
    pages.append(Path(command(toy, "report").stdout.strip()).read_text())
    for page in pages:
        assert "$" not in page and "unknown" not in page and "spent" not in page
    status = json.loads(command(toy, "status", "--json").stdout)
    assert (status["cost"], status["unknown_cost"]) == (0.0, 0)
    assert json.loads(command(toy, "log", "--json").stdout)[3]["cost"] == 0.0, "a stale one too"


def test_the_tuner_costs_nothing(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA, value="X=10  # -20..20\n")
    done = command(toy, "run", "--experiments", "1", "--tag", "t")
    assert done.returncode == 0 and "$" not in done.stdout
    (account,) = json.loads(command(toy, "status", "--json").stdout)["agents"]
    assert account["cost"] == 0.0 and account["unknown_cost"] == 0 and account["thought"] > 0


def test_a_report_that_cannot_be_true_is_unknown(toy: Path) -> None:
    reports = [Usage(10**30, 10**30, -7, sum_) for sum_ in (-5.0, math.nan, math.inf, 1e300)]
    done = run(toy, Spender("liar", reports), experiments=4)
    assert len(done) == 5 and all(e.usage == UNKNOWN for e in done)
    assert json.loads(command(toy, "status", "--json").stdout)["unknown_cost"] == 4


def test_what_the_caps_leave_is_told_while_it_runs(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.add(7.0)
    night.add(9.0, usage=Usage(1000, 0, 50, 0.25))
    Stretch.begin(night.book(), Limits(dollars=5.0, tokens=10_000))
    night.add(9.0, usage=Usage(1000, 0, 50, 1.5))
    with CampaignLock(lock_path(night.arena, "t")):
        left = night.summary().left
        assert left and (left.dollars, left.tokens, left.experiments) == (3.5, 8950, None)
        shown = printed(status_text(night.summary()))
        assert "at most $3.50; at most 8,950 tokens" in shown
        assert json.loads(command(tmp_path, "status", "--json").stdout)["left"]["dollars"] == 3.5


def test_the_limits_of_a_run_count_what_came_to_nothing_within_it(tmp_path: Path) -> None:
    limits, longer = Limits(dollars=5.0, tokens=10_000), Limits(dollars=9.0, tokens=20_000)
    night = Night(tmp_path)
    night.add(7.0)
    book = night.book()

    def lost(dollars: float) -> None:
        asked = book.ask("claude", 0, 0)
        book.end(replace(asked, outcome="stopped", usage=Usage(1000, 0, 50, dollars)))

    def left(limits: Limits) -> tuple[float | None, int | None]:
        rest = Stretch.ahead(book, limits).left(book)
        return rest.dollars, rest.tokens

    lost(0.5)
    assert left(limits) == (5.0, 10_000), "that was before"
    Stretch.begin(book, limits)
    lost(1.5)
    assert left(limits) == (3.5, 8950)
    Stretch.begin(book, longer)
    assert left(longer) == (7.5, 18_950), "the run that died is taken up"
    lost(0.25)
    assert left(longer) == (7.25, 17_900)
    book.note("stop", reason="asked", words="so")
    assert left(limits) == (5.0, 10_000)


@dataclass
class Stopped:
    """Is stopped at once when it has used something."""

    name: str = "stopped"

    def propose(self, bench: Workbench) -> Idea | None:
        bench.stopping.set()
        return Idea("half a change", usage=Usage(1000, 0, 50, 0.25))


def test_a_proposal_without_an_experiment_is_on_every_page(toy: Path) -> None:
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Stopped(), Limits())
        assert campaign.book.unfinished == campaign.book.asked == []
    assert "spent stopped: $0.25, 1,050 tokens, " in flat(command(toy, "status").stdout)
    report = Path(command(toy, "report").stdout.strip()).read_text()
    assert "| stopped | 1 | $0.25 |  | 1,050 | " in report
    (stats,) = json.loads(command(toy, "agents", "--stats", "--json").stdout)
    assert (stats["experiments"], stats["cost"], stats["tokens"]) == (0, 0.25, 1050)


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0"), (0.00432, "$0.0043"), (0.5, "$0.50"), (14, "$14.00"), (1234.4, "$1,234")],
)
def test_sums_are_written_as_people_write_them(amount: float, words: str) -> None:
    assert format_dollars(amount) == words
