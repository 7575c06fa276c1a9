"""`overnight mcp` with the official SDK's client: a whole campaign, and what may go wrong in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters

from chat import chat, document, refused, session, with_limit, words
from overnight import Campaign
from stages import alive, eventually
from toy import ARENA, git, make_toy, overnight

SLOW = """. ./value.py
sleep ${NAP:-0}
cp value.py "$OVERNIGHT_OUT/value"
"""


async def tried(client: Client, what: str, **more: object) -> dict[str, object]:
    return document(await client.call_tool("try_change", {"what": what, **more}))


async def measuring(client: Client) -> None:
    """Wait until the run of an experiment is on the clock."""
    while True:
        running = document(await client.call_tool("status", {}))["running"]
        if isinstance(running, dict) and running["measured_since"]:
            return
        await anyio.sleep(0.1)


def go_on(answer: dict[str, object]) -> None:
    subprocess.run(["sh", "-c", str(answer["go_on"])], check=True, capture_output=True)


def test_a_whole_campaign(toy: Path, tmp_path: Path) -> None:
    """From the main working copy and from a worktree: a keep, a discard, a crash, an invalid."""
    mine = tmp_path / "mine"
    git(toy, "worktree", "add", "--quiet", "--detach", str(mine))

    async def talk(client: Client) -> None:
        assert "`try_change`" in (client.instructions or "")
        assert "Nothing has been measured yet" in words(await client.call_tool("brief", {}))
        assert "no campaign" in refused(await client.call_tool("status", {}))

        (toy / "value.py").write_text("X=5\n")
        kept = await tried(client, "set X to 5", why="closer to 3", expected=4.5)
        assert (kept["verdict"], kept["score"], kept["expected"]) == ("keep", 2.0, 4.5)
        assert (kept["hypothesis"], kept["agent"]) == ("closer to 3", "mcp:a chat")
        assert kept["incumbent"] == {"n": 1, "score": 2.0, "candidate": kept["candidate"]}
        assert kept["branch"] == "overnight/t" and "claimed: 7" in str(kept["log_tail"])

        go_on(kept)
        assert git(toy, "diff") == "", "the win is what the working copy stands on"

        (mine / "value.py").write_text("X=6\n")
        stale = await tried(client, "set X to 6", folder=str(mine))
        assert stale["verdict"] == "stale" and "#1" in str(stale["reason"])
        git(mine, "restore", ".")
        go_on(stale)
        (mine / "value.py").write_text("X=12\n")
        lost = await tried(client, "set X to 12", folder=str(mine))
        assert (lost["verdict"], lost["score"]) == ("discard", 9.0)

        (mine / "value.py").write_text("echo 'no such luck' >&2; exit 3\n")
        crashed = await tried(client, "a shell script", folder=str(mine))
        assert crashed["verdict"] == "crash" and "exit code 3" in str(crashed["reason"])
        assert str(crashed["log_tail"]).endswith("no such luck")

        git(mine, "restore", ".")
        (mine / "score.py").write_text("print('{\"loss\": 0}')\n")
        invalid = await tried(client, "a better referee", folder=str(mine))
        assert invalid["verdict"] == "invalid" and "value.py" in str(invalid["reason"])
        assert "is the same as in HEAD" in str(invalid["reason"])

        note = document(await client.call_tool("note", {"words": "X beyond 10 is\nworse"}))
        assert "mcp:a chat: X beyond 10 is" in str(note["note"])
        brief = words(await client.call_tool("brief", {}))
        assert "set X to 5" in brief and "no such luck" in brief and "X beyond 10" in brief

        rows = document(await client.call_tool("results", {"verdict": "crash"}))["experiments"]
        assert isinstance(rows, list) and [row["n"] for row in rows] == [crashed["n"]]
        shown = document(await client.call_tool("show", {"n": 1}))
        assert "+X=5" in str(shown["diff"]) and shown["verdict"] == "keep"
        assert "it has 0 to" in refused(await client.call_tool("show", {"n": 2**63}))
        status = document(await client.call_tool("status", {}))
        assert (status["wins"], status["running"], status["tag"]) == (1, None, "t")

    chat(toy, talk)
    log = json.loads(overnight(toy, "log", "--json").stdout)
    verdicts = ["keep", "keep", "stale", "discard", "crash", "invalid"]
    assert [e["verdict"] for e in log] == verdicts
    assert git(toy, "show", "overnight/t:value.py") == "X=5\n"
    assert (toy / "value.py").read_text() == "X=5\n" and git(toy, "diff", "--cached") == ""


def test_the_newest_protocol_offers_the_same_tools_with_schemas(toy: Path) -> None:
    async def talk(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"brief", "try_change", "results", "show", "note", "status"}
        for tool in tools.values():
            assert len(tool.description or "") > 80
            assert tool.input_schema["additionalProperties"] is False
            for taken in tool.input_schema["properties"].values():
                assert taken["description"]
        assert tools["try_change"].input_schema["required"] == ["what"]
        for tool in tools.values():
            writes = tool.name in ("try_change", "note")
            assert tool.annotations and tool.annotations.read_only_hint is not writes
        (toy / "value.py").write_text("X=4\n")
        assert (await tried(client, "set X to 4"))["verdict"] == "keep"

    chat(toy, talk, mode="auto")


MISTAKES: list[tuple[str, dict[str, object], str]] = [
    ("try_change", {}, "try_change: what: Field required. Its arguments: what, why, expected"),
    ("try_change", {"what": "x", "gain": 1}, "gain: Extra inputs"),
    ("try_change", {"what": "x", "expected": "much"}, "expected: "),
    ("try_change", {"what": "x", "folder": "/nowhere"}, "/nowhere is not a folder"),
    ("try_change", {"what": "x", "folder": "/"}, "arena.toml"),
    ("try_change", {"what": " \n"}, "the message is empty"),
    ("show", {"n": 7}, "no campaign yet"),
    ("results", {"last": 0}, "last: "),
    ("note", {"words": "x" * 2001}, "at most 2000 characters"),
    ("note", {"words": " "}, "the note is empty"),
    ("report", {}, "unknown tool report; expected one of brief, try_change"),
]


def test_a_mistake_is_a_sentence(toy: Path) -> None:
    async def talk(client: Client) -> None:
        for tool, given, said in MISTAKES:
            assert said in refused(await client.call_tool(tool, given)), (tool, given)

    chat(toy, talk)
    assert not (toy / ".overnight" / "ledger.db").exists()


def test_a_broken_arena_is_a_sentence_and_the_session_goes_on(toy: Path) -> None:
    async def talk(client: Client) -> None:
        whole = (toy / "arena.toml").read_text()
        (toy / "arena.toml").write_text("budget = 1\n")
        assert "arena.toml" in refused(await client.call_tool("brief", {}))
        (toy / "arena.toml").write_text(whole)
        assert "Find the best X." in words(await client.call_tool("brief", {}))

    chat(toy, talk)


def slow(folder: Path) -> Path:
    """A toy whose baseline is measured, and whose runs sleep for $NAP seconds from now on."""
    arena = ARENA.replace('budget = "20s"', 'budget = "60s"\nenv = ["NAP"]')
    toy = make_toy(folder / "arena", arena, run=SLOW)
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(_Nobody())
    return toy


class _Nobody:
    name = "nobody"

    def propose(self, bench: object) -> None:
        return None


def test_a_long_measurement_tells_what_is_on_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = slow(tmp_path)
    monkeypatch.setenv("NAP", "5")
    told: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def talk(client: Client) -> None:
        (toy / "value.py").write_text("X=12\n")
        asked = {"what": "sleep on it"}
        # Silence would end this call: the server has to be heard from.
        await client.call_tool("try_change", asked, progress_callback=hear)

    chat(toy, talk)
    assert len(told) >= 2 and sorted(told) == told
    clock = re.compile(r"#1 sleep on it, measurement 1: \d\.\d s of 60 s")
    assert any(clock.fullmatch(str(message)) for _, message in told), told


def test_a_cancelled_try_ends_what_runs_and_leaves_a_sound_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = slow(tmp_path)
    monkeypatch.setenv("NAP", "60.0625")

    async def talk(client: Client) -> None:
        (toy / "value.py").write_text("X=5\n")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "try_change", {"what": "to be cancelled"})
                await measuring(client)
                scope.cancel()
        with anyio.fail_after(20):
            while document(await client.call_tool("status", {}))["running"]:
                await anyio.sleep(0.1)
        status = document(await client.call_tool("status", {}))
        assert status["verdicts"] == {"invalid": 1}
        shown = document(await client.call_tool("show", {"n": 1}))
        assert "before it was judged" in str(shown["reason"]) and shown["candidate"]
        assert alive("sleep 60.0625") == []

    chat(toy, talk)
    monkeypatch.setenv("NAP", "0")

    async def again(client: Client) -> None:
        kept = await tried(client, "once more")
        assert (kept["n"], kept["verdict"], kept["score"]) == (2, "keep", 2.0)

    chat(toy, again)


def test_a_client_that_goes_away_leaves_a_sound_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = slow(tmp_path)
    monkeypatch.setenv("NAP", "60.125")

    async def leave() -> None:
        async with session(toy) as client, anyio.create_task_group() as group:
            (toy / "value.py").write_text("X=5\n")
            group.start_soon(client.call_tool, "try_change", {"what": "left alone"})
            await measuring(client)
            group.cancel_scope.cancel()

    with_limit(leave)
    assert alive("sleep 60.125") == []
    (experiment,) = json.loads(overnight(toy, "log", "--json", "--last", "1").stdout)
    assert (experiment["n"], experiment["verdict"]) == (1, "invalid")


def test_a_second_driver_is_told_who_is_at_work_and_may_look_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = slow(tmp_path)
    monkeypatch.setenv("NAP", "8")
    done: list[dict[str, object]] = []

    async def both() -> None:
        async with session(toy) as one, session(toy) as two, anyio.create_task_group() as group:
            (toy / "value.py").write_text("X=12\n")

            async def first() -> None:
                done.append(await tried(one, "the first"))

            group.start_soon(first)
            await measuring(two)
            for client in (two, one):
                busy = await client.call_tool("try_change", {"what": "the second"})
                assert "already being driven by process" in refused(busy)
            status = document(await two.call_tool("status", {}))
            assert isinstance(status["running"], dict) and status["running"]["n"] == 1
            assert "Find the best X." in words(await two.call_tool("brief", {}))
            assert "X 12" in words(await two.call_tool("note", {"words": "X 12 is under way"}))
        assert done[0]["verdict"] == "discard"

    with_limit(both)
    assert overnight(toy, "status").returncode == 0
    # Between two tries nobody holds the campaign.
    (toy / "value.py").write_text("X=11\n")
    monkeypatch.setenv("NAP", "0")
    assert overnight(toy, "try", "-m", "from elsewhere").returncode == 10


def raw(toy: Path) -> subprocess.Popen[str]:
    """A server that was asked to try a change, by a client that only writes and reads lines."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    }
    call = {"name": "try_change", "arguments": {"what": "five"}}
    asked: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    (toy / "value.py").write_text("X=5\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "overnight", "mcp", "-C", str(toy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    for message in asked:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
    return process


def test_nothing_but_the_protocol_is_on_standard_output(toy: Path) -> None:
    process = raw(toy)
    assert process.stdin and process.stdout and process.stderr
    answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stdout.read() == "" and process.stderr.read() == ""
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["verdict"] == "keep"
    assert alive(str(toy)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_runs_and_then_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    toy = slow(tmp_path)
    monkeypatch.setenv("NAP", "60.375")
    process = raw(toy)
    assert eventually(lambda: alive("sleep 60.375"), 60)
    process.send_signal(number)
    assert process.stdout and process.stderr
    assert process.wait(20) == 130 and alive("sleep 60.375") == []
    assert [json.loads(line)["id"] for line in process.stdout] == [1]
    assert process.stderr.read() == "overnight: interrupted; run the same command again\n"
    (experiment,) = json.loads(overnight(toy, "log", "--json", "--last", "1").stdout)
    assert (experiment["n"], experiment["verdict"]) == (1, "invalid")


def documented() -> dict[str, list[str]]:
    """The command line that each client's configuration in the guide starts."""
    guide = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
    section = guide.split("\n## MCP\n")[1].split("\n## ")[0]
    (text,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    server = json.loads(text)["mcpServers"]["overnight"]
    (table,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    codex = tomllib.loads(table)["mcp_servers"]["overnight"]
    lines = re.findall(r"^(claude|codex) mcp add overnight (.*)$", section, re.MULTILINE)
    return {
        "json": [server["command"], *server["args"]],
        "toml": [codex["command"], *codex["args"]],
        **{client: shlex.split(words.removeprefix("-- ")) for client, words in lines},
    }


def test_the_guides_configurations_start_a_server(toy: Path) -> None:
    found = documented()
    assert set(found) == {"json", "toml", "claude", "codex"}
    lines = {tuple(word.replace("/path/to/arena", str(toy)) for word in w) for w in found.values()}

    async def talk() -> None:
        for command, *given in lines:
            server = StdioServerParameters(command=command, args=given, env=dict(os.environ))
            async with Client(server) as client:
                assert len((await client.list_tools()).tools) == 6

    with_limit(talk)


def test_no_tool_tells_of_the_final_exam(tmp_path: Path) -> None:
    exam = '\n[holdout]\ncommand = "python3 score.py exam"\ntimeout = "20s"\nevery = 1\n'
    toy = make_toy(tmp_path / "arena", ARENA + exam)

    async def talk(client: Client) -> None:
        (toy / "value.py").write_text("X=5\n")
        kept = await tried(client, "set X to 5")
        assert kept["verdict"] == "keep"
        again = await tried(client, "nothing, so that the exam is sat")
        assert again["verdict"] == "invalid"
        asked = [("status", {}), ("results", {}), ("show", {"n": 0}), ("show", {"n": 1})]
        for name, given in asked:
            assert "holdout" not in words(await client.call_tool(name, given))

    chat(toy, talk)
    assert "holdout" in overnight(toy, "show", "0").stdout


def test_without_the_package_it_says_what_to_install(toy: Path) -> None:
    code = (
        "import sys; sys.modules['mcp'] = None; sys.argv = ['overnight', 'mcp'];"
        "from overnight.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=toy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "pip install 'overnight[mcp]'" in done.stderr
