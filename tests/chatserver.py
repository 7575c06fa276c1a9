"""A model server on loopback that says what a test wants: OpenAI's chat completions format and
Anthropic's messages format."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-not-a-real-key-0123456789"
Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """An answer that is none."""

    status: int = 200
    text: str = '{"error": {"type": "x", "message": "said by the server"}}'
    drop: bool = False
    """Close the connection, having said nothing."""
    hang: bool = False
    """Say nothing until the server is closed."""


Answer = str | Fault


@dataclass
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Body

    @property
    def prompt(self) -> str:
        """All that it says, the system's words too."""
        turns = [self.body.get("system", ""), *(m["content"] for m in self.body["messages"])]
        return "\n".join(_text(turn) for turn in turns)

    @property
    def turns(self) -> list[str]:
        return [_text(message["content"]) for message in self.body["messages"]]


def _text(content: str | list[Body]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@dataclass
class ChatServer:
    """Answers the first request with the first answer, and so on; the last one again and again."""

    answers: list[Answer] | Callable[[Asked], Answer]
    finish: str = "stop"
    usage: Body | None = field(default_factory=lambda: dict(read=100, cached=60, written=20))
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> ChatServer:
        self._closed = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Without the path: as Anthropic's."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai(self) -> str:
        return f"{self.url}/v1"

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if callable(self.answers):
            return self.answers(asked)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def wait_closed(self) -> None:
        self._closed.wait(60)

    def document(self, path: str, model: str, text: str) -> Body:
        """The reply in the format of the path."""
        if path.endswith("/messages"):
            return {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "max_tokens" if self.finish == "length" else "end_turn",
                "usage": {
                    "input_tokens": self.usage["read"] - self.usage["cached"],
                    "cache_read_input_tokens": self.usage["cached"],
                    "output_tokens": self.usage["written"],
                }
                if self.usage
                else None,
            }
        usage = self.usage and {
            "prompt_tokens": self.usage["read"],
            "completion_tokens": self.usage["written"],
            "total_tokens": self.usage["read"] + self.usage["written"],
            "prompt_tokens_details": {"cached_tokens": self.usage["cached"]},
        }
        message = {"role": "assistant", "content": text}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "finish_reason": self.finish, "message": message}],
            **({"usage": usage} if usage else {}),
        }


class _Handler(BaseHTTPRequestHandler):
    owner: ChatServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.owner.answer(Asked(self.path, headers, body))
        if isinstance(answer, Fault):
            self._fail(answer)
        else:
            document = self.owner.document(self.path, body["model"], answer)
            self._send(200, json.dumps(document))

    def _fail(self, fault: Fault) -> None:
        if fault.hang:
            self.owner.wait_closed()
        if fault.drop or fault.hang:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(fault.status, fault.text)

    def _send(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # the reader has had enough, which is what is tested


def reply(text: str, title: str = "another X", expected: str = "unknown") -> str:
    """A reply in the form that is asked for, which writes the toy's value.py whole."""
    return said(f"value.py\n<<<<<<< WHOLE\n{text}\n>>>>>>> WHOLE", title, expected)


def said(blocks: str, title: str = "another X", expected: str = "unknown") -> str:
    """A reply with these blocks."""
    return f"TITLE: {title}\nHYPOTHESIS: it may help\nEXPECTED: {expected}\n\n{blocks}\n"


def searched(search: str, replace: str, path: str = "value.py") -> str:
    """A block that puts one text in place of another."""
    return f"{path}\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"
