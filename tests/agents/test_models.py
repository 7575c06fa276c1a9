"""The scripted model server speaks its four formats as their clients expect them."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.ask import Ask
from models.reply import Drop, Edit, Garble, Hang, Refuse, Reply, Run, Say, Usage
from models.server import ScriptedModels, answering

TASK = "Change LR in train.py"
EDIT = Edit("train.py", "LR = 0.1", "LR = 0.2")


def post(address: str, body: Any, key: str = "Bearer k") -> tuple[str, str]:
    """The kind and the text of an answer."""
    headers = {"content-type": "application/json", "authorization": key}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["content-type"], answer.read().decode()


def data(text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def anthropic(tools: list[str], *more: Any, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": TASK}, *more]
    offered = [{"name": name, "input_schema": {}} for name in tools]
    return {"model": "m", "stream": stream, "messages": messages, "tools": offered}


def chat(tools: list[str], *more: Any, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TASK}]
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    return {"model": "m", "stream": stream, "messages": [*messages, *more], "tools": offered}


def responses(tools: list[dict[str, str]], *more: Any) -> dict[str, Any]:
    item = {"role": "user", "content": [{"type": "input_text", "text": TASK}]}
    return {"model": "m", "stream": True, "input": [item, *more], "tools": tools}


def gemini(tools: list[str], *more: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": TASK}]}, *more]
    declared = [{"name": name} for name in tools]
    return {"contents": contents, "tools": [{"functionDeclarations": declared}]}


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Ask], Reply]], ScriptedModels]]:
    running: list[ScriptedModels] = []

    def start(script: Callable[[Ask], Reply]) -> ScriptedModels:
        running.append(ScriptedModels(script).__enter__())
        return running[-1]

    yield start
    for models in running:
        models.__exit__()


Serve = Callable[[Callable[[Ask], Reply]], ScriptedModels]


def test_anthropic_in_one_piece_and_in_events(serve: Serve) -> None:
    models = serve(lambda _: Say("Hello.", Usage(100, 7, 60)))
    kind, text = post(f"{models.address}/v1/messages", anthropic(["Read"]))
    whole = json.loads(text)
    assert kind == "application/json" and whole["content"] == [{"type": "text", "text": "Hello."}]
    assert (whole["usage"]["input_tokens"], whole["usage"]["cache_read_input_tokens"]) == (40, 60)
    kind, text = post(f"{models.address}/v1/messages?beta=true", anthropic(["Read"], stream=True))
    said = data(text)
    assert kind == "text/event-stream" and said[0]["type"] == "message_start"
    assert [e["delta"]["text"] for e in said if e["type"] == "content_block_delta"] == ["Hello."]
    assert said[-2]["delta"]["stop_reason"] == "end_turn"
    assert said[-2]["usage"]["output_tokens"] == 7 and said[-1] == {"type": "message_stop"}


def test_an_edit_is_read_then_edit_and_only_then_is_the_script_asked_again(serve: Serve) -> None:
    models = serve(lambda ask: Say("Done.") if ask.turns else EDIT)
    address = f"{models.address}/v1/messages"
    told = "<env>\nWorking directory: /tree\n</env>"
    conversation: list[Any] = []
    names = []
    for _ in range(3):
        body = {**anthropic(["Read", "Edit"], *conversation), "system": told}
        (block,) = json.loads(post(address, body)[1])["content"]
        names.append((block.get("name"), block.get("input", {}).get("file_path")))
        result = {"type": "tool_result", "tool_use_id": block.get("id"), "content": "fine"}
        conversation += [
            {"role": "assistant", "content": [block]},
            {"role": "user", "content": [result]},
        ]
    assert names == [("Read", "/tree/train.py"), ("Edit", "/tree/train.py"), (None, None)]
    assert [(a.turns, a.prompt, a.result) for a in models.asks] == [
        (0, TASK, ""),
        (1, TASK, "fine"),
        (2, TASK, "fine"),
    ]


def test_chat_in_one_piece_and_in_events(serve: Serve) -> None:
    models = serve(lambda _: Run("ls"))
    address = f"{models.address}/v1/chat/completions"
    choice = json.loads(post(address, chat(["bash"]))[1])["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"command": "ls"}'
    said = data(post(address, chat(["bash"], stream=True))[1])
    assert said[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "bash"
    assert said[-1]["choices"] == [] and said[-1]["usage"]["prompt_tokens"] == 1000
    assert said[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 800}
    asked = {(ask.path, ask.headers["authorization"]) for ask in models.asks}
    assert asked == {("/v1/chat/completions", "Bearer k")}


def test_a_program_without_tools_gets_a_block_to_search_for(serve: Serve) -> None:
    models = serve(lambda _: EDIT)
    answer = json.loads(post(f"{models.address}/v1/chat/completions", chat([]))[1])
    assert answer["choices"][0]["message"]["content"] == (
        "train.py\n```python\n<<<<<<< SEARCH\nLR = 0.1\n=======\nLR = 0.2\n>>>>>>> REPLACE\n```"
    )


def test_mini_ends_with_a_command(serve: Serve) -> None:
    models = serve(lambda _: Say("Done."))
    answer = json.loads(post(f"{models.address}/v1/chat/completions", chat(["bash"]))[1])
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" in call["function"]["arguments"]


def test_responses_in_events(serve: Serve) -> None:
    models = serve(lambda ask: Say("Done.") if ask.turns else EDIT)
    address = f"{models.address}/v1/responses"
    tools = [{"type": "custom", "name": "apply_patch"}, {"type": "web_search"}]
    said = data(post(address, responses(tools))[1])
    (item,) = [e["item"] for e in said if e["type"] == "response.output_item.done"]
    assert item["type"] == "custom_tool_call" and "-LR = 0.1\n+LR = 0.2" in item["input"]
    result = {"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "fine"}
    said = data(post(address, responses(tools, result))[1])
    assert said[-1]["response"]["output"][0]["content"][0]["text"] == "Done."
    assert said[-1]["response"]["usage"]["input_tokens_details"] == {"cached_tokens": 800}
    function = {"type": "function", "name": "exec_command"}
    said = data(post(address, responses([function]))[1])
    (item,) = [e["item"] for e in said if e["type"] == "response.output_item.done"]
    assert json.loads(item["arguments"])["cmd"].startswith("python3 -c")


def test_gemini_in_one_piece_and_in_events(serve: Serve) -> None:
    models = serve(lambda ask: Say("Done.") if ask.turns else EDIT)
    address = f"{models.address}/v1beta/models/g-1:"
    tools = ["read_file", "replace"]
    (event,) = data(post(f"{address}streamGenerateContent?alt=sse", gemini(tools))[1])
    call = event["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert call["name"] == "read_file" and models.asks[0].model == "g-1"
    response = {"id": call["id"], "name": call["name"], "response": {"output": "text"}}
    turn = {"role": "user", "parts": [{"functionResponse": response}]}
    whole = json.loads(post(f"{address}generateContent", gemini(tools, turn))[1])
    assert whole["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "replace"
    assert whole["usageMetadata"]["cachedContentTokenCount"] == 800


@pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (500, "api_error")])
def test_a_refusal_is_said_in_the_format_that_was_asked_in(
    serve: Serve, status: int, kind: str
) -> None:
    models = serve(lambda _: Refuse(status, {"retry-after": "3"}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(f"{models.address}/v1/messages", anthropic(["Read"]))
    assert refused.value.code == status and refused.value.headers["retry-after"] == "3"
    assert json.loads(refused.value.read())["error"]["type"] == kind


def test_broken_and_missing_answers() -> None:
    with answering(Garble(), Drop(), Hang(0.2)) as models:
        address = f"{models.address}/v1/chat/completions"
        with pytest.raises(json.JSONDecodeError):
            json.loads(post(address, chat(["bash"]))[1])
        for least in (0, 0.2, 0.2):
            start = time.monotonic()
            with pytest.raises(http.client.RemoteDisconnected):
                post(address, chat(["bash"]))
            assert time.monotonic() - start >= least


def test_a_hang_ends_with_the_server() -> None:
    threads = threading.active_count()
    with ScriptedModels(lambda _: Hang(600)) as models:
        asking = threading.Thread(target=_ask_and_fail, args=(models,))
        asking.start()
        while not models.asks:
            time.sleep(0.01)
    asking.join(5)
    assert not asking.is_alive() and threading.active_count() <= threads + 1


def _ask_and_fail(models: ScriptedModels) -> None:
    with pytest.raises(OSError):
        post(f"{models.address}/v1/chat/completions", chat(["bash"]))


def test_a_server_with_answers_in_turn_is_asked_for_nothing_else() -> None:
    with pytest.raises(AssertionError, match="GET /v1/models"), answering("Hello.") as models:
        urllib.request.urlopen(f"{models.address}/v1/models", timeout=10)


def test_chores_do_not_reach_the_script(serve: Serve) -> None:
    def never(ask: Ask) -> Reply:
        raise AssertionError(ask)

    models = serve(never)
    title = {"system": "You are a title generator.", **chat([])}
    titled = json.loads(post(f"{models.address}/v1/chat/completions", title)[1])
    assert titled["choices"][0]["message"]["content"]
    assert post(f"{models.address}/v1/messages", {**anthropic([]), "max_tokens": 1})
    counted = json.loads(post(f"{models.address}/v1/messages/count_tokens", anthropic([]))[1])
    assert counted["input_tokens"] > 0
    for method in ("HEAD", "GET"):
        request = urllib.request.Request(f"{models.address}/v1/models", method=method)
        assert urllib.request.urlopen(request, timeout=10).status == 200
    assert len(models.chores) == 5 and not models.asks


def test_a_resumed_conversation_has_two_prompts_and_counts_from_the_latest(serve: Serve) -> None:
    models = serve(lambda _: Say("Fine."))
    result = {"role": "tool", "tool_call_id": "call_1", "content": "text"}
    more = [result, {"role": "user", "content": "Now the depth"}]
    post(f"{models.address}/v1/chat/completions", chat(["read", "edit"], *more))
    (ask,) = models.asks
    assert (ask.prompt, ask.latest, ask.turns, ask.steps) == (TASK, "Now the depth", 1, 0)
