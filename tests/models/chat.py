"""The chat completions format of OpenAI, which most other servers speak too."""

from __future__ import annotations

import json
from typing import Any

from models.ask import Body, Turn, joined
from models.reply import Message
from models.sse import events

_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: no-key."),
    404: ("invalid_request_error", "model_not_found", "The model `m` does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
}
_OTHER = ("server_error", None, "The server had an error while processing your request.")


def turns(body: Body) -> list[Turn]:
    """The user's words and the results, in the order of the conversation."""
    found = []
    for message in body["messages"]:
        if message["role"] == "user":
            found.append(Turn(joined(message["content"])))
        elif message["role"] == "tool":
            found.append(Turn(joined(message["content"]), message["tool_call_id"]))
    return found


def tools(body: Body) -> list[str]:
    """The names of the tools offered."""
    return [tool["function"]["name"] for tool in body.get("tools") or []]


def plain(message: Message) -> bytes:
    """The whole reply as one JSON text."""
    said = {"role": "assistant", "content": message.text or None, **_calls(message)}
    choice = {"index": 0, "message": said, "finish_reason": _reason(message)}
    whole = {**_head(message, "chat.completion"), "choices": [choice], "usage": _usage(message)}
    return json.dumps(whole).encode()


def stream(message: Message) -> bytes:
    """The reply as chunks, the last of them with the usage."""
    head = _head(message, "chat.completion.chunk")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if message.text:
        deltas.append({"content": message.text})
    if message.call:
        (call,) = _calls(message)["tool_calls"]
        deltas.append({"tool_calls": [{**call, "index": 0}]})
    said = [_chunk(head, delta, None) for delta in deltas]
    said.append(_chunk(head, {}, _reason(message)))
    return events([*said, {**head, "choices": [], "usage": _usage(message)}], end="[DONE]")


def error(status: int) -> dict[str, Any]:
    """What the server says with such a status."""
    kind, code, words = _ERRORS.get(status, _OTHER)
    return {"error": {"message": words, "type": kind, "param": None, "code": code}}


def _chunk(head: dict[str, Any], delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _head(message: Message, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{message.id}", "object": kind, "created": 0, "model": message.model}


def _calls(message: Message) -> dict[str, Any]:
    if not message.call:
        return {}
    function = {"name": message.call.name, "arguments": json.dumps(dict(message.call.arguments))}
    return {"tool_calls": [{"id": message.call.id, "type": "function", "function": function}]}


def _reason(message: Message) -> str:
    return "tool_calls" if message.call else "stop"


def _usage(message: Message) -> dict[str, Any]:
    usage = message.usage
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.tokens_in + usage.tokens_out,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
