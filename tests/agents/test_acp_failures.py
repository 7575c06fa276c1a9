"""How agents that speak the Agent Client Protocol fail: with a sentence, and no process left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from acprun import agent, scripted
from desk import Desk
from overnight.core.errors import Trouble
from stages import alive, eventually

FAILURES = {
    "a program that is missing": ("no-such-agent --acp", "is it installed and on PATH", "broken"),
    "a program that speaks something else": ("echo Welcome!; cat", "'Welcome!'", "broken"),
    "a program that says everything back": ("cat", "does not speak the Agent", "broken"),
    "a program that ends at once": ("exit 3", "exit code 3 before it was done", "broken"),
    "another version": ({"version": 7}, "speaks version 7", "broken"),
    "a sign-in": ({"auth": ["chat", "api-key"]}, "Chat (chat), Api-Key (api-key)", "sign-in"),
    "a death": ([["die", 9]], "exit code 9 before it was done\nout of luck", "broken"),
    "a refusal": ([["stop", "refusal"]], "refused to continue", "no change"),
    "too many tokens": ([["stop", "max_tokens"]], "limit of tokens", "limit"),
    "too many requests": ([["stop", "max_turn_requests"]], "limit of requests", "limit"),
    "a cancel of its own": ([["stop", "cancelled"]], "but it was not", "broken"),
    "a rate limit": ([["fail", -32603, "API Error: 429 slow down"]], "429 slow down", "rate limit"),
    "overload": ([["fail", -32603, "Overloaded (529)"]], "529", "overload"),
    "a key refused": ([["fail", -32603, "401 invalid x-api-key"]], "401", "sign-in"),
    "no network": ([["fail", -32603, "getaddrinfo ENOTFOUND"]], "ENOTFOUND", "network"),
    "a fault": ([["fail", -32603, "list index out of range"]], "list index", "broken"),
    "a flood": ([["flood", 20_000_000]], "a message of more than 16,000,000 bytes", "broken"),
    "an answer that is none": ([["raw", '{"jsonrpc":"2.0","id":2,"result":7}'], ["hang"]],
                               "not valid in the protocol", "broken"),
}  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_a_sentence(
    desk: Desk, tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    how, words, trouble = FAILURES[what]
    n = str(desk.asked + 1)
    script = {**how} if isinstance(how, dict) else {}
    made = agent(tmp_path / "agent", {"turns": {n: how if isinstance(how, list) else []}, **script})
    if isinstance(how, str):
        made = type(made)("scripted", made.table.model_copy(update={"command": how}))
    begun = time.monotonic()
    error = desk.refused(made)
    assert words in str(error) and error.trouble == trouble
    assert time.monotonic() - begun < 30
    assert alive(str(tmp_path / "agent")) == [] and capfd.readouterr().err == ""


def test_lines_that_are_not_messages_are_skipped_and_written_down(
    desk: Desk, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[list[object]] = [
        ["raw", "npm notice: a new version"],
        ["raw", "[" * 100_000],
        ["raw", '{"jsonrpc":"2.0","id":[1],"method":"session/update"}'],
        ["raw", '{"jsonrpc":"2.0","method":"session/update","params":{"bad":1}}'],
        ["raw", '{"jsonrpc":"2.0","method":"_vendor/news","params":{}}'],
        ["raw", '{"jsonrpc":"2.0","id":"a","method":"no/such"}'],
        ["raw", '{"jsonrpc":"2.0","id":"b","method":"fs/read_text_file","params":{}}'],
        ["say", "escape \x1b[2J and bell \x07\n"],
        ["edit", "value.py", "X=5\n"],
    ]
    script: dict[str, object] = {"turns": {str(desk.asked + 1): steps}}
    assert desk.ask(agent(tmp_path / "agent", script)) and desk.now() == "X=5\n"
    said = desk.said()
    assert "not JSON: 'npm notice" in said and said.count("not valid in the protocol") == 2
    assert "\x1b" not in said and "\x07" not in said and capfd.readouterr().err == ""


def test_an_agent_that_never_reads_its_answers_is_ended(tmp_path: Path) -> None:
    request = '{"jsonrpc":"2.0","id":"x","method":"%s"}' % ("no/such" * 1000)
    steps: list[list[object]] = [["raw", request, 5000], ["hang", True]]
    error = Desk(tmp_path).refused(scripted(tmp_path / "agent", steps, timeout="60s"))
    assert "does not read its answers" in str(error)


def test_an_agent_that_hangs_is_asked_to_stop_and_then_ended(tmp_path: Path) -> None:
    turns: list[list[list[object]]] = [
        [["spend", 0.25], ["hang"], ["edit", "value.py", "X=5\n"]],
        [["spawn", "sleep 97.25"], ["hang", True]],
    ]
    desk, begun = Desk(tmp_path), time.monotonic()
    proposer = scripted(tmp_path / "agent", *turns, timeout="3s")
    for _ in turns:
        error = desk.refused(proposer)
        assert error.trouble is Trouble.HUNG
        assert "was still working after 3 s and was ended" in str(error)
    assert time.monotonic() - begun < 25
    assert alive("sleep 97.25") == [] and alive(str(tmp_path / "agent")) == []


def test_a_stop_ends_a_proposal_at_once_and_keeps_what_it_used(tmp_path: Path) -> None:
    steps: list[list[object]] = [["spend", 0.25], ["say", "I begin\n"], ["hang", True]]
    desk, stopping, told = Desk(tmp_path), threading.Event(), [0.0]

    def stop() -> None:
        assert eventually(lambda: desk.log().exists() and "I begin" in desk.said(), 60)
        told[0] = time.monotonic()
        stopping.set()

    threading.Thread(target=stop, daemon=True).start()
    idea = desk.ask(scripted(tmp_path / "agent", steps), stopping=stopping)
    assert time.monotonic() - told[0] < 5
    assert idea and idea.usage.dollars == 0.25
    assert alive(str(tmp_path / "agent")) == []
