"""The messages format of Anthropic, with a stream and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from models.ask import Body, Turn, joined
from models.reply import Message
from models.sse import events

_ERRORS = {
    401: ("authentication_error", "invalid x-api-key"),
    404: ("not_found_error", "model: the-model"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    529: ("overloaded_error", "Overloaded"),
}


def turns(body: Body) -> list[Turn]:
    """The user's words and the results, in the order of the conversation."""
    said = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return [turn for content in said for turn in _turns(content)]


def _turns(content: Any) -> Iterator[Turn]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    results = [block for block in blocks if block["type"] == "tool_result"]
    for block in results:
        yield Turn(joined(block.get("content", "")), block["tool_use_id"])
    if not results:
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        yield Turn("\n".join(t for t in texts if not t.startswith("<system-reminder>")))


def tools(body: Body) -> list[str]:
    """The names of the tools offered."""
    return [tool["name"] for tool in body.get("tools", [])]


def plain(message: Message) -> bytes:
    """The whole reply as one JSON text."""
    return json.dumps(_message(message, _blocks(message))).encode()


def stream(message: Message) -> bytes:
    """The reply as events."""
    start = _message(message, [])
    start.update(stop_reason=None, usage={**start["usage"], "output_tokens": 1})
    said: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(_blocks(message)):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        said += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    end = {"stop_reason": _reason(message), "stop_sequence": None}
    said.append({"type": "message_delta", "delta": end, "usage": _usage(message)})
    return events([*said, {"type": "message_stop"}], named=True)


def error(status: int) -> dict[str, Any]:
    """What the server says with such a status."""
    kind, words = _ERRORS.get(status, ("api_error", "Internal server error"))
    return {"type": "error", "error": {"type": kind, "message": words}}


def _message(message: Message, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{message.id}",
        "type": "message",
        "role": "assistant",
        "model": message.model,
        "content": blocks,
        "stop_reason": _reason(message),
        "stop_sequence": None,
        "usage": _usage(message),
    }


def _blocks(message: Message) -> list[dict[str, Any]]:
    call = message.call
    blocks: list[dict[str, Any]] = []
    if message.text or not call:
        blocks.append({"type": "text", "text": message.text})
    if call:
        used = {"id": call.id, "name": call.name, "input": dict(call.arguments)}
        blocks.append({"type": "tool_use", **used})
    return blocks


def _reason(message: Message) -> str:
    return "tool_use" if message.call else "end_turn"


def _usage(message: Message) -> dict[str, int]:
    usage = message.usage
    return {
        "input_tokens": usage.tokens_in - usage.cached,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.tokens_out,
    }
