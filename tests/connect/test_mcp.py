"""`overnight mcp` with the official SDK's client: the loop, the other tools, what may go wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import anyio
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult

from chat import chat, document, refused, session, with_limit, words
from contracts.trying import Answer, Change, Driver, Loop, TryContract
from stages import alive, eventually
from toy import ARENA, command, make_toy

SLEEP = f"sleep 60.5{os.getpid()}"
"""Other tests may run beside this one."""


async def tried(client: Client, what: str, **more: object) -> dict[str, object]:
    return document(await client.call_tool("try_change", {"what": what, **more}))


class Chat(Driver):
    """One session, which is opened anew when the client has gone away."""

    author = "mcp:a chat"
    endings = ("the call is cancelled", "the client goes away")

    def __init__(self, toy: Path) -> None:
        self.toy = toy
        self._session = ExitStack()
        self.open()

    def open(self) -> None:
        self._portal = self._session.enter_context(start_blocking_portal())
        client = self._portal.wrap_async_context_manager(session(self.toy))
        self._client = self._session.enter_context(client)

    def close(self) -> None:
        self._session.close()

    def call(self, tool: str, **given: object) -> CallToolResult:
        return self._start(tool, given).result(120)

    def tried(self, change: Change) -> Answer:
        return document(self._try(change))

    def refused(self, change: Change) -> str:
        return refused(self._try(change))

    def begin(self, what: str) -> None:
        self._begun = self._start("try_change", {"what": what})

    def end(self, how: str) -> None:
        if how == "the client goes away":
            self.close()
            self.open()
        self._begun.cancel()
        assert eventually(lambda: document(self.call("status"))["running"] is None, 30)

    def _try(self, change: Change) -> CallToolResult:
        where = None if change.folder is None else str(change.folder)
        return self.call("try_change", **{**asdict(change), "folder": where})

    def _start(self, tool: str, given: dict[str, object]) -> Future[CallToolResult]:
        return self._portal.start_task_soon(self._client.call_tool, tool, given)


class TestChat(TryContract):
    @classmethod
    @contextmanager
    def make(cls, toy: Path) -> Iterator[Chat]:
        with closing(Chat(toy)) as chat:
            yield chat

    def test_the_other_tools_tell_of_the_campaign(self, loop: Loop) -> None:
        async def talk(client: Client) -> None:
            note = document(await client.call_tool("note", {"words": "X beyond 10 is\nworse"}))
            assert "mcp:a chat: X beyond 10 is" in str(note["note"])
            brief = words(await client.call_tool("brief", {}))
            assert "a win" in brief and "no such luck" in brief and "X beyond 10" in brief
            rows = document(await client.call_tool("results", {"verdict": "crash"}))["experiments"]
            assert isinstance(rows, list) and [row["description"] for row in rows] == ["a fault"]
            shown = document(await client.call_tool("show", {"n": 2}))
            assert "+X=5" in str(shown["diff"]) and shown["verdict"] == "keep"
            assert "it has 0 to" in refused(await client.call_tool("show", {"n": 2**63}))
            status = document(await client.call_tool("status", {}))
            assert (status["wins"], status["running"], status["tag"]) == (2, None, "t")

        chat(loop.toy, talk)


def test_the_newest_protocol_offers_the_same_tools_with_schemas(toy: Path) -> None:
    async def talk(client: Client) -> None:
        assert "`try_change`" in (client.instructions or "")
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
    ("status", {}, "no campaign"),
    ("show", {"n": 7}, "no campaign yet"),
    ("results", {"last": 0}, "last: "),
    ("note", {"words": "x" * 2001}, "at most 2000 characters"),
    ("note", {"words": " "}, "the note is empty"),
    ("report", {}, "unknown tool report; expected one of brief, try_change"),
]


def test_a_mistake_is_a_sentence_and_the_session_goes_on(toy: Path) -> None:
    async def talk(client: Client) -> None:
        for tool, given, said in MISTAKES:
            assert said in refused(await client.call_tool(tool, given)), (tool, given)
        whole = (toy / "arena.toml").read_text()
        (toy / "arena.toml").write_text("budget = 1\n")
        assert "arena.toml" in refused(await client.call_tool("brief", {}))
        (toy / "arena.toml").write_text(whole)
        brief = words(await client.call_tool("brief", {}))
        assert "Find the best X." in brief and "Nothing has been measured yet" in brief

    chat(toy, talk)
    assert not (toy / ".overnight" / "ledger.db").exists()


def test_a_long_measurement_tells_what_is_on_the_clock_and_others_may_look_on(toy: Path) -> None:
    told: list[tuple[float, str | None]] = []
    done: list[dict[str, object]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def both() -> None:
        async with session(toy) as one, session(toy) as two, anyio.create_task_group() as group:
            (toy / "value.py").write_text("X=12\nsleep 5\n")

            async def first() -> None:
                asked = {"what": "sleep on it"}
                # Silence would end this call: the server has to be heard from.
                answer = await one.call_tool("try_change", asked, progress_callback=hear)
                done.append(document(answer))

            group.start_soon(first)
            while not alive("sleep 5"):
                await anyio.sleep(0.05)
            for client in (two, one):
                busy = await client.call_tool("try_change", {"what": "the second"})
                assert "already running, in process" in refused(busy)
            status = document(await two.call_tool("status", {}))
            assert isinstance(status["running"], dict) and status["running"]["n"] == 1
            assert "Find the best X." in words(await two.call_tool("brief", {}))
            assert "X 12" in words(await two.call_tool("note", {"words": "X 12 is under way"}))

    with_limit(both)
    assert done[0]["verdict"] == "discard"
    assert len(told) >= 2 and sorted(told) == told
    clock = re.compile(r"#1 sleep on it, measurement 1: \d\.\d s of 20 s")
    assert any(clock.fullmatch(str(message)) for _, message in told), told


def raw(toy: Path, value: str) -> subprocess.Popen[str]:
    """A server that was asked to try a value, by a client that only writes and reads lines."""
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
    (toy / "value.py").write_text(value)
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
    process = raw(toy, "X=5\n")
    assert process.stdin and process.stdout and process.stderr
    answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stdout.read() == "" and process.stderr.read() == ""
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["verdict"] == "keep"
    assert alive(str(toy)) == []


def test_a_signal_ends_what_runs_and_then_the_server(toy: Path) -> None:
    for n, number in enumerate((signal.SIGINT, signal.SIGTERM), 1):
        process = raw(toy, f"X=5\n{SLEEP}\n")
        assert eventually(lambda: alive(SLEEP), 60), "its run never began"
        process.send_signal(number)
        assert process.stdout and process.stderr
        assert process.wait(20) == 130 and alive(SLEEP) == []
        assert [json.loads(line)["id"] for line in process.stdout] == [1]
        assert process.stderr.read() == "overnight: interrupted; run the same command again\n"
        (experiment,) = json.loads(command(toy, "log", "--json", "--last", "1").stdout)
        assert (experiment["n"], experiment["verdict"]) == (n, "invalid")


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
        for program, *given in lines:
            server = StdioServerParameters(command=program, args=given, env=dict(os.environ))
            async with Client(server) as client:
                assert len((await client.list_tools()).tools) == 6

    with_limit(talk)


def test_no_tool_shows_the_final_exam(tmp_path: Path) -> None:
    exam = '\n[holdout]\ncommand = "python3 score.py exam"\ntimeout = "20s"\nevery = 1\n'
    toy = make_toy(tmp_path / "arena", ARENA + exam)

    async def talk(client: Client) -> None:
        (toy / "value.py").write_text("X=5\n")
        kept = await tried(client, "set X to 5")
        assert kept["verdict"] == "keep"
        again = await tried(client, "nothing, so that the exam is sat")
        assert again["verdict"] == "invalid"
        asked: list[tuple[str, dict[str, object]]]
        asked = [("status", {}), ("results", {}), ("show", {"n": 0}), ("show", {"n": 1})]
        for name, given in asked:
            assert "holdout" not in words(await client.call_tool(name, given))

    chat(toy, talk)
    assert "holdout" in command(toy, "show", "0").stdout


def test_without_the_package_it_says_what_to_install(toy: Path) -> None:
    code = (
        "import sys; sys.modules['mcp'] = None; sys.argv = ['overnight', 'mcp'];"
        "from overnight.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=toy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "pip install 'overnight[mcp]'" in done.stderr
