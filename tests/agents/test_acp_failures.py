"""How agents that speak the Agent Client Protocol fail: each in a sentence, at no other cost."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from acprun import agent, one_turn, transcript
from overnight import Campaign, Limits
from overnight.agents.acp.agent import AcpAgent
from overnight.core.errors import AgentError
from stages import alive
from writer import run, verdicts

FAILURES = {
    "a program that is missing": ("no-such-agent --acp", "is it installed and on PATH", "broken"),
    "a program that speaks something else": ("echo Welcome!; cat", "'Welcome!'", "broken"),
    "a program that says everything back": ("cat", "does not speak the Agent", "broken"),
    "a program that ends at once": ("exit 3", "exit code 3 before its turn was over", "broken"),
    "another version": ({"version": 7}, "speaks version 7", "broken"),
    "a sign-in": ({"auth": ["chat", "api-key"]}, "Chat (chat), Api-Key (api-key)", "sign-in"),
    "a death": ([["die", 9]], "exit code 9 before its turn was over\nout of luck", "broken"),
    "a refusal": ([["stop", "refusal"]], "refused to go on", "no change"),
    "too many tokens": ([["stop", "max_tokens"]], "most tokens", "limit"),
    "too many requests": ([["stop", "max_turn_requests"]], "as many requests", "limit"),
    "a cancel of its own": ([["stop", "cancelled"]], "which nobody did", "broken"),
    "a rate limit": ([["fail", -32603, "API Error: 429 slow down"]], "429 slow down", "rate limit"),
    "overload": ([["fail", -32603, "Overloaded (529)"]], "529", "overload"),
    "a key refused": ([["fail", -32603, "401 invalid x-api-key"]], "401", "sign-in"),
    "no network": ([["fail", -32603, "getaddrinfo ENOTFOUND"]], "ENOTFOUND", "network"),
    "a fault": ([["fail", -32603, "list index out of range"]], "list index", "broken"),
    "a flood": ([["flood", 50_000_000]], "a message of more than 16,000,000 bytes", "broken"),
    "an answer that is none": ([["raw", '{"jsonrpc":"2.0","id":2,"result":7}'], ["hang"]],
                               "what the protocol does not know", "broken"),
    "no edit of a file": ([["say", "all is fine"]], "nothing editable was changed", None),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_told_in_a_sentence_and_costs_one_proposal_at_most(
    toy: Path, tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    how, words, trouble = FAILURES[what]
    caught: list[AgentError] = []

    class Watched(AcpAgent):
        def propose(self, bench):  # type: ignore[no-untyped-def]
            try:
                return super().propose(bench)
            except AgentError as error:
                caught.append(error)
                raise

    turns: dict[str, object] = {"2": [["edit", "value.py", "X=5\n"]]}
    script = {**how} if isinstance(how, dict) else {}
    script["turns"] = turns if not isinstance(how, list) else {**turns, "1": how}
    made = agent(tmp_path / "agent", script)
    line = how if isinstance(how, str) else str(made.table.command)
    table = made.table.model_copy(update={"command": line})
    begun = time.monotonic()
    with Campaign.open(toy, "t") as campaign, suppress(AgentError):
        campaign.try_(Watched("scripted", table))
    with Campaign.open(toy, "t") as campaign:
        done = campaign.ledger.experiments("t")
    passes = bool(caught) and caught[0].trouble.passes
    assert verdicts(done) == ["keep", "invalid"][: 1 if passes else 2]
    reason = str(caught[0]) if passes else done[1].reason
    assert words in reason and "Traceback" not in reason
    assert [str(error.trouble) for error in caught] == ([trouble] if trouble else [])
    assert time.monotonic() - begun < 30
    assert alive(str(tmp_path / "agent")) == [] and capfd.readouterr().err == ""
    if what == "a death":
        assert verdicts(run(toy, made, experiments=1)) == ["keep"]


def test_what_is_no_message_is_passed_over_and_written_down(
    toy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
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
    done = run(toy, one_turn(tmp_path / "agent", steps), experiments=1)
    said = transcript(toy)
    assert done[1].verdict == "keep", done[1].reason
    assert "no JSON: 'npm notice" in said and said.count("not understood") == 2
    assert "\x1b" not in said and "\x07" not in said and capfd.readouterr().err == ""


def test_an_agent_that_never_reads_its_answers_is_ended(toy: Path, tmp_path: Path) -> None:
    request = '{"jsonrpc":"2.0","id":"x","method":"%s"}' % ("no/such" * 1000)
    steps: list[list[object]] = [["raw", request, 5000], ["hang", True]]
    done = run(toy, one_turn(tmp_path / "agent", steps, timeout="60s"), experiments=1)
    assert "does not read its answers" in done[1].reason


def test_an_agent_that_hangs_is_asked_to_stop_and_then_ended(toy: Path, tmp_path: Path) -> None:
    turns = {
        "1": [["spend", 0.25], ["hang"], ["edit", "value.py", "X=5\n"]],
        "2": [["spawn", "sleep 97.25"], ["hang", True]],
    }
    begun = time.monotonic()
    proposer = agent(tmp_path / "agent", {"turns": turns}, timeout="4s")
    done = run(toy, proposer, experiments=2)
    assert verdicts(done) == ["keep", "invalid", "invalid"]
    for e in done[1:]:
        assert "was still working after 4 s and was ended" in e.reason
    assert time.monotonic() - begun < 25
    assert alive("sleep 97.25") == [] and alive(str(tmp_path / "agent")) == []


def test_a_stop_is_heard_at_once(toy: Path, tmp_path: Path) -> None:
    proposer = one_turn(tmp_path / "agent", [["spend", 0.25], ["say", "I begin\n"], ["hang", True]])
    told: list[float] = []
    with Campaign.open(toy, "t") as campaign:

        def stop() -> None:
            log = toy / ".overnight" / "logs" / "t" / "1" / "agent.log"
            while not (log.exists() and "I begin" in log.read_text()):
                time.sleep(0.05)
            told.append(time.monotonic())
            campaign.stopping.set()

        threading.Thread(target=stop, daemon=True).start()
        campaign.run(proposer, Limits(experiments=1))
        assert time.monotonic() - told[0] < 3
        assert campaign.book.latest.n == 0
        (account,) = campaign.ledger.spent("t")
    assert (account.proposals, account.dollars) == (1, 0.25), "and what it used is told"
    assert alive(str(tmp_path / "agent")) == []
