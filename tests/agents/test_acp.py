"""Agents that speak the Agent Client Protocol: real programs, in real campaigns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acprun import agent, done_in, one_turn, transcript
from overnight import Campaign, Experiment, Limits
from overnight.agents.acp.agent import AcpAgent
from overnight.agents.named import agent_named
from overnight.arena.arena import Arena
from overnight.campaign.limits import StopKind
from overnight.core.errors import UsageError
from overnight.core.usage import Usage
from stages import alive
from toy import ARENA, git, make_toy
from writer import run, verdicts

SANDBOXES = ["bubblewrap", "landlock", "none"]


def used(experiment: Experiment) -> Usage:
    e = experiment
    return Usage(e.tokens_in, e.tokens_cached, e.tokens_out, e.dollars)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_campaign_keeps_discards_and_survives_a_crash(
    toy: Path, tmp_path: Path, sandbox: str
) -> None:
    idea = "# twenty\n\nHypothesis: more is better\n"
    turns = {
        "1": [
            ["think", "Three would be best.\n"],
            ["plan", "find the file"],
            ["say", "I look first.\n"],
            ["edit", "value.py", "X=5\n"],
            ["say", "Go closer"],
            ["say", " to three\n\nbecause the loss is the distance"],
        ],
        "2": [["write", "value.py", "X=20\n"], ["write", ".overnight-idea.md", idea]],
        "3": [["edit", "value.py", "nonsense(\n"]],
    }
    shared = {path.name for path in Path("/dev/shm").iterdir()}
    opened = len(os.listdir("/proc/self/fd"))
    done = done_in(toy, sandbox, agent(tmp_path / "agent", {"turns": turns}), 3)
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


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_permission_is_given_by_the_arenas_policy(toy: Path, tmp_path: Path, sandbox: str) -> None:
    steps = [
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
    proposer = one_turn(tmp_path / "agent", steps, network=False)
    done = done_in(toy, sandbox, proposer, 1)
    said = transcript(toy)
    assert verdicts(done) == ["keep", "keep"], done[-1].reason
    assert done[1].dropped == (() if sandbox == "none" else ("ran",))
    command = "no" if sandbox == "none" else "yes"
    for answer in (
        "[edit value.py: yes]", "[edit score.py: no]", "[delete run.sh: no]",
        "[edit ../../outside: no]", "[edit : no]", "[read program.md: yes]",
        "[read /etc/passwd: no]", "[search .: yes]", f"[execute : {command}]", "[fetch : no]",
        "[other score.py: no]", "[switch_mode : yes]",
    ):  # fmt: skip
        assert answer in said, said
    assert "score.py is not editable" in said and "the network is closed" in said


def test_an_agent_with_the_network_may_fetch(toy: Path, tmp_path: Path) -> None:
    steps = [["ask", "fetch", ""], ["edit", "value.py", "X=5\n"]]
    run(toy, one_turn(tmp_path / "agent", steps), experiments=1)
    assert "[fetch : yes]" in transcript(toy)


def test_files_are_served_within_the_worktree_and_written_where_editable(
    toy: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the answer\n")
    text = ARENA.replace('editable = ["value.py"]', 'editable = ["value.py", "lib/**"]')
    (toy / "arena.toml").write_text(text.replace("\n[metric]", 'hidden = ["key.txt"]\n\n[metric]'))
    (toy / "key.txt").write_text("the answer\n")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "-m", "hidden")
    steps = [
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
        ["shell", "rm lib link pipe big"],
        ["write", "lib/deep/new.py", "good = 1\n"],
        ["shell", f"ln -sf {secret} value.py"],
        ["write", "value.py", "X=5\n"],
        ["write", "value.py", "X" * 3_000_000],
    ]  # fmt: skip
    done = run(toy, one_turn(tmp_path / "agent", steps), experiments=1)
    said = transcript(toy)
    assert verdicts(done) == ["keep", "keep"], done[-1].reason + said
    assert "[read 'Find the best X.\\n']" in said and "[read 'lines = pathlib" in said
    assert "the answer" not in said and said.count("[not read: ") == 7
    assert "key.txt is hidden from agents" in said and "pipe is not a regular file" in said
    assert said.count("[not written: ") == 5 and "only value.py, lib/** may change" in said
    assert "3,000,000 bytes are more than" in said
    assert secret.read_text() == "the answer\n" and not (tmp_path / "planted.py").exists()
    assert git(toy, "show", f"{done[1].candidate}:lib/deep/new.py") == "good = 1\n"
    assert git(toy, "show", f"{done[1].candidate}:value.py") == "X=5\n"


def test_an_executable_file_stays_one_when_the_agent_writes_it(toy: Path, tmp_path: Path) -> None:
    (toy / "value.py").chmod(0o755)
    git(toy, "commit", "--quiet", "--all", "-m", "executable")
    run(toy, one_turn(tmp_path / "agent", [["write", "value.py", "X=5\n"]]), experiments=1)
    assert git(toy, "ls-tree", "overnight/t", "value.py").startswith("100755")


def test_terminals_are_not_offered(toy: Path, tmp_path: Path) -> None:
    steps = [["terminal"], ["edit", "value.py", "X=5\n"]]
    run(toy, one_turn(tmp_path / "agent", steps), experiments=1)
    assert "[no terminal: " in transcript(toy)


def test_what_a_proposal_used_is_what_the_agent_reports(toy: Path, tmp_path: Path) -> None:
    claude = {"totalTokens": 1160, "inputTokens": 10, "outputTokens": 50, "cachedReadTokens": 1000,
              "cachedWriteTokens": 100}  # fmt: skip
    thinker = {"totalTokens": 175, "inputTokens": 100, "outputTokens": 50, "thoughtTokens": 25}
    quota = {"quota": {"token_count": {"input_tokens": 44, "output_tokens": 9}}}
    turns = {
        "1": [["spend", 0.125], ["report", {"usage": claude}]],
        "2": [["report", {"usage": thinker}]],
        "3": [["report", {"_meta": quota}]],
        "4": [["report", {"_meta": {"quota": "much"}}]],
    }
    for n, steps in turns.items():
        steps.append(["edit", "value.py", f"X={10 - int(n)}\n"])
    done = run(toy, agent(tmp_path / "agent", {"turns": turns}), experiments=4)
    assert [used(e) for e in done[1:]] == [
        Usage(1110, 1000, 50, 0.125), Usage(100, None, 75), Usage(44, None, 9), Usage(),
    ]  # fmt: skip


def test_an_agent_above_its_share_is_stopped(toy: Path, tmp_path: Path) -> None:
    turns = {"1": [["spend", 0.75], ["hang"]], "2": [["spend", 0.1, 900], ["hang"]]}
    proposer = agent(tmp_path / "agent", {"turns": turns}, dollars=0.5, tokens=800)
    done = run(toy, proposer, experiments=2)
    assert "its share of a proposal: $0.75 of $0.50" in done[1].reason
    assert "900 of 800 tokens" in done[2].reason


def test_an_agent_is_stopped_where_what_the_campaign_may_use_is_used_up(
    toy: Path, tmp_path: Path
) -> None:
    proposer = one_turn(tmp_path / "agent", [["spend", 0.75], ["hang"]])
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(proposer, Limits(dollars=0.5))
        (done,) = campaign.ledger.experiments("t")[1:]
    assert stop.kind is StopKind.DOLLARS and stop.kind.exit_code == 3
    assert done.dollars == 0.75 and "its share of a proposal: $0.75 of $0.50" in done.reason


def test_the_model_is_chosen_where_the_agent_offers_it(toy: Path, tmp_path: Path) -> None:
    turns = {"1": [["say", "with {model}"], ["write", "value.py", "X=5\n"]]}
    script: dict[str, object] = {"models": ["small", "large"], "turns": turns}
    done = run(toy, agent(tmp_path / "agent", script, model="large"), experiments=1)
    assert "with large" in transcript(toy) and done[1].kept
    other = run(toy, agent(tmp_path / "agent", script, model="huge"), experiments=1)
    assert 'model = "huge": the agent has no such model; it offers: small, large' in other[0].reason
    del script["models"]
    none = run(toy, agent(tmp_path / "agent", script, model="huge"), experiments=1)
    assert "offers no choice of models" in none[0].reason


def test_a_key_that_the_agents_method_is_named_after_signs_it_in(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script: dict[str, object] = {
        "auth": ["chat-login", "scripted-key"],
        "turns": {n: [["edit", "value.py", "X=5\n"]] for n in ("1", "2")},
    }
    monkeypatch.setenv("SCRIPTED_KEY", "wrong")
    proposer = agent(tmp_path / "agent", script, env=("SCRIPTED_KEY",))
    refused = run(toy, proposer, experiments=1)[-1]
    assert "The method scripted-key gave: error -32000: the key is wrong" in refused.reason
    monkeypatch.setenv("SCRIPTED_KEY", "right")
    assert verdicts(run(toy, proposer, experiments=1)) == ["keep"]


@pytest.mark.parametrize("sandbox", SANDBOXES[:2])
def test_a_conversation_goes_on_until_a_failure(toy: Path, tmp_path: Path, sandbox: str) -> None:
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
    assert [e.dollars for e in done if e.n in (1, 2, 4, 5)] == [2.0, 2.0, 5.0, 5.0]


def test_a_conversation_that_is_full_or_cannot_be_loaded_is_begun_anew(
    toy: Path, tmp_path: Path
) -> None:
    steps: dict[str, list[list[object]]] = {
        str(n): [["say", "in {session}\n"], ["edit", "value.py", f"X={20 - n}\n"]]
        for n in range(1, 4)
    }
    steps["2"].append(["spend", 1.0, 600])
    steps["1"].append(["shell", "rm ~/remembered"])
    script: dict[str, object] = {"load": True, "turns": steps}
    run(toy, agent(tmp_path / "agent", script, session="resume"), experiments=3)
    assert "a new session, not the one before: error -32002" in transcript(toy, 2)
    assert "in session-of-2" in transcript(toy, 2) and "in session-of-3" in transcript(toy, 3)


def test_a_table_leads_to_the_agent_or_says_what_is_missing(tmp_path: Path) -> None:
    tables = '\n[agents.a]\nkind = "acp"\ncommand = "sh --acp"\n[agents.b]\nkind = "acp"\n'
    arena = Arena.load(make_toy(tmp_path / "arena", ARENA + tables))
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
    words = [sys.executable, "-c", code, str(tmp_path / "arena")]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert "UsageError" in said and "pip install 'overnight[acp]'" in said
