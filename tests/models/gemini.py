"""The generateContent format of Gemini, with a stream and without."""

from __future__ import annotations

import json
from typing import Any

from models.ask import Body, Turn
from models.reply import Message
from models.sse import events

_ERRORS = {
    400: ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    404: ("NOT_FOUND", "models/m is not found for API version v1beta."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def turns(body: Body) -> list[Turn]:
    """The user's words and the results, in the order of the conversation."""
    found = []
    for content in body["contents"]:
        if content.get("role", "user") != "user":
            continue
        parts = content["parts"]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        found += [Turn(_text(result["response"]), result.get("id", "")) for result in results]
        if not results:
            found += [Turn(part["text"]) for part in parts if "text" in part]
    return found


def _text(response: dict[str, Any]) -> str:
    return str(response.get("output", response.get("error", response)))


def tools(body: Body) -> list[str]:
    """The names of the tools offered."""
    groups = body.get("tools") or []
    return [one["name"] for group in groups for one in group.get("functionDeclarations", [])]


def plain(message: Message) -> bytes:
    """The whole reply as one JSON text."""
    return json.dumps(_response(message)).encode()


def stream(message: Message) -> bytes:
    """The reply as one event."""
    return events([_response(message)])


def error(status: int) -> dict[str, Any]:
    """What the server says with such a status."""
    name, words = _ERRORS.get(status, ("INTERNAL", "An internal error has occurred."))
    return {"error": {"code": status, "message": words, "status": name}}


def _response(message: Message) -> dict[str, Any]:
    usage, parts = message.usage, []
    if message.text or not message.call:
        parts.append({"text": message.text})
    if call := message.call:
        used = {"id": call.id, "name": call.name, "args": dict(call.arguments)}
        parts.append({"functionCall": used})  # type: ignore[dict-item]
    content = {"role": "model", "parts": parts}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": usage.tokens_in,
            "cachedContentTokenCount": usage.cached,
            "candidatesTokenCount": usage.tokens_out,
            "totalTokenCount": usage.tokens_in + usage.tokens_out,
        },
        "modelVersion": message.model,
        "responseId": message.id,
    }
