"""Agents that speak the Agent Client Protocol: real programs, alone and in campaigns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acprun import agent, scripted
from desk import Desk
from overnight import Campaign, Experiment, Limits
from overnight.agents.acp.agent import AcpAgent
from overnight.agents.named import agent_named
from overnight.core.errors import Trouble, UsageError
from overnight.core.usage import Allowance, Usage
from stages import alive
from toy import ARENA
from writer import verdicts

slow = pytest.mark.slow
SANDBOXES = ["bubblewrap", pytest.param("landlock", marks=slow), pytest.param("none", marks=slow)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def done_in(toy: Path, sandbox: str, proposer: AcpAgent, experiments: int) -> list[Experiment]:
    done: list[Experiment] = []
    with Campaign.open(toy, "t", sandbox) as campaign:
        campaign.run(proposer, Limits(experiments=experiments), done.append)
    return done


def transcript(toy: Path, n: int = 1) -> str:
    return (toy / ".overnight" / "logs" / "t" / str(n) / "agent.log").read_text()


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_campaign_keeps_discards_and_survives_a_crash(
    toy: Path, tmp_path: Path, sandbox: str
) -> None:
    idea = "# twenty\n\nHypothesis: more is better\n"
    turns: list[list[list[object]]] = [
        [
            ["think", "Three would be best.\n"],
            ["plan", "find the file"],
            ["say", "I look first.\n"],
            ["edit", "value.py", "X=5\n"],
            ["say", "Go closer"],
            ["say", " to three\n\nbecause the loss is the distance"],
        ],
        [["write", "value.py", "X=20\n"], ["write", ".overnight-idea.md", idea]],
        [["edit", "value.py", "nonsense(\n"]],
    ]
    shared = {path.name for path in Path("/dev/shm").iterdir()}
    opened = len(os.listdir("/proc/self/fd"))
    done = done_in(toy, sandbox, scripted(tmp_path / "agent", *turns), 3)
    assert verdicts(done) == ["keep", "keep", "discard", "crash"], [e.reason for e in done]
    assert (done[1].description, done[1].hypothesis) == ("Go closer to three", "")
    assert (done[2].description, done[2].hypothesis) == ("twenty", "more is better")
    assert done[3].description == "scripted, experiment 3" and done[2].dropped == ()
    said = transcript(toy)
    places = [said.index(words) for words in ("Three would", "find the file", "Edit value", "Go c")]
    assert places == sorted(places) and "Go closer to three" in said
    assert alive(str(tmp_path / "agent")) == []
    assert not list((toy / ".overnight" / "worktrees").rglob("agent*"))
    assert len(os.listdir("/proc/self/fd")) <= opened + 8  # a waiting supervisor, the ledger
    left = {path.name for path in Path("/dev/shm").iterdir()} - shared
    assert not [name for name in left if not name.startswith(("overnight-sandbox-", "PostgreSQL."))]


@pytest.mark.parametrize("sandbox", SANDBOXES[:2])
def test_permission_is_given_by_the_arenas_policy(toy: Path, tmp_path: Path, sandbox: str) -> None:
    steps: list[list[object]] = [
        ["ask", "edit", "value.py", "echo X=5 > value.py"],
        ["ask", "edit", "score.py", "echo > score.py"],
        ["ask", "delete", "run.sh", "rm run.sh"],
        ["ask", "edit", "../../outside", "touch ../../outside"],
        ["ask", "edit", ""],
        ["ask", "read", "program.md"],
        ["ask", "read", "/etc/passwd"],
        ["ask", "search", "."],
        ["ask", "execute", "", "touch ran"],
        ["ask", "fetch", ""],
        ["ask", "other", "score.py"],
        ["ask", "switch_mode", ""],
    ]
    done = done_in(toy, sandbox, scripted(tmp_path / "agent", steps, network=False), 1)
    said = transcript(toy)
    assert verdicts(done) == ["keep", "keep"], done[-1].reason
    assert done[1].dropped == ("ran",)
    for answer in (
        "[edit value.py: yes]", "[edit score.py: no]", "[delete run.sh: no]",
        "[edit ../../outside: no]", "[edit : no]", "[read program.md: yes]",
        "[read /etc/passwd: no]", "[search .: yes]", "[execute : yes]", "[fetch : no]",
        "[other score.py: no]", "[switch_mode : yes]",
    ):  # fmt: skip
        assert answer in said, said
    assert "score.py is not editable" in said and "this agent has no network" in said


def test_commands_need_a_sandbox_a_fetch_the_network_and_terminals_are_not_offered(
    desk: Desk, tmp_path: Path
) -> None:
    steps: list[list[object]] = [["ask", "execute", "", "touch ran"], ["ask", "fetch", ""]]
    desk.ask(scripted(tmp_path / "agent", [*steps, ["terminal"]]))
    for answer in ("[execute : no]", "[fetch : yes]", "[no terminal: "):
        assert answer in desk.said()


def test_files_are_served_within_the_worktree_and_written_where_editable(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the answer\n")
    text = ARENA.replace('editable = ["value.py"]', 'editable = ["value.py", "lib/**"]')
    desk = Desk(tmp_path, text.replace("\n[metric]", 'hidden = ["key.txt"]\n\n[metric]'))
    (desk.arena.root / "key.txt").write_text("the answer\n")
    (desk.arena.root / "value.py").chmod(0o755)
    steps: list[list[object]] = [
        ["read", "program.md"],
        ["read", "score.py", 2, 1],
        ["read", "key.txt"],
        ["shell", f"ln -s {secret} link; ln -s {tmp_path} lib; mkfifo pipe"],
        ["shell", "head -c 9000000 /dev/zero > big"],
        ["read", "link"],
        ["read", "lib/secret"],
        ["read", "pipe"],
        ["read", "big"],
        ["read", "no such file"],
        ["read", str(secret)],
        ["write", "lib/planted.py", "bad = 1\n"],
        ["write", "score.py", "print(0)\n"],
        ["write", ".git/config", "bad\n"],
        ["write", "../../../planted", "bad\n"],
        ["write", "value.py", "X=4\n"],
        ["shell", "test -x value.py && touch executable; rm lib link pipe big"],
        ["write", "lib/deep/new.py", "good = 1\n"],
        ["shell", f"ln -sf {secret} value.py"],
        ["write", "value.py", "X=5\n"],
        ["write", "value.py", "X" * 3_000_000],
    ]
    desk.ask(scripted(tmp_path / "agent", steps))
    said = desk.said()
    assert "[read 'Find the best X.\\n']" in said and "[read 'lines = pathlib" in said
    assert "the answer" not in said and said.count("[not read: ") == 7
    assert "key.txt is hidden from agents" in said and "pipe is not a regular file" in said
    assert said.count("[not written: ") == 5 and "only value.py, lib/** may change" in said
    assert "3,000,000 bytes are more than" in said
    assert secret.read_text() == "the answer\n" and not (tmp_path / "planted.py").exists()
    assert (desk.now("lib/deep/new.py"), desk.now()) == ("good = 1\n", "X=5\n")
    assert (desk.tree / "executable").exists(), "a file keeps its permissions"


def test_what_a_proposal_used_is_what_the_agent_reports(desk: Desk, tmp_path: Path) -> None:
    claude = {"totalTokens": 1160, "inputTokens": 10, "outputTokens": 50, "cachedReadTokens": 1000,
              "cachedWriteTokens": 100}  # fmt: skip
    thinker = {"totalTokens": 175, "inputTokens": 100, "outputTokens": 50, "thoughtTokens": 25}
    quota = {"quota": {"token_count": {"input_tokens": 44, "output_tokens": 9}}}
    turns: list[list[list[object]]] = [
        [["spend", 0.125], ["report", {"usage": claude}]],
        [["report", {"usage": thinker}]],
        [["report", {"_meta": quota}]],
        [["report", {"_meta": {"quota": "much"}}]],
    ]
    proposer = scripted(tmp_path / "agent", *turns)
    ideas = [desk.ask(proposer) for _ in turns]
    assert [idea.usage for idea in ideas if idea] == [
        Usage(1110, 1000, 50, 0.125), Usage(100, None, 75), Usage(44, None, 9), Usage(),
    ]  # fmt: skip


def test_an_agent_is_ended_at_its_limits_and_at_those_of_the_campaign(
    desk: Desk, tmp_path: Path
) -> None:
    turns: list[list[list[object]]] = [
        [["spend", 0.75], ["hang"]],
        [["spend", 0.1, 900], ["hang"]],
        [["spend", 0.45], ["hang"]],
    ]
    proposer = scripted(tmp_path / "agent", *turns, dollars=0.5, tokens=800)
    errors = [desk.refused(proposer) for _ in turns[:2]]
    errors.append(desk.refused(proposer, allowance=Allowance(dollars=0.4)))
    limits = ["$0.75 of $0.50", "900 of 800 tokens", "$0.45 of $0.40"]
    for error, limit in zip(errors, limits, strict=True):
        assert error.trouble is Trouble.LIMIT
        assert f"its limit for one proposal: {limit}" in str(error)
    assert errors[0].usage and errors[0].usage.dollars == 0.75


def test_what_a_campaign_has_left_of_its_tokens_is_no_limit_of_the_context(
    desk: Desk, tmp_path: Path
) -> None:
    steps: list[list[object]] = [["spend", 0.1, 900], ["edit", "value.py", "X=5\n"]]
    idea = desk.ask(scripted(tmp_path / "agent", steps), allowance=Allowance(tokens=500))
    assert idea and desk.now() == "X=5\n"


def test_the_model_is_chosen_where_the_agent_offers_it(desk: Desk, tmp_path: Path) -> None:
    script: dict[str, object] = {"turns": {"1": [["say", "with {model}"]]}}
    offers = {**script, "models": ["small", "large"]}
    desk.ask(agent(tmp_path / "agent", offers, model="large"))
    assert "with large" in desk.said()
    error = desk.refused(agent(tmp_path / "agent", offers, model="huge"))
    assert 'model = "huge": the agent has no such model; it offers: small, large' in str(error)
    error = desk.refused(agent(tmp_path / "agent", script, model="huge"))
    assert "offers no choice of models" in str(error)


def test_a_key_that_the_agents_method_is_named_after_signs_it_in(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script: dict[str, object] = {"auth": ["chat-login", "scripted-key"], "turns": {}}
    proposer = agent(tmp_path / "agent", script, env=("SCRIPTED_KEY",))
    monkeypatch.setenv("SCRIPTED_KEY", "wrong")
    error = desk.refused(proposer)
    assert "The method scripted-key gave: error -32000: the key is wrong" in str(error)
    monkeypatch.setenv("SCRIPTED_KEY", "right")
    assert desk.ask(proposer)


@pytest.mark.parametrize("sandbox", SANDBOXES[:2])
def test_a_conversation_continues_until_a_failure(toy: Path, tmp_path: Path, sandbox: str) -> None:
    turns: dict[str, list[list[object]]] = {
        str(n): [
            ["say", "in {session}\n"],
            ["spend", 1.0 + n],
            ["edit", "value.py", f"X={20 - n}\n"],
        ]
        for n in range(1, 6)
    }
    turns["3"] = [["fail", -32603, "lost"]]
    script: dict[str, object] = {"load": True, "turns": turns}
    proposer = agent(tmp_path / "agent", script, session="resume", env=("HOME",))
    done = done_in(toy, sandbox, proposer, 2)
    fresh = agent(tmp_path / "agent", script, session="resume")
    done += done_in(toy, sandbox, fresh, 3)
    sessions = ["session-of-1", "session-of-1", None, "session-of-4", "session-of-4"]
    for n, session in enumerate(sessions, 1):
        assert session is None or f"in {session}" in transcript(toy, n), transcript(toy, n)
    assert "an old word" not in transcript(toy, 2)
    assert [e.usage.dollars for e in done if e.n in (1, 2, 4, 5)] == [2.0, 2.0, 5.0, 5.0]


def test_a_conversation_that_is_full_or_cannot_be_loaded_starts_anew(
    desk: Desk, tmp_path: Path
) -> None:
    turns: dict[str, list[list[object]]] = {str(n): [["say", "in {session}\n"]] for n in (1, 2, 3)}
    turns["1"].append(["shell", "rm ~/remembered"])
    turns["2"].append(["spend", 1.0, 600])
    script: dict[str, object] = {"load": True, "turns": turns}
    for _ in turns:
        desk.ask(agent(tmp_path / "agent", script, session="resume"))
    assert "a new session, not the one before: error -32002" in desk.said(2)
    assert "in session-of-2" in desk.said(2) and "in session-of-3" in desk.said(3)


def test_a_table_leads_to_the_agent_or_says_what_is_missing(tmp_path: Path) -> None:
    tables = '\n[agents.a]\nkind = "acp"\ncommand = "sh --acp"\n[agents.b]\nkind = "acp"\n'
    arena = Desk(tmp_path, ARENA + tables).arena
    assert agent_named("a", arena) == AcpAgent("a", arena.agents["a"])
    with pytest.raises(UsageError, match=r'\[agents.b\]: kind = "acp" needs `command`'):
        agent_named("b", arena)
    code = (
        "import sys; sys.modules['acp'] = None\n"
        "from pathlib import Path\n"
        "from overnight.agents.named import agent_named\n"
        "from overnight.arena.arena import Arena\n"
        "agent_named('a', Arena.load(Path(sys.argv[1])))\n"
    )
    words = [sys.executable, "-c", code, str(arena.root)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert "UsageError" in said and "pip install 'overnight[acp]'" in said
