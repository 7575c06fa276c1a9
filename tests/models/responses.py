"""The responses format of OpenAI, which codex speaks."""

from __future__ import annotations

import json
from typing import Any

from models.ask import Body, Turn, joined
from models.chat import error as error
from models.reply import Message
from models.sse import events

_RESULTS = ("function_call_output", "custom_tool_call_output")


def turns(body: Body) -> list[Turn]:
    """The user's words and the results, in the order of the conversation."""
    given = body["input"]
    if isinstance(given, str):
        return [Turn(given)]
    found = []
    for item in given:
        if item.get("type") in _RESULTS:
            found.append(Turn(joined(item["output"]), item["call_id"]))
        elif item.get("role") == "user":
            found.append(Turn(joined(item["content"])))
    return found


def tools(body: Body) -> list[str]:
    """The names of the tools offered; those without one have a type."""
    return [tool.get("name") or tool["type"] for tool in body.get("tools") or []]


def plain(message: Message) -> bytes:
    """The whole reply as one JSON text."""
    return json.dumps(_response(message, "completed")).encode()


def stream(message: Message) -> bytes:
    """The reply as events."""
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(message, "in_progress")}
    ]
    for index, item in enumerate(_items(message)):
        place = {"output_index": index}
        said.append({"type": "response.output_item.added", **place, "item": item})
        if item["type"] == "message":
            place |= {"item_id": item["id"], "content_index": 0}
            said.append({"type": "response.output_text.delta", **place, "delta": message.text})
        said.append({"type": "response.output_item.done", "output_index": index, "item": item})
    said.append({"type": "response.completed", "response": _response(message, "completed")})
    return events(({**event, "sequence_number": n} for n, event in enumerate(said)), named=True)


def _response(message: Message, status: str) -> dict[str, Any]:
    done = status == "completed"
    return {
        "id": f"resp_{message.id}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": message.model,
        "output": _items(message) if done else [],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(message) if done else None,
    }


def _items(message: Message) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if message.text or not message.call:
        content = [{"type": "output_text", "text": message.text, "annotations": []}]
        said = {"id": f"msg_{message.id}", "role": "assistant", "status": "completed"}
        items.append({"type": "message", **said, "content": content})
    if call := message.call:
        used = {"id": f"fc_{message.id}", "call_id": call.id, "name": call.name}
        used["status"] = "completed"
        if call.text is not None:
            items.append({"type": "custom_tool_call", **used, "input": call.text})
        else:
            arguments = json.dumps(dict(call.arguments))
            items.append({"type": "function_call", **used, "arguments": arguments})
    return items


def _usage(message: Message) -> dict[str, Any]:
    usage = message.usage
    return {
        "input_tokens": usage.tokens_in,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.tokens_in + usage.tokens_out,
    }
