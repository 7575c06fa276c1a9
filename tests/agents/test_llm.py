"""A model as an agent, through the real LiteLLM, against a server that says what a test wants."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from contracts.agent import VALUE, AgentContract
from models import chat
from models.ask import Ask
from models.change import reply, said, searched
from models.reply import Drop, Hang, Message, Refuse, Reply, Say, Usage
from models.server import KEY, ScriptedModels, answering
from overnight import Campaign, Experiment, Idea, Limits
from overnight.agents.base import Agent, Workbench
from overnight.agents.llm.agent import LlmAgent
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from toy import ARENA, git, make_toy
from writer import run, verdicts


@dataclass
class Watched:
    """An agent of which a test sees what it raised and what it was asked with."""

    agent: LlmAgent
    raised: list[AgentError] = field(default_factory=list)
    benches: list[Workbench] = field(default_factory=list)
    name: str = "watched"

    def propose(self, bench: Workbench) -> Idea | None:
        self.benches.append(bench)
        try:
            return self.agent.propose(bench)
        except AgentError as error:
            self.raised.append(error)
            raise


def agent(server: ScriptedModels, model: str = "openai/some-model", **table: object) -> Watched:
    url = server.address if model.startswith("anthropic") else f"{server.address}/v1"
    settings = {"kind": "llm", "model": model, "url": url, "timeout": "60s", **table}
    return Watched(LlmAgent("mine", AgentTable.model_validate(settings)))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def one(
    toy: Path, answers: list[str | Reply], **table: object
) -> tuple[Experiment, Watched, ScriptedModels]:
    """One experiment with these answers."""
    with answering(*answers) as server:
        mine = agent(server, **table)
        done = run(toy, mine, experiments=1)
    return done[-1], mine, server


def trouble(toy: Path, *answers: str | Reply, **table: object) -> AgentError:
    """What the agent raised, when no second call was made for it."""
    done, mine, server = one(toy, list(answers), **table)
    assert done.verdict == "invalid" and not done.measurements
    assert len(server.asks) <= len(answers)
    (error,) = mine.raised
    assert str(error) == done.reason
    return error


class TestLlm(AgentContract):
    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        def next_one(ask: Ask) -> Reply:
            now = next(line for line in ask.latest.splitlines() if line.startswith("X="))
            return Say(reply(f"X={int(now.split('#')[0][2:]) - 1}"))

        with ScriptedModels(next_one) as self.server:
            yield

    def make(self, toy: Path) -> Agent:
        return agent(self.server).agent

    def test_it_sees_the_file_as_it_is(self, toy: Path) -> None:
        self.done(toy, 1)
        assert VALUE.strip() in self.server.asks[0].latest


@pytest.mark.parametrize("model", ["openai/some-model", "anthropic/claude-sonnet-4-5"])
def test_a_keep_a_discard_and_a_crash(toy: Path, model: str) -> None:
    with answering(
        said(searched("X=10", "X=5"), "five", "+4.5"),
        reply("X=90", "ninety"),
        reply("exit 3 # X=", "broken"),
    ) as server:
        done = run(toy, agent(server, model), experiments=3)
    assert verdicts(done) == ["keep", "keep", "discard", "crash"]
    kept = done[1]
    assert (kept.description, kept.hypothesis, kept.expected) == ("five", "it may help", 4.5)
    assert (kept.tokens_in, kept.tokens_cached, kept.tokens_out) == (1000, 800, 50)
    priced = model == "anthropic/claude-sonnet-4-5"
    assert kept.dollars == (pytest.approx(200 * 3e-6 + 800 * 3e-7 + 50 * 15e-6) if priced else None)
    assert "X=5" in server.asks[1].latest and "five" in server.asks[1].latest
    log = (toy / ".overnight" / "logs" / "t" / "1" / "agent.log").read_text()
    assert "===== user" in log and "TITLE: five" in log and "tokens_in 1000" in log


def test_two_bad_replies_are_no_proposal_and_cost_no_measurement(toy: Path) -> None:
    done, mine, server = one(toy, ["no idea", said(searched("X=11", "X=5"))])
    assert done.verdict == "invalid" and not done.measurements
    assert "no change in two replies" in done.reason and "does not occur" in done.reason
    (error,) = mine.raised
    assert error.trouble is Trouble.NO_CHANGE and error.usage is not None
    assert (error.usage.tokens_in, error.usage.tokens_out) == (2000, 100)
    assert len(server.asks) == 2
    *opening, second, again = (m["content"] for m in server.asks[1].body["messages"])
    assert opening == [m["content"] for m in server.asks[0].body["messages"]]
    assert second == "no idea" and "<<<<<<< SEARCH" in again
    assert "no line that begins with `TITLE:`" in again


def test_a_bad_reply_and_then_a_good_one_is_a_proposal(toy: Path) -> None:
    done, mine, _ = one(toy, ["", reply("X=5")])
    assert done.verdict == "keep" and mine.raised == [] and done.tokens_in == 2000


def test_a_protected_file_stays_as_it_is(toy: Path) -> None:
    cheat = said("score.py\n<<<<<<< WHOLE\nprint('{\"loss\": 0}')\n>>>>>>> WHOLE")
    done, _, _ = one(toy, [cheat])
    assert done.verdict == "invalid" and "score.py is not editable" in done.reason


def test_how_long_a_server_asks_to_be_left_alone_is_heard(toy: Path) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    said = ("90", soon, "soon", "9" * 400)
    with answering(*(Refuse(429, {"retry-after": words}) for words in said)) as server:
        mine = agent(server)
        with Campaign.open(toy, "t") as campaign:
            for _ in said:
                with pytest.raises(AgentError):
                    campaign.try_(mine)
    waits = [error.wait for error in mine.raised]
    assert waits[0] == 90 and 500 < waits[1] <= 600 and waits[2:] == [0, 0]


SAID = '{"error": {"type": "x", "message": "said by the server"}}'
USED = """{"choices": [{"message": {"role": "assistant", "content": %s}}], "usage": %s}"""


@pytest.mark.parametrize("count", ["-7", "9" * 400])
def test_a_number_of_tokens_that_cannot_be_costs_no_change(toy: Path, count: str) -> None:
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": 5, "total_tokens": 5}}'
    body = USED % (json.dumps(reply("X=5")), usage)
    done, _, _ = one(toy, [Refuse(200, body=body)])
    assert (done.verdict, done.tokens_in, done.tokens_out) == ("keep", None, 5)


FAULTS: list[tuple[Reply, Trouble, str]] = [
    (Refuse(401, body=SAID), Trouble.SIGN_IN, "HTTP 401"),
    (Refuse(403, body=SAID), Trouble.SIGN_IN, "HTTP 403"),
    (Refuse(429, body=SAID), Trouble.RATE, "rate limit .HTTP 429.: .*said by the server"),
    (Refuse(429, body='{"error": {"message": "insufficient_quota"}}'), Trouble.CREDIT, "quota"),
    (Refuse(404, body=SAID), Trouble.BROKEN, "check model and url"),
    (Refuse(400, body=SAID), Trouble.BROKEN, "HTTP 400"),
    (Refuse(500, body=SAID), Trouble.OVERLOAD, "HTTP 500"),
    (Refuse(503, body=SAID), Trouble.OVERLOAD, "HTTP 503"),
    (Refuse(529, body=SAID), Trouble.OVERLOAD, "HTTP 529"),
    (Drop(), Trouble.NETWORK, "is the server up"),
    (Refuse(200, body="<html>hello"), Trouble.BROKEN, "the call failed"),
    (Refuse(200, body="{}"), Trouble.BROKEN, "mine: "),
    (Refuse(200, body='{"choices": [], "content": []}'), Trouble.BROKEN, "mine: "),
    (Refuse(200, body="[" * 20_000), Trouble.BROKEN, "the call failed"),
    (Refuse(200, body=USED % ("1", "[]")), Trouble.BROKEN, r"^(?!.*Traceback).*the call failed"),
]


@pytest.mark.parametrize("model", ["openai/some-model", "anthropic/claude-sonnet-4-5"])
def test_what_goes_wrong_is_told_by_its_kind_and_is_not_tried_again(toy: Path, model: str) -> None:
    with answering(*(answer for answer, _, _ in FAULTS)) as server:
        mine = agent(server, model)
        with Campaign.open(toy, "t") as campaign:
            for answer, expected, _ in FAULTS:
                if expected.passes:
                    with pytest.raises(AgentError):
                        campaign.try_(mine)
                else:
                    done = campaign.try_(mine)
                    assert done and done.verdict == "invalid" and not done.measurements, answer
            numbers = [e.n for e in campaign.ledger.experiments("t")]
    assert len(server.asks) == len(FAULTS), "one call each"
    assert numbers == [0, *range(1, 1 + sum(not expected.passes for _, expected, _ in FAULTS))]
    for (answer, expected, words), error in zip(FAULTS, mine.raised, strict=True):
        assert error.trouble is expected, (answer, error)
        assert re.search(words, str(error)), (answer, error)
        assert "\n" not in str(error) and "Traceback" not in str(error)


def test_a_server_that_is_not_there_costs_no_experiment(toy: Path) -> None:
    with answering() as server, Campaign.open(toy, "t") as campaign:
        mine = agent(server, url="http://127.0.0.1:9")
        with pytest.raises(AgentError):
            campaign.try_(mine)
        assert [e.n for e in campaign.ledger.experiments("t")] == [0]
    (error,) = mine.raised
    assert error.trouble is Trouble.NETWORK and "127.0.0.1:9" in str(error)


def test_a_provider_that_does_not_exist_is_told(toy: Path) -> None:
    error = trouble(toy, model="some-model", url=None)
    assert error.trouble is Trouble.BROKEN and "check model" in str(error)


def test_a_hanging_server_ends_with_the_time_limit(toy: Path) -> None:
    began = time.monotonic()
    error = trouble(toy, Hang(60), timeout="2s")
    assert error.trouble is Trouble.HUNG and "within the 2 s" in str(error)
    assert time.monotonic() - began < 60


def test_a_stop_is_heard_while_the_model_thinks(toy: Path) -> None:
    first = Say("no change", Usage(tokens_in=900, tokens_out=60, cached=0))
    with answering(first, Hang(60)) as server, Campaign.open(toy, "t") as campaign:
        mine = agent(server, timeout="5m")
        ended: list[float] = []

        def drive() -> None:
            campaign.run(mine, Limits())
            ended.append(time.monotonic())

        thread = threading.Thread(target=drive)
        thread.start()
        while len(server.asks) < 2:
            time.sleep(0.05)
        asked = time.monotonic()
        campaign.stopping.set()
        thread.join(10)
        (account,) = campaign.ledger.spent("t")
    assert (account.tokens, account.unpriced) == (960, 1), "of what was answered"
    assert ended and ended[0] - asked < 3 and mine.raised == []


def test_an_endless_reply_is_read_in_bounds(toy: Path) -> None:
    error = trouble(toy, "x" * 50_000_000)
    assert error.trouble is Trouble.BROKEN and "more than 10,000,000 bytes" in str(error)
    log = toy / ".overnight" / "logs" / "t" / "1" / "agent.log"
    assert log.stat().st_size < 100_000


def test_a_long_reply_is_no_change_and_is_not_sent_back_whole(toy: Path) -> None:
    done, _, server = one(toy, [reply("x" * 5_000_000), reply("X=5")])
    assert done.verdict == "keep"
    assert len(json.dumps(server.asks[1].body)) < 60_000
    log = toy / ".overnight" / "logs" / "t" / "1" / "agent.log"
    assert log.stat().st_size < 1_200_000


def uncounted(text: str, finish: str = "stop") -> Refuse:
    """A reply that tells no usage, in the format of chat completions."""
    whole = json.loads(chat.plain(Message(text, None, Usage(), "some-model", "1")))
    whole["choices"][0]["finish_reason"] = finish
    del whole["usage"]
    return Refuse(200, body=json.dumps(whole))


def test_a_reply_that_was_cut_is_told_so(toy: Path) -> None:
    _, _, server = one(toy, [uncounted("TITLE: x", "length")])
    assert "for lack of tokens" in server.asks[1].latest


def test_unknown_usage_is_unknown(toy: Path) -> None:
    kept, _, _ = one(toy, [uncounted(reply("X=5"))])
    assert kept.verdict == "keep"
    assert (kept.tokens_in, kept.tokens_out, kept.dollars) == (None, None, None)


# -- limits


def test_a_prompt_beyond_the_tokens_of_a_proposal_is_not_sent(toy: Path) -> None:
    error = trouble(toy, tokens=500)
    assert error.trouble is Trouble.LIMIT and "tokens = 500" in str(error)


def test_what_is_left_of_the_tokens_bounds_the_reply(toy: Path) -> None:
    done, _, server = one(toy, [reply("X=5")], tokens=5000)
    assert done.verdict == "keep" and 1000 < server.asks[0].body["max_tokens"] < 4500


def test_a_second_call_that_the_tokens_do_not_allow_is_not_made(toy: Path) -> None:
    _, mine, server = one(toy, [Say("no", Usage(4000, 900, 0))], tokens=5000)
    (error,) = mine.raised
    assert len(server.asks) == 1 and error.trouble is Trouble.LIMIT
    assert "its first reply was no change" in str(error)
    assert error.usage is not None and error.usage.tokens_in == 4000


def test_dollars_bound_the_reply_by_the_prices_that_are_known(toy: Path) -> None:
    claude = "anthropic/claude-sonnet-4-5"
    done, _, server = one(toy, [reply("X=5")], model=claude, dollars=0.05)
    assert done.verdict == "keep" and 1000 < server.asks[0].body["max_tokens"] < 3333
    error = trouble(toy, model=claude, dollars=0.003)
    assert error.trouble is Trouble.LIMIT and "dollars = 0.003" in str(error)


def test_files_that_do_not_fit_the_models_window_are_told(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\n" + "# a line that says nothing\n" * 50_000)
    error = trouble(toy, model="openai/gpt-4o")
    assert error.trouble is Trouble.LIMIT and "reads at most 128,000" in str(error)


def test_files_that_no_model_could_read_are_told(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", value="X=10\n" + "#" * 11_000_000)
    assert "the largest is value.py" in str(trouble(toy))


# -- the prompt


def test_only_plain_editable_text_is_shown(tmp_path: Path) -> None:
    text = ARENA.replace('["value.py"]', '["value.py", "model/**"]')
    toy = make_toy(tmp_path / "arena", text)
    (toy / "model").mkdir()
    (toy / "model" / "a.py").write_text("inside = 1\n")
    (toy / "model" / "weights").write_bytes(b"\xff\x00\xfe")
    (toy / "model" / "link.py").symlink_to("../score.py")
    git(toy, "add", "--all")
    git(toy, "commit", "--quiet", "-m", "more")
    _, _, server = one(toy, [reply("X=5")])
    sent = json.dumps(server.asks[0].body)
    assert "inside = 1" in sent and "the referee speaks" not in sent
    assert "model/weights is no text" in sent


def test_what_stays_the_same_comes_first_and_is_marked_for_the_cache(toy: Path) -> None:
    with answering(reply("X=90"), reply("X=91"), reply("X=92")) as server:
        run(toy, agent(server, "anthropic/claude-sonnet-4-5"), experiments=3)
    first, second = (ask.body["messages"][0]["content"] for ask in server.asks[1:])
    assert ["cache_control" in part for part in first] == [True, True, False]
    assert first[:2] == second[:2] and first[2] != second[2]
    assert server.asks[1].body["system"] == server.asks[2].body["system"]
    assert first[2]["text"].startswith("\n## Where we stand"), "the brief begins there to change"


def test_a_server_of_ones_own_gets_one_plain_text(toy: Path) -> None:
    _, _, server = one(toy, [reply("X=5")])
    messages = server.asks[0].body["messages"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert all(isinstance(m["content"], str) for m in messages)


# -- keys


def held(folder: Path, needle: str) -> list[Path]:
    files = (f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    return [file for file in files if needle.encode() in file.read_bytes()]


@pytest.mark.parametrize("model", ["openai/some-model", "anthropic/claude-sonnet-4-5"])
def test_a_key_reaches_its_server_and_nothing_on_disk(
    toy: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    echo = f'{{"error": {{"type": "x", "message": "wrong key {KEY}, Bearer {KEY}"}}}}'
    with answering(Refuse(400, body=echo), KEY, reply(f"X=5 # {KEY}", KEY), reply("X=6")) as server:
        mine = agent(server, model, env=["MY_KEY"])
        done = run(toy, mine, experiments=3)
    sent = server.asks[0].headers
    assert KEY in (sent.get("authorization", "") + sent.get("x-api-key", ""))
    assert done[2].verdict == "keep" and done[2].description == "[MY_KEY]"
    assert held(toy, KEY) == [] and KEY not in str(mine.raised)
    assert KEY not in git(toy, "show", "overnight/t")


def test_a_server_of_ones_own_is_not_sent_a_providers_key(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, _, server = one(toy, [reply("X=5")])
    assert KEY not in str(server.asks[0].headers)
