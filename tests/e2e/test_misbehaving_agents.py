"""A night with agents that misbehave in every way: it ends, and everything is as it should be."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import misdeeds
import rogue
from misdeeds import Script, Step
from models.reply import Usage as Handed
from models.server import ScriptedModels
from overnight import Campaign, Experiment, Limits
from overnight.agents.named import agent_named
from overnight.campaign.limits import Stop, StopKind
from overnight.core.spending import Spent, together
from overnight.core.usage import Usage
from overnight.search.portfolio import Portfolio
from stages import alive
from toy import ARENA, git, make_toy, overnight

EXPERIMENTS = 200
CLAUDE = "claude-sonnet-4-5"
DOLLARS_IN, DOLLARS_CACHED, DOLLARS_OUT = 3e-6, 3e-7, 15e-6
"""Prices of a token of that model."""
AGENTS = """
[judge]
rule = "greedy"

[portfolio]
agents = ["program", "api", "claude", "sleeper", "mute"]
tuner = false
shares = {{ program = 5.0, api = 3.5, claude = 1.0, sleeper = 0.2, mute = 0.12 }}

[agents.program]
command = "python3 -S {rogue} {server}"
timeout = "2m"
data = ["{rogue}"]

[agents.api]
kind = "llm"
model = "openai/api"
url = "{server}/v1"
timeout = "2m"

[agents.claude]
kind = "llm"
model = "anthropic/claude-sonnet-4-5"
url = "{server}"
timeout = "2m"
env = ["A_KEY"]

[agents.sleeper]
command = "echo X=4 > value.py; echo One moment.; sleep 617.25"
timeout = "1s"

[agents.mute]
kind = "llm"
model = "openai/mute"
url = "{server}/v1"
timeout = "2s"
"""
MODELS = {"program": "program", "api": "api", CLAUDE: "claude", "mute": "mute"}


class Clock:
    """A clock on which every look takes two seconds, so that rests end after a few experiments."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


@dataclass(frozen=True)
class Person:
    """What belongs to the person, and no campaign may touch."""

    head: str
    status: str
    refs: str
    files: dict[str, bytes]

    @classmethod
    def of(cls, toy: Path) -> Person:
        refs = git(toy, "for-each-ref").splitlines()
        named = ("index", "config", "HEAD", "logs/HEAD", "info/exclude")
        return cls(
            git(toy, "rev-parse", "HEAD") + git(toy, "symbolic-ref", "HEAD"),
            git(toy, "status", "--porcelain") + git(toy, "stash", "list"),
            "\n".join(line for line in refs if "overnight/" not in line),
            {name: (toy / ".git" / name).read_bytes() for name in named},
        )


def arena(server: str) -> str:
    text = ARENA.replace('budget = "20s"', 'budget = "1s"\nclock = "cpu"')
    return text + AGENTS.format(server=server, rogue=Path(rogue.__file__).resolve())


@dataclass(frozen=True)
class Night:
    """A campaign that has ended."""

    toy: Path
    script: Script
    stop: Stop
    experiments: list[Experiment]
    """Without the baseline."""
    used: Spent
    troubles: list[str]
    warnings: list[str]

    def of(self, agent: str) -> list[Experiment]:
        return [e for e in self.experiments if e.agent == agent]

    @property
    def keeps(self) -> list[Experiment]:
        return [e for e in self.experiments if e.kept]

    def steps(self) -> Iterator[tuple[Experiment, Step]]:
        """Each experiment with the step that it came from."""
        steps = {agent: list(taken) for agent, taken in self.script.taken.items()}
        for agent in {e.agent for e in self.experiments}:
            mine = steps.get(agent, [misdeeds.SLEEPER] * len(self.of(agent)))
            proposed = [step for step in mine if step.verdict != misdeeds.NOTHING]
            yield from zip(self.of(agent), proposed, strict=True)

    def brief(self, n: int) -> str:
        return (self.toy / ".overnight" / "logs" / "t" / str(n) / "brief.md").read_text()


def night(toy: Path, script: Script) -> Night:
    with Campaign.open(toy, "t") as campaign:
        table, ledger = campaign.arena.portfolio, campaign.ledger
        agents = [agent_named(name, campaign.arena) for name in table.agents]
        portfolio = Portfolio(agents, table.shares, clock=Clock())
        limits = Limits(experiments=EXPERIMENTS, dollars=1.0, tokens=5_000_000)
        stop = campaign.run(portfolio, limits)
        troubles, warnings = (
            [str(event.data["words"]) for event in ledger.events("t", kind)]
            for kind in ("trouble", "warning")
        )
        done = ledger.experiments("t")
        return Night(toy, script, stop, done[1:], together(campaign.book.spent), troubles, warnings)


@pytest.fixture
def toy(hostile_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An arena whose owner is in the middle of something else."""
    monkeypatch.setenv("A_KEY", "no-key")
    toy = make_toy(hostile_folder / "arena")
    (toy / "diary.txt").write_text("a page\n")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "-m", "a diary")
    git(toy, "branch", "another")
    (toy / "diary.txt").write_text("another page\n")
    git(toy, "stash")
    (toy / "diary.txt").write_text("one more page\n")
    git(toy, "add", "diary.txt")
    (toy / "untracked.txt").write_text("not yet\n")
    return toy


def begin(toy: Path, server: ScriptedModels) -> None:
    (toy / "arena.toml").write_text(arena(server.address))
    git(toy, "commit", "--quiet", "-m", "the agents", "arena.toml")


def cost(handed: list[Handed]) -> float:
    return sum(
        (used.tokens_in - used.cached) * DOLLARS_IN
        + used.cached * DOLLARS_CACHED
        + used.tokens_out * DOLLARS_OUT
        for used in handed
    )


@pytest.mark.slow
def test_a_night_of_200_experiments_with_agents_that_misbehave_in_every_way(toy: Path) -> None:
    steps = {
        "program": [
            misdeeds.DELETED,
            *misdeeds.twice(misdeeds.PROGRAM, lambda text: misdeeds.deed("write", text))[:-2],
            misdeeds.DELETED_AGAIN,
            *misdeeds.honest(lambda text: misdeeds.deed("write", text)),
        ],
        "api": misdeeds.twice(misdeeds.MODEL, misdeeds.whole),
        "claude": misdeeds.SIGNED_IN,
        "mute": misdeeds.MUTE * 2,
    }
    with ScriptedModels(Script(steps, MODELS)) as server:
        begin(toy, server)
        before = Person.of(toy)
        done = night(toy, server.script)  # type: ignore[arg-type]
    assert done.stop.kind is StopKind.EXPERIMENTS, done.stop.words
    every = {step.name for many in (misdeeds.PROGRAM, misdeeds.MODEL) for step in many}
    assert every <= {step.name for many in done.script.taken.values() for step in many}
    _each_has_what_it_deserves(done)
    _agents_that_cannot_work_cost_no_experiment(done)
    _what_went_wrong_is_told_to_whoever_comes_next(done)
    _the_branch_holds_the_wins(done)
    _nothing_is_left(done)
    _what_was_handed_out_is_in_the_ledger(done)
    _the_table_agrees_with_the_ledger(done)
    assert Person.of(toy) == before


def _each_has_what_it_deserves(done: Night) -> None:
    assert [e.n for e in done.experiments] == list(range(1, EXPERIMENTS + 1))
    wrong = [
        f"#{e.n} of {e.agent}, {step.name}: {e.verdict}, {e.dropped}: {e.reason}"
        for e, step in done.steps()
        if not _deserved(e, step)
    ]
    assert not wrong, "\n".join(wrong)


def _deserved(e: Experiment, step: Step) -> bool:
    first = e.reason.partition("\n")[0]
    return (
        e.verdict == step.verdict
        and e.ended is not None
        and bool(first and re.search(step.reason, first))
        and "Traceback" not in first
        and "src/overnight" not in e.reason
        and step.dropped <= {*e.dropped}
        and bool(e.dropped) == bool(step.dropped)
        and len(e.measurements) == (e.candidate is not None)
    )


def _agents_that_cannot_work_cost_no_experiment(done: Night) -> None:
    passing = [step for step in done.script.taken["api"] if step.verdict == misdeeds.NOTHING]
    assert len(passing) == len(done.troubles) >= 4
    for step, words in zip(passing, done.troubles, strict=True):
        assert re.match(rf"api could not work \({step.reason}\): ", words), (step.name, words)
        assert "Traceback" not in words
    (out,) = done.warnings
    assert "claude needs you (sign-in)" in out and "the campaign goes on without it" in out
    assert done.script.taken["claude"][-1].name == "expired sign-in"
    assert done.of("claude")[-1].n < EXPERIMENTS / 2, "the others went on"


def _what_went_wrong_is_told_to_whoever_comes_next(done: Night) -> None:
    untold = [
        f"#{e.n}, {step.name}: {step.told} is not in the brief after it"
        for e, step in done.steps()
        if step.told and e.n < EXPERIMENTS and not re.search(step.told, done.brief(e.n + 1))
    ]
    assert not untold, "\n".join(untold)


def _the_branch_holds_the_wins(done: Night) -> None:
    toy, keeps = done.toy, done.keeps
    line = git(toy, "rev-list", "--reverse", "main..overnight/t").split()
    assert line == [e.candidate for e in keeps] and len(line) > 60
    changed = git(toy, "diff", "--name-only", "main", "overnight/t").split()
    assert changed == ["value.py"]
    numbers = git(toy, "for-each-ref", "--format=%(refname)", "refs/overnight/t").split()
    candidates = {f"refs/overnight/t/{e.n}" for e in done.experiments if e.candidate}
    assert set(numbers) == {"refs/overnight/t/0", *candidates}
    other = toy.parent / "other"
    git(toy, "clone", "--quiet", "--branch", "overnight/t", str(toy), str(other))
    (other / "out").mkdir()
    env = {**os.environ, "OVERNIGHT_OUT": str(other / "out")}
    subprocess.run(["sh", "run.sh"], cwd=other, env=env, check=True, capture_output=True)
    printed = subprocess.check_output(["python3", "score.py"], cwd=other, env=env, text=True)
    assert json.loads(printed.splitlines()[-1])["loss"] == keeps[-1].score
    assert keeps[-1].score == pytest.approx(done.script.world.distance, abs=1e-5)


def _nothing_is_left(done: Night) -> None:
    state = done.toy / ".overnight"
    for marker in ("sleep 617.25", "sleep 313.75", "rogue.py", str(done.toy)):
        assert alive(marker) == []
    assert git(done.toy, "worktree", "list").count("\n") == 1
    left = [*(state / "worktrees").rglob("*"), *(state / "git" / "indexes").iterdir()]
    assert [path for path in left if path.name != "t"] == []
    for folder in (done.toy / ".git", state / "git"):
        assert [*folder.rglob("*.lock")] == []
    flooded = {f"{e.n}" for e, step in done.steps() if step.name == "flood"}
    for file in (path for path in state.rglob("*") if path.is_file()):
        most = 10_100_000 if file.parent.name in flooded else 2_000_000
        assert file.stat().st_size < most, file
    objects = [path for path in (done.toy / ".git").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in objects) < 5_000_000


def _what_was_handed_out_is_in_the_ledger(done: Night) -> None:
    handed = done.script.world.handed
    assert set(handed) == {"api", "claude"}
    for agent in handed:
        total = Usage()
        for e in done.of(agent):
            total += replace(e.usage, dollars=None)
        assert total == _sum(handed[agent])
    dollars = cost(handed["claude"])
    every = _sum([*handed["api"], *handed["claude"]])
    found = done.used
    assert found.tokens == (every.tokens_in or 0) + (every.tokens_out or 0)
    assert found.dollars == pytest.approx(dollars) and 0 < dollars < 1


def _sum(handed: list[Handed]) -> Usage:
    return Usage(
        sum(used.tokens_in for used in handed),
        sum(used.cached for used in handed),
        sum(used.tokens_out for used in handed),
    )


def _the_table_agrees_with_the_ledger(done: Night) -> None:
    lines = (done.toy / ".overnight" / "results.tsv").read_text().splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[2:]]
    assert [
        (row["n"], row["commit"], row["status"], row["agent"], row["loss"]) for row in rows
    ] == [
        (
            str(e.n),
            (e.candidate or "")[:7],
            str(e.verdict),
            e.agent,
            "" if e.score is None else f"{e.score:.6f}",
        )
        for e in done.experiments
    ]


def test_a_cap_on_dollars_is_kept_to_by_the_last_call_too(toy: Path) -> None:
    script = Script({"claude": misdeeds.honest(misdeeds.whole)}, MODELS)
    cap = 3.5 * 0.0018
    with ScriptedModels(script) as server:
        begin(toy, server)
        words = ["--agent", "claude", "--experiments", "50", "--dollars", f"{cap:f}"]
        done = overnight(toy, "run", *words, "--tag", "t", timeout=300)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "too little left for a proposal" in done.stdout and "Traceback" not in done.stderr
    handed = script.world.handed["claude"]
    assert 0 < cost(handed) <= cap
    with Campaign.open(toy, "t") as campaign:
        used, last = together(campaign.book.spent), campaign.book.latest
    assert used.dollars == pytest.approx(cost(handed)) and last.n >= len(handed)


def test_a_reply_that_is_no_change_is_not_sent_back_where_the_tokens_are_used_up(
    toy: Path,
) -> None:
    better, _ = misdeeds.honest(misdeeds.whole)
    asked_twice = misdeeds.MODEL[6]
    script = Script({"api": [better, asked_twice, better, better]}, MODELS)
    with ScriptedModels(script) as server, _begun(toy, server) as campaign:
        stop = campaign.run(agent_named("api", campaign.arena), Limits(tokens=3000))
        _, first, second = campaign.ledger.experiments("t")
    assert (stop.kind, stop.kind.exit_code) == (StopKind.CAPPED, 3)
    assert len(server.asks) == 2
    assert (first.verdict, second.verdict) == ("keep", "invalid")
    assert "too little for a reply" in second.reason and second.usage.tokens_in == 1020


def _begun(toy: Path, server: ScriptedModels) -> Campaign:
    begin(toy, server)
    return Campaign.open(toy, "t")
