"""A model as an agent, through the real LiteLLM, against a server that says what a test wants."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from contracts.agent import VALUE, AgentContract, Nights
from desk import BRIEF, Desk
from models import chat
from models.ask import Ask
from models.change import reply, said, searched
from models.reply import Drop, Hang, Message, Refuse, Reply, Say, Usage
from models.server import KEY, ScriptedModels, answering
from overnight import Campaign, Idea, Limits
from overnight.agents.base import Agent
from overnight.agents.llm.agent import LlmAgent
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, ArenaError, Trouble
from toy import ARENA, git
from writer import run, verdicts

CLAUDE = "anthropic/claude-sonnet-4-5"
MODELS = ["openai/some-model", CLAUDE]


def agent(server: ScriptedModels, model: str = MODELS[0], **table: object) -> LlmAgent:
    url = server.address if model.startswith("anthropic") else f"{server.address}/v1"
    settings = {"kind": "llm", "model": model, "url": url, "timeout": "60s", **table}
    return LlmAgent("mine", AgentTable.model_validate(settings))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def one(desk: Desk, *answers: str | Reply, **table: object) -> tuple[Idea, ScriptedModels]:
    """The proposal that comes of these answers."""
    with answering(*answers) as server:
        idea = desk.ask(agent(server, **table))  # type: ignore[arg-type]
    assert idea is not None and len(server.asks) <= len(answers)
    return idea, server


def error(desk: Desk, *answers: str | Reply, **table: object) -> tuple[AgentError, ScriptedModels]:
    """What the agent raises after these answers, the last of which it asks for once."""
    with answering(*answers) as server:
        raised = desk.refused(agent(server, **table))  # type: ignore[arg-type]
    assert len(server.asks) <= len(answers) and desk.now() == desk.value
    return raised, server


class TestLlm(AgentContract):
    server: ScriptedModels

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _served(cls) -> Iterator[None]:
        def next_one(ask: Ask) -> Reply:
            now = next(line for line in ask.latest.splitlines() if line.startswith("X="))
            return Say(reply(f"X={int(now.split('#')[0][2:]) - 1}"))

        with ScriptedModels(next_one) as cls.server:
            yield

    @classmethod
    def make(cls, toy: Path) -> Agent:
        return agent(cls.server)

    def test_it_sees_the_file_as_it_is(self, nights: Nights) -> None:
        assert VALUE.strip() in self.server.asks[0].latest


def test_a_keep_a_discard_and_a_crash(toy: Path) -> None:
    with answering(
        said(searched("X=10", "X=5"), "five", "+4.5"),
        reply("X=90", "ninety"),
        reply("exit 3 # X=", "broken"),
    ) as server:
        done = run(toy, agent(server), experiments=3)
    assert verdicts(done) == ["keep", "keep", "discard", "crash"]
    kept = done[1]
    assert (kept.description, kept.hypothesis, kept.expected) == ("five", "it may help", 4.5)
    assert vars(kept.usage) == {
        "tokens_in": 1000,
        "tokens_cached": 800,
        "tokens_out": 50,
        "dollars": None,
    }
    assert "X=5" in server.asks[1].latest and "five" in server.asks[1].latest
    log = (toy / ".overnight" / "logs" / "t" / "1" / "agent.log").read_text()
    assert "===== user" in log and "TITLE: five" in log and "tokens_in 1000" in log


def test_a_known_price_is_reckoned_and_a_change_is_made(desk: Desk) -> None:
    idea, _ = one(desk, reply("X=5", "five"), model=CLAUDE)
    assert idea.usage.dollars == pytest.approx(200 * 3e-6 + 800 * 3e-7 + 50 * 15e-6)
    assert idea.title == "five" and desk.now() == "X=5\n"


def test_two_bad_replies_are_an_error_with_what_both_used(desk: Desk) -> None:
    raised, server = error(desk, "no idea", said(searched("X=11", "X=5")))
    assert "both replies were unusable" in str(raised) and "does not occur" in str(raised)
    assert raised.trouble is Trouble.NO_CHANGE and raised.usage is not None
    assert (raised.usage.tokens_in, raised.usage.tokens_out) == (2000, 100)
    *opening, second, again = (m["content"] for m in server.asks[1].body["messages"])
    assert opening == [m["content"] for m in server.asks[0].body["messages"]]
    assert second == "no idea" and "<<<<<<< SEARCH" in again
    assert "no line that begins with `TITLE:`" in again


def test_a_bad_reply_and_then_a_good_one_is_a_proposal(desk: Desk) -> None:
    idea, _ = one(desk, "", reply("X=5"))
    assert desk.now() == "X=5\n" and idea.usage.tokens_in == 2000


def test_a_protected_file_stays_as_it_is(desk: Desk) -> None:
    cheat = said("score.py\n<<<<<<< WHOLE\nprint('{\"loss\": 0}')\n>>>>>>> WHOLE")
    raised, _ = error(desk, cheat, cheat)
    assert "score.py is not editable" in str(raised) and "the referee speaks" in desk.now(
        "score.py"
    )


def test_the_wait_that_a_server_asks_for_is_heard(desk: Desk) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    asked = ("90", soon, "soon", "9" * 400)
    waits = [error(desk, Refuse(429, {"retry-after": words}))[0].wait for words in asked]
    assert waits[0] == 90 and 500 < waits[1] <= 600 and waits[2:] == [0, 0]


SAID = '{"error": {"type": "x", "message": "said by the server"}}'
USED = """{"choices": [{"message": {"role": "assistant", "content": %s}}], "usage": %s}"""
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
    (Drop(), Trouble.NETWORK, "check that the server is up"),
    (Refuse(200, body="<html>hello"), Trouble.BROKEN, "the call failed"),
    (Refuse(200, body="{}"), Trouble.BROKEN, "mine: "),
    (Refuse(200, body='{"choices": [], "content": []}'), Trouble.BROKEN, "mine: "),
    (Refuse(200, body="[" * 20_000), Trouble.BROKEN, "the call failed"),
    (Refuse(200, body=USED % ("1", "[]")), Trouble.BROKEN, r"^(?!.*Traceback).*the call failed"),
]


@pytest.mark.parametrize("model", MODELS)
def test_what_goes_wrong_is_told_by_its_kind_and_is_not_tried_again(desk: Desk, model: str) -> None:
    for answer, trouble, words in FAULTS:
        raised, server = error(desk, answer, model=model)
        assert raised.trouble is trouble and len(server.asks) == 1, (answer, raised)
        assert re.search(words, str(raised)) and "\n" not in str(raised), (answer, raised)


def test_a_server_or_a_provider_that_is_not_there_is_told(desk: Desk) -> None:
    raised, _ = error(desk, url="http://127.0.0.1:9")
    assert raised.trouble is Trouble.NETWORK and "127.0.0.1:9" in str(raised)
    raised, _ = error(desk, model="some-model", url=None)
    assert raised.trouble is Trouble.BROKEN and "check model" in str(raised)


def test_whatever_fails_after_a_reply_says_what_was_used(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr("overnight.agents.llm.agent.apply", fail)
    raised, _ = error(desk, reply("X=5"))
    assert raised.usage and raised.usage.tokens_in == 1000
    assert "mine failed: MemoryError: full; see" in str(raised) and "Traceback" in desk.said()


def test_an_error_that_cannot_be_put_into_words_ends_the_call_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no words")

    monkeypatch.setattr("overnight.agents.llm.model.agent_error", fail)
    raised, _ = error(desk, Refuse(500))
    assert raised.trouble is Trouble.BROKEN and "no words" in str(raised)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:80000/v1", "Port out of range"),
        ("http://localhost:80a/v1", "Port could not be"),
        ("http://[::1/v1", "Invalid IPv6"),
        ("https:///v1", "names no host"),
    ],
)
def test_a_mistyped_address_is_told_when_the_arena_is_read(
    tmp_path: Path, url: str, words: str
) -> None:
    table = f'\n[agents.mine]\nkind = "llm"\nmodel = "openai/x"\nurl = "{url}"\n'
    with pytest.raises(ArenaError, match=rf"agents\.mine\.url: .*{words}.*; expected an address"):
        Desk(tmp_path, ARENA + table)


def test_a_hanging_server_ends_with_the_time_limit(desk: Desk) -> None:
    began = time.monotonic()
    raised, _ = error(desk, Hang(60), timeout="2s")
    assert raised.trouble is Trouble.HUNG and "within the 2 s" in str(raised)
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
        thread.join(30)
        (account,) = campaign.ledger.spent("t")
    assert (account.tokens, account.unpriced) == (960, 1), "of what was answered"
    assert ended and ended[0] - asked < 10


def test_an_endless_reply_is_read_in_bounds(desk: Desk) -> None:
    raised, _ = error(desk, "x" * 20_000_000)
    assert raised.trouble is Trouble.BROKEN and "more than 10,000,000 bytes" in str(raised)
    assert desk.log().stat().st_size < 100_000


def test_a_long_reply_is_no_change_and_is_not_sent_back_whole(desk: Desk) -> None:
    _, server = one(desk, reply("x" * 5_000_000), reply("X=5"))
    assert desk.now() == "X=5\n" and len(json.dumps(server.asks[1].body)) < 60_000
    assert desk.log().stat().st_size < 1_200_000


def uncounted(text: str, finish: str = "stop") -> Refuse:
    """A reply that tells no usage, in the format of chat completions."""
    whole = json.loads(chat.plain(Message(text, None, Usage(), "some-model", "1")))
    whole["choices"][0]["finish_reason"] = finish
    del whole["usage"]
    return Refuse(200, body=json.dumps(whole))


def test_a_reply_that_was_cut_is_told_so(desk: Desk) -> None:
    _, server = one(desk, uncounted("TITLE: x", "length"), reply("X=5"))
    assert "cut off at the limit of tokens" in server.asks[1].latest


def test_unknown_and_impossible_usage_is_unknown(desk: Desk) -> None:
    idea, _ = one(desk, uncounted(reply("X=5")))
    assert (idea.usage.tokens_in, idea.usage.tokens_out, idea.usage.dollars) == (None, None, None)
    for count in ("-7", "9" * 400):
        usage = f'{{"prompt_tokens": {count}, "completion_tokens": 5, "total_tokens": 5}}'
        idea, _ = one(desk, Refuse(200, body=USED % (json.dumps(reply("X=5")), usage)))
        assert (idea.usage.tokens_in, idea.usage.tokens_out) == (None, 5)


# -- limits


def test_a_prompt_beyond_the_tokens_of_a_proposal_is_not_sent(desk: Desk) -> None:
    raised, _ = error(desk, tokens=500)
    assert raised.trouble is Trouble.LIMIT and "tokens = 500" in str(raised)


def test_what_is_left_of_the_tokens_bounds_the_reply_and_a_second_call(desk: Desk) -> None:
    _, server = one(desk, reply("X=5"), tokens=5000)
    assert 1000 < server.asks[0].body["max_tokens"] < 4900
    raised, server = error(desk, Say("no", Usage(4000, 900, 0)), tokens=5000)
    assert len(server.asks) == 1 and raised.trouble is Trouble.LIMIT
    assert "the first reply was unusable" in str(raised)
    assert raised.usage is not None and raised.usage.tokens_in == 4000


def test_dollars_bound_the_reply_by_the_prices_that_are_known(desk: Desk) -> None:
    _, server = one(desk, reply("X=5"), model=CLAUDE, dollars=0.05)
    assert 1000 < server.asks[0].body["max_tokens"] < 3333
    raised, _ = error(desk, model=CLAUDE, dollars=0.003)
    assert raised.trouble is Trouble.LIMIT and "dollars = 0.003" in str(raised)


def test_files_that_are_too_large_are_told(tmp_path: Path) -> None:
    long = Desk(tmp_path / "long", value="X=10\n" + "# a line that says nothing\n" * 50_000)
    raised, _ = error(long, model="openai/gpt-4o")
    assert raised.trouble is Trouble.LIMIT and "reads at most 128,000" in str(raised)
    huge = Desk(tmp_path / "huge", value="X=10\n" + "#" * 11_000_000)
    assert "the largest is value.py" in str(error(huge)[0])


# -- the prompt


def test_only_plain_editable_text_is_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ARENA.replace('["value.py"]', '["value.py", "model/**"]'))
    model = desk.arena.root / "model"
    model.mkdir()
    (model / "a.py").write_text("inside = 1\n")
    (model / "weights").write_bytes(b"\xff\x00\xfe")
    (model / "link.py").symlink_to("../score.py")
    _, server = one(desk, reply("X=5"))
    sent = json.dumps(server.asks[0].body)
    assert "inside = 1" in sent and "the referee speaks" not in sent
    assert "model/weights is not text" in sent
    messages = server.asks[0].body["messages"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert all(isinstance(m["content"], str) for m in messages), "plain for a server of one's own"


def test_what_stays_the_same_comes_first_and_is_marked_for_the_cache(desk: Desk) -> None:
    with answering(reply("X=90"), reply("X=91")) as server:
        for n in range(2):
            desk.ask(agent(server, CLAUDE), brief=f"{BRIEF}- {n} experiments\n")
    first, second = (ask.body["messages"][0]["content"] for ask in server.asks)
    assert ["cache_control" in part for part in first] == [True, True, False]
    assert first[:2] == second[:2] and first[2] != second[2]
    assert server.asks[0].body["system"] == server.asks[1].body["system"]
    assert first[2]["text"].startswith("\n## Where we stand"), "the brief begins there to change"


# -- keys


def held(folder: Path, needle: str) -> list[Path]:
    files = (f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    return [file for file in files if needle.encode() in file.read_bytes()]


@pytest.mark.parametrize("model", [MODELS[0], pytest.param(CLAUDE, marks=pytest.mark.slow)])
def test_a_key_reaches_its_server_and_nothing_on_disk(
    toy: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    echo = f'{{"error": {{"type": "x", "message": "wrong key {KEY}, Bearer {KEY}"}}}}'
    with answering(Refuse(400, body=echo), KEY, reply(f"X=5 # {KEY}", KEY), reply("X=6")) as server:
        done = run(toy, agent(server, model, env=["MY_KEY"]), experiments=3)
    sent = server.asks[0].headers
    assert KEY in (sent.get("authorization", "") + sent.get("x-api-key", ""))
    assert done[2].verdict == "keep" and done[2].description == "[MY_KEY]"
    assert held(toy, KEY) == [] and KEY not in "".join(e.reason for e in done)
    assert KEY not in git(toy, "show", "overnight/t")


def test_a_server_of_ones_own_gets_plain_text_and_no_providers_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, server = one(desk, reply("X=5"))
    assert KEY not in str(server.asks[0].headers)
    messages = server.asks[0].body["messages"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert all(isinstance(m["content"], str) for m in messages)
