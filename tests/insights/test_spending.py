"""What proposals cost: every page tells it, by agent, and what is unknown is told as unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from overnight import Campaign, Idea, Limits
from overnight.agents.base import Workbench
from overnight.agents.patches import PatchesAgent
from overnight.campaign.limits import Stretch
from overnight.core.quantity import format_count, format_dollars
from overnight.core.usage import Usage
from overnight.record.lock import CampaignLock, lock_path
from overnight.search.portfolio import Portfolio
from overnight.views.live import status_text
from overnight.views.summary import summarize
from test_live import printed
from toy import ARENA, make_toy, overnight, write_patches
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


def turns(toy: Path, *agents: Spender, **limits: float) -> None:
    """As many experiments of each."""
    shares = {agent.name: 1.0 for agent in agents}
    with Campaign.open(toy, "t") as campaign:
        campaign.run(Portfolio(agents, shares), Limits(**limits))  # type: ignore[arg-type]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def spent(toy: Path) -> Path:
    """A campaign in which one agent knows what it costs, and one does not."""
    claude = Spender("claude", [Usage(1000, 900, 50, 0.25), Usage(2000, 0, 150, 1.5)])
    turns(toy, claude, Spender("codex", [Usage()]), experiments=4)
    return toy


def test_every_page_tells_what_each_agent_has_spent(spent: Path) -> None:
    status = flat(overnight(spent, "status").stdout)
    assert "spent $1.75 and 2 proposals of unknown cost, at least 3,200 tokens, " in status
    assert "claude: $1.75, 3,200 tokens, " in status
    assert "codex: 2 proposals of unknown cost, " in status
    report = Path(overnight(spent, "report").stdout.strip()).read_text()
    assert "## What it cost\n\n$1.75 and 2 proposals of unknown cost, " in report
    assert "| claude | 2 | $1.75 |  | 3,200 | " in report
    assert "| codex | 2 | unknown | 2 | unknown | " in report
    stats = flat(overnight(spent, "agents", "--stats").stdout)
    assert "3,200 1.75" in stats and "unknown unknown" in stats
    log = overnight(spent, "log").stdout.splitlines()
    assert "cost" in log[0] and "$0.25" in log[2] and "unknown" in log[3] and "$1.50" in log[4]
    assert "unknown" not in log[1], "the baseline is nobody's"
    assert "spent      $1.50, 2,150 tokens, " in overnight(spent, "show", "3").stdout
    assert "spent      unknown cost, " in overnight(spent, "show", "2").stdout


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_names_are_seen_however_narrow_the_terminal_and_large_the_numbers(
    toy: Path, columns: int
) -> None:
    careful = Spender("careful-claude-2", [Usage(1_200_000, 900, 1594, 1234.5), Usage()])
    thrifty = Spender("gemini", [Usage(91_000_000, 0, 200_000, 3.2), Usage()])
    turns(toy, careful, thrifty, experiments=4)
    done = overnight(toy, "agents", "--stats", env={"COLUMNS": str(columns)}).stdout
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


def test_documents_tell_it_too(spent: Path) -> None:
    status = json.loads(overnight(spent, "status", "--json").stdout)
    assert (status["cost"], status["unknown_cost"], status["tokens"]) == (1.75, 2, 3200)
    assert status["unknown_tokens"] == 2 and status["thought"] > 0
    claude, codex = status["agents"]
    assert (claude["agent"], claude["proposals"], claude["cost"]) == ("claude", 2, 1.75)
    assert (codex["agent"], codex["cost"], codex["unknown_cost"]) == ("codex", None, 2)
    first, second = json.loads(overnight(spent, "agents", "--stats", "--json").stdout)
    assert (first["cost"], first["unknown_cost"], first["unknown_tokens"]) == (1.75, 0, 0)
    assert (second["cost"], second["unknown_cost"], second["tokens"]) == (None, 2, None)
    costs = [e["cost"] for e in json.loads(overnight(spent, "log", "--json").stdout)]
    assert costs == [None, 0.25, None, 1.5, None]


def test_where_no_model_has_a_part_nothing_is_said_of_dollars(toy: Path, tmp_path: Path) -> None:
    run(toy, PatchesAgent(write_patches(tmp_path / "patches", ["X=12", "X=5", "X=4"])))
    pages = [overnight(toy, *w).stdout for w in (("status",), ("log",), ("show", "1"))]
    pages.append(Path(overnight(toy, "report").stdout.strip()).read_text())
    for page in pages:
        assert "$" not in page and "unknown" not in page and "spent" not in page
    status = json.loads(overnight(toy, "status", "--json").stdout)
    assert (status["cost"], status["unknown_cost"]) == (0.0, 0)
    assert json.loads(overnight(toy, "log", "--json").stdout)[3]["cost"] == 0.0, "a stale one too"


def test_the_tuner_costs_nothing(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA, value="X=10  # -20..20\n")
    done = overnight(toy, "run", "--experiments", "1", "--tag", "t")
    assert done.returncode == 0 and "$" not in done.stdout
    (account,) = json.loads(overnight(toy, "status", "--json").stdout)["agents"]
    assert account["cost"] == 0.0 and account["unknown_cost"] == 0 and account["thought"] > 0


@pytest.mark.parametrize("dollars", [-5.0, math.nan, math.inf, 1e300])
def test_a_report_that_cannot_be_true_is_unknown(toy: Path, dollars: float) -> None:
    agent = Spender("liar", [Usage(10**30, 10**30, -7, dollars)])
    done = run(toy, agent, experiments=2)
    assert all((e.tokens_in, e.tokens_out, e.dollars) == (None, None, None) for e in done)
    assert json.loads(overnight(toy, "status", "--json").stdout)["unknown_cost"] == 2


def test_what_the_caps_leave_is_told_while_it_runs(toy: Path) -> None:
    turns(toy, Spender("claude", [Usage(1000, 0, 50, 0.25)]), experiments=2)
    with Campaign.open(toy, "t") as campaign:
        arena, ledger = campaign.arena, campaign.ledger
        Stretch.begin(ledger, "t", Limits(dollars=5.0, tokens=10_000))
        campaign.try_(Spender("claude", [Usage(1000, 0, 50, 1.5)]))
        left = summarize(arena, ledger, "t").left
        assert left and (left.dollars, left.tokens, left.experiments) == (3.5, 8950, None)
        shown = printed(status_text(summarize(arena, ledger, "t")))
        assert "at most $3.50; at most 8,950 tokens" in shown
    with CampaignLock(lock_path(arena, "t")):
        assert json.loads(overnight(toy, "status", "--json").stdout)["left"]["dollars"] == 3.5


def test_the_limits_of_a_run_count_what_came_to_nothing_within_it(toy: Path) -> None:
    limits, longer = Limits(dollars=5.0, tokens=10_000), Limits(dollars=9.0, tokens=20_000)
    turns(toy, Spender("claude", [Usage()]), experiments=1)
    with Campaign.open(toy, "t") as campaign:
        ledger = campaign.ledger

        def lost(dollars: float) -> None:
            ledger.open_experiment("t", 2, "claude", None)
            ledger.abandon_experiment("t", 2, Usage(1000, 0, 50, dollars))

        def left(limits: Limits) -> tuple[float | None, int | None]:
            rest = Stretch.ahead(ledger, "t").left(limits, ledger, "t")
            return rest.dollars, rest.tokens

        lost(0.5)
        assert left(limits) == (5.0, 10_000), "that was before"
        Stretch.begin(ledger, "t", limits)
        lost(1.5)
        assert left(limits) == (3.5, 8950)
        Stretch.begin(ledger, "t", longer)
        assert left(longer) == (7.5, 18_950), "the run that died is taken up"
        lost(0.25)
        assert left(longer) == (7.25, 17_900)
        ledger.add_event("t", "stop", reason="asked", words="so")
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
        assert campaign.ledger.unfinished("t") == []
    assert "spent stopped: $0.25, 1,050 tokens, " in flat(overnight(toy, "status").stdout)
    report = Path(overnight(toy, "report").stdout.strip()).read_text()
    assert "| stopped | 1 | $0.25 |  | 1,050 | " in report
    (stats,) = json.loads(overnight(toy, "agents", "--stats", "--json").stdout)
    assert (stats["experiments"], stats["cost"], stats["tokens"]) == (0, 0.25, 1050)


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0"), (0.00432, "$0.0043"), (0.5, "$0.50"), (14, "$14.00"), (1234.4, "$1,234")],
)
def test_sums_are_written_as_people_write_them(amount: float, words: str) -> None:
    assert format_dollars(amount) == words
