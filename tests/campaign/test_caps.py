"""What an agent may use in a campaign, and what a run may: hard stops, reckoned from the ledger."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from acprun import agent as acp_agent
from models.change import reply
from models.reply import Say, Usage
from models.server import KEY, ScriptedModels, answering
from night import Night
from overnight import Campaign, Idea, Limits
from overnight.agents.acp.agent import AcpAgent
from overnight.agents.base import Workbench
from overnight.agents.llm.agent import LlmAgent
from overnight.arena.settings import AgentTable
from overnight.campaign.limits import StopKind, Stretch
from overnight.cli import application
from overnight.core import experiment as records
from overnight.core.errors import AgentError, Trouble
from overnight.search.portfolio import Portfolio
from toy import ARENA, make_toy, overnight
from writer import run, verdicts

SAME = ARENA + "\n[judge]\nsame_programs = true\n"
PRICE, WRITTEN = 0.093, 15e-6
"""Dollars of a dear reply, and of each token that is written, by LiteLLM's prices."""
SONNET = """
[agents.sonnet]
kind = "llm"
model = "anthropic/claude-sonnet-4-5"
env = ["ANTHROPIC_API_KEY"]
campaign = { dollars = %s }
"""


def dear(text: str) -> Say:
    """A reply for that price, whatever it was bounded to."""
    return Say(reply(text), Usage(tokens_in=1000, tokens_out=6000, cached=0))


def ran(toy: Path, server: ScriptedModels, *words: str) -> tuple[int, str]:
    """The exit code and all that was said. In this process: LiteLLM takes seconds to import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy)
        patch.setenv("ANTHROPIC_API_BASE", server.address)
        patch.setenv("ANTHROPIC_API_KEY", KEY)
        done = CliRunner().invoke(application(), ["run", "--tag", "t", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def experiments(toy: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(overnight(toy, "log", "--json").stdout)
    return found[1:]


def most_out(server: ScriptedModels) -> list[int]:
    """The most tokens that each reply was allowed."""
    return [ask.body["max_tokens"] for ask in server.asks]


def test_a_run_counts_its_own_experiments_and_those_of_a_killed_one_that_it_continues(
    tmp_path: Path,
) -> None:
    night = Night(tmp_path / "arena")
    night.add(7.0)

    def left(most: int) -> int | None:
        """What is left of this limit at the start of a run."""
        return Stretch.begin(night.book(), Limits(experiments=most)).left(night.book()).experiments

    assert left(3) == 3
    night.add(8.0)
    assert left(3) == 2, "as after a kill: nothing says that the run has ended"
    assert left(9) == 8, "also under another limit"
    night.book().note("stop", reason=StopKind.INTERRUPTED.value, words="interrupted")
    assert left(3) == 3


def test_an_agent_alone_ends_with_its_dollars_and_a_restart_gives_it_no_more(
    tmp_path: Path,
) -> None:
    toy = make_toy(tmp_path / "arena", SAME + SONNET % 0.15)
    with answering(dear("X=5"), dear("X=4")) as server:
        code, said = ran(toy, server, "--agent", "sonnet", "--experiments", "9")
        assert (code, len(server.asks)) == (3, 2), said
        assert "It stopped: sonnet has used up its $0.15 for this campaign" in said
        first, second = most_out(server)
        assert first < 0.15 / WRITTEN and second < (0.15 - PRICE) / WRITTEN
        code, said = ran(toy, server, "--agent", "sonnet", "--experiments", "9")
        assert (code, len(server.asks)) == (3, 2) and "has used up its $0.15" in said
    assert [e["cost"] for e in experiments(toy)] == pytest.approx([PRICE, PRICE])


def test_the_others_go_on_without_an_agent_that_has_used_up_its_share(tmp_path: Path) -> None:
    shares = '\n[portfolio]\nagents = ["sonnet", "tuner"]\nshares = { sonnet = 9.0, tuner = 1.0 }\n'
    text = SAME + SONNET % 0.15 + shares
    toy = make_toy(tmp_path / "arena", text, value="X=10  # -20..20\n")
    with answering(dear("X=5  # -20..20"), dear("X=4  # -20..20")) as server:
        code, said = ran(toy, server, "--experiments", "5")
        assert code == 0 and len(server.asks) == 2, said
    assert [e["agent"] for e in experiments(toy)] == ["sonnet"] * 2 + ["tuner"] * 3
    assert "note: sonnet has used up its $0.15 for this campaign" in said


def test_too_little_for_a_proposal_is_an_end_too_and_nothing_is_sent_for_it(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", SAME + SONNET % (PRICE + 0.004))
    with answering(dear("X=5")) as server:
        code, said = ran(toy, server, "--agent", "sonnet", "--experiments", "9")
        assert (code, len(server.asks)) == (3, 1), said
    assert "sonnet has too little left for a proposal: sonnet: the campaign has" in said
    _, last = experiments(toy)
    assert (last["verdict"], last["measurements"], last["cost"]) == ("invalid", [], 0.0)


def test_what_a_run_has_left_bounds_a_reply_as_well(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", SAME + SONNET % 99)
    with answering(dear("X=5"), dear("X=4"), dear("X=3")) as server:
        words = ("--agent", "sonnet", "--dollars", "0.15")
        code, said = ran(toy, server, *words)
        assert (code, len(server.asks)) == (3, 2) and "the 0.15 dollars are spent" in said
        assert most_out(server)[1] < (0.15 - PRICE) / WRITTEN
        code, said = ran(toy, server, "--agent", "sonnet", "--tokens", "7100")
        assert (code, len(server.asks)) == (3, 3), "each run has its own"
        assert "the campaign has tokens = 100 left, too little for a reply" in said
        assert most_out(server)[2] < 7100


def priceless(server: ScriptedModels, **table: object) -> LlmAgent:
    settings = {"kind": "llm", "model": "openai/my-own", "url": f"{server.address}/v1", **table}
    return LlmAgent("mine", AgentTable.model_validate(settings))


def test_an_unknown_price_counts_as_nothing_for_a_run(toy: Path) -> None:
    with answering(reply("X=5"), reply("X=4")) as server:
        done = run(toy, priceless(server), experiments=2, dollars=0.01)
        assert verdicts(done) == ["keep", "keep", "keep"]


def test_a_cap_that_is_raised_counts_in_the_campaign_that_is_under_way(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", SAME + SONNET % 0.08)
    with answering(dear("X=5"), dear("X=4")) as server:
        assert ran(toy, server, "--agent", "sonnet", "--experiments", "9")[0] == 3
        (toy / "arena.toml").write_text(SAME + SONNET % 99)
        code, said = ran(toy, server, "--agent", "sonnet", "--experiments", "1")
        assert (code, len(server.asks)) == (0, 2) and "has changed since" not in said, said
        added = ARENA.replace("20s", "30s") + SONNET % 99 + '\n[agents.new]\ncommand = "true"\n'
        (toy / "arena.toml").write_text(added)
        code, said = ran(toy, server, "--agent", "new", "--experiments", "1")
        assert code == 0 and "arena.toml has changed since campaign t began" in said, said
    assert [e["agent"] for e in experiments(toy)] == ["sonnet", "sonnet", "new"]


def test_tokens_of_a_campaign_are_kept_to(toy: Path) -> None:
    usage = Usage(tokens_in=2000, tokens_out=1000, cached=0)
    with answering(*(Say(reply(f"X={n}"), usage) for n in (5, 4, 3))) as server:
        agent = priceless(server, campaign={"tokens": 8000})
        with Campaign.open(toy, "t") as campaign:
            stop = campaign.run(agent, Limits(experiments=9))
        assert stop.kind is StopKind.CAPPED and stop.kind.exit_code == 3, stop
    assert len(server.asks) == 3 and most_out(server)[2] < 8000 - 2 * 3000


def test_time_that_an_agent_thinks_is_bounded_for_the_whole_campaign(tmp_path: Path) -> None:
    table = """
[agents.slow]
command = "sleep 2; echo X=$OVERNIGHT_EXPERIMENT > value.py"
campaign = { time = "3s" }
"""
    toy = make_toy(tmp_path / "arena", SAME + table)
    begun = time.monotonic()
    done = overnight(toy, "run", "--tag", "t", "--agent", "slow", "--experiments", "9")
    assert done.returncode == 3 and time.monotonic() - begun < 60
    assert "slow has used up its 3.0 s for this campaign" in done.stdout
    first, second = experiments(toy)
    assert first["verdict"] == "keep" and second["verdict"] == "invalid"
    assert re.search(r"still working after (0\.\d|1) s and was ended", str(second["reason"]))


def test_an_agent_that_speaks_acp_is_held_to_what_is_left(toy: Path, tmp_path: Path) -> None:
    spend: list[list[object]] = [["spend", 0.75], ["edit", "value.py", "X=5\n"]]
    again: list[list[object]] = [["spend", 0.4], ["hang"], ["edit", "value.py", "X=4\n"]]
    made = acp_agent(tmp_path / "agent", {"turns": {"1": spend, "2": again}})
    table = AgentTable.model_validate(
        {**made.table.model_dump(exclude_unset=True), "timeout": "60s", "campaign": {"dollars": 1}}
    )
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(AcpAgent("scripted", table), Limits(experiments=9))
        done = campaign.ledger.experiments("t")
    assert verdicts(done) == ["keep", "keep", "invalid"]
    assert "its limit for one proposal: $0.40 of $0.25" in done[2].reason
    assert stop.kind is StopKind.CAPPED and "has used up its $1.00" in stop.words


def test_a_cap_that_cannot_be_meant_so_is_a_mistake_in_arena_toml(tmp_path: Path) -> None:
    table = '\n[agents.x]\ncommand = "true"\ncampaign = %s\n'
    for wrong, words in (
        ("5", "expected a table: [agents.x.campaign], and below it some of: dollars, tokens, time"),
        ("{ hours = 2 }", "agents.x.campaign.hours: unknown key"),
        ("{ time = 3 }", 'expected a duration with its unit, such as "90s"'),
        ("{ dollars = 0 }", "agents.x.campaign.dollars"),
        ("{ dollars = 0.0005 }", "greater than or equal to 0.001"),
    ):
        toy = make_toy(tmp_path / str(len(wrong)), ARENA + table % wrong)
        done = overnight(toy, "run", "--agent", "x")
        assert done.returncode == 2 and words in done.stderr, done.stderr


@dataclass
class Dime:
    """Proposes what was not there before, for ten cents each."""

    table: AgentTable = field(default_factory=AgentTable)
    name: str = "dime"
    left: list[float | None] = field(default_factory=list)

    def propose(self, bench: Workbench) -> Idea | None:
        self.left.append(bench.allowance.dollars)
        (bench.folder / "value.py").write_text(f"X={100 + bench.n}\n")
        return Idea(f"set {bench.n}", usage=records.Usage(dollars=0.1))


@pytest.mark.parametrize("whose", ["its own", "the run's"])
def test_an_exact_cap_is_reached_whatever_the_sum_of_floats_misses(toy: Path, whose: str) -> None:
    assert sum([0.1] * 8) != 0.8
    own = AgentTable.model_validate({"campaign": {"dollars": 0.8}} if whose == "its own" else {})
    agent, limits = Dime(own), Limits(dollars=None if whose == "its own" else 0.8)
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(agent, limits)
    assert stop.kind is (StopKind.CAPPED if whose == "its own" else StopKind.DOLLARS)
    assert agent.left == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


@dataclass
class Busy:
    """Thinks, and then finds its server busy."""

    table: AgentTable
    name: str = "busy"
    asked: int = 0

    def propose(self, bench: Workbench) -> Idea | None:
        self.asked += 1
        time.sleep(0.6)
        raise AgentError("429", Trouble.RATE)


def test_time_counts_when_no_experiment_comes_of_it(toy: Path) -> None:
    busy, clock = Busy(AgentTable.model_validate({"campaign": {"time": "1s"}})), iter(range(10**9))
    portfolio = Portfolio([busy], clock=lambda: 1e4 * next(clock))
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(portfolio, Limits(experiments=9, hours=0.01))
    assert (stop.kind, busy.asked) == (StopKind.CAPPED, 2) and "has used up its 1.0 s" in stop.words
    (told,) = json.loads(overnight(toy, "agents", "--stats", "--json").stdout)
    assert (told["agent"], told["experiments"], told["unknown_cost"]) == ("busy", 0, 2)
    assert 1.2 <= told["thought"] < 5
    assert "busy" in overnight(toy, "agents", "--stats").stdout
    assert "2 proposals of unknown cost" in overnight(toy, "status").stdout


CLAUDE = """#!/bin/sh
cat > /dev/null
sleep 1
echo '{"type":"assistant","message":{"usage":{"input_tokens":600000,"output_tokens":300000}}}'
sleep 120
"""
"""Reports 900,000 tokens, and goes on."""


def path_of(folder: Path) -> str:
    """Where this program is the first of its name."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "claude").write_text(CLAUDE)
    (folder / "bin" / "claude").chmod(0o755)
    return f"{folder / 'bin'}:{os.environ['PATH']}"


def end_in_the_middle(toy: Path, how: str) -> None:
    """A run of that program is ended while it works on its first proposal."""
    logs = toy / ".overnight" / "logs" / "t" / "proposals"
    before = {*logs.glob("*/agent.log")}
    env = {**os.environ, "PATH": path_of(toy.parent), "ANTHROPIC_API_KEY": "k1-of-nobody"}
    words = ["overnight", "run", "--tag", "t", "--agent", "claude", "--experiments", "1"]
    driver = subprocess.Popen(words, cwd=toy, env=env, stdout=subprocess.DEVNULL)
    while not any("600000" in f.read_text() for f in {*logs.glob("*/agent.log")} - before):
        assert driver.poll() is None, "it ended before"
        time.sleep(0.05)
    if how == "stop --now":
        overnight(toy, "stop", "--now")
    else:
        driver.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGINT)
    driver.wait(30)


def account(toy: Path) -> dict[str, object]:
    """Of the only agent, as every page tells it, after a driver has looked in."""
    with Campaign.open(toy, "t"):
        status = json.loads(overnight(toy, "status", "--json").stdout)
    (found,) = status["agents"]
    return dict(found)


@pytest.mark.parametrize("how", ["Ctrl-C", "stop --now"])
def test_what_an_interrupted_proposal_used_is_counted(tmp_path: Path, how: str) -> None:
    toy = make_toy(tmp_path / "arena", ARENA)
    for times in (1, 2):
        end_in_the_middle(toy, how)
        found = account(toy)
        assert (found["proposals"], found["tokens"]) == (times, times * 900_000)
        assert found["unknown_cost"] == times and float(str(found["thought"])) >= times
    (toy / "arena.toml").write_text(ARENA + "\n[agents.claude]\ncampaign = { tokens = 1800000 }\n")
    env = {"PATH": path_of(tmp_path), "ANTHROPIC_API_KEY": "k1-of-nobody"}
    done = overnight(toy, "run", "--tag", "t", "--agent", "claude", env=env)
    assert done.returncode == 3 and "used up its 1,800,000 tokens" in done.stdout, done.stderr
    assert not experiments(toy), "it is not asked again"


def test_of_a_killed_driver_the_time_that_its_agent_thought_is_counted(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA)
    end_in_the_middle(toy, "kill -9")
    time.sleep(2)
    first = account(toy)
    assert (first["proposals"], first["tokens"], first["cost"]) == (1, None, None)
    assert first["unknown_cost"] == 1 and 1 <= float(str(first["thought"])) < 3
    assert account(toy) == first, "it is repaired once"
    stats = overnight(toy, "agents", "--stats").stdout
    assert "claude" in stats and "unknown" in stats
