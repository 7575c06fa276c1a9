"""A model server on loopback that answers as a script says, in the format that it is asked in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from models import anthropic, chat, gemini, responses
from models.ask import Ask, Body, read_ask
from models.plan import Step, plan
from models.reply import Call, Drop, Garble, Hang, Message, Refuse, Reply, Say, Usage

Script = Callable[[Ask], Reply]
KEY = "sk-not-a-real-key-0123456789"
"""One that is found wherever it gets to."""

_WIRES: dict[str, Any] = {
    "anthropic": anthropic,
    "chat": chat,
    "responses": responses,
    "gemini": gemini,
}
_PATHS = {"messages": "anthropic", "completions": "chat", "responses": "responses"}
_GEMINI = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)$")
_COUNTS = {"input_tokens": 1000, "totalTokens": 1000}
_CHORES = re.compile(
    r"title generator|sentence-case title|Generate a (short|concise) .{0,40}title|Task Routing AI"
)
"""What programs ask beside the task, in requests without tools: a name for the session, or which
model is to do it."""
_CHORE = json.dumps(
    {"title": "A title", "reasoning": "It is so.", "model_choice": "pro", "complexity_score": 90}
)
_BROKEN = b'data: {"id": "1", "content": [{"te'


class ScriptedModels:
    """Serves on 127.0.0.1 while it is entered; every request for a reply goes to the script.

    What programs ask beside the task (whether the server is there, the models, a title, the
    number of tokens) is answered without the script and written down in `chores`.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asks: list[Ask] = []
        """What the script was asked, and the steps in between that a reply takes."""
        self.chores: list[str] = []
        self._lock = threading.Lock()
        self._planned: dict[str, tuple[list[Step], Usage]] = {}
        self.ended = threading.Event()
        """Set when the server goes away; what hangs ends then."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.models = self

    def __enter__(self) -> ScriptedModels:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it serves, without a path: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(
        self, wire: str, model: str, body: Body, said: str, path: str, headers: Mapping[str, str]
    ) -> Ask | None:
        """The request, written down. None: a chore, which the script need not know of."""
        form = _WIRES[wire]
        tools = form.tools(body)
        if not tools and (body.get("max_tokens") == 1 or _CHORES.search(said)):
            return None
        with self._lock:
            ask = read_ask(
                wire=wire,
                model=model,
                turns=form.turns(body),
                tools=tools,
                body=body,
                said=said,
                count=len(self.asks) + 1,
                path=path,
                headers=headers,
            )
            self.asks.append(ask)
        return ask

    def reply(self, ask: Ask) -> Message | Refuse | Hang | Garble | Drop:
        """The next step of what is being done, or what the script says."""
        with self._lock:
            steps, usage = self._planned.get(ask.call or "", ([], Usage()))
        if not steps:
            reply = self.script(ask)
            if isinstance(reply, Refuse | Hang | Garble | Drop):
                return reply
            steps, usage = plan(reply, ask), reply.usage
        step, id_ = steps[0], f"{ask.count:08d}"
        call = step.tool and Call(f"call_{id_}", step.tool, step.arguments, step.free)
        if call and steps[1:]:
            with self._lock:
                self._planned[call.id] = steps[1:], usage
        return Message(step.text, call or None, usage, ask.model, id_)


@contextmanager
def answering(*answers: str | Reply) -> Iterator[ScriptedModels]:
    """A server that answers requests so, one after another, and the last one again and again; a
    text is what the model says. Whoever asks it must ask for nothing but replies."""
    replies = [Say(answer) if isinstance(answer, str) else answer for answer in answers]
    with ScriptedModels(lambda ask: replies[min(ask.count, len(replies)) - 1]) as models:
        yield models
    assert not models.chores, models.chores


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    models: ScriptedModels

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Programs hang up whenever they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._chore(None)

    def do_GET(self) -> None:
        self._chore({"object": "list", "data": [], "models": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urlsplit(self.path).path
        named = _GEMINI.search(path)
        wire = "gemini" if named else _PATHS.get(path.rsplit("/", 1)[-1])
        if path.endswith(("/count_tokens", ":countTokens")):
            self._chore(_COUNTS)
        elif wire is None:
            self._chore({"error": {"message": "no such path", "type": "not_found_error"}}, 404)
        else:
            self._model(wire, named[1] if named else "", body)

    def _model(self, wire: str, model: str, raw: bytes) -> None:
        said, models = raw.decode(), self.server.models
        body = json.loads(raw)
        model = model or body["model"]
        headers = {name.lower(): value for name, value in self.headers.items()}
        ask = models.asked(wire, model, body, said, self.path, headers)
        if ask is None:
            self._chore(None, write=False)
            message = Message(_CHORE, None, Usage(), model, f"chore{len(models.chores)}")
            self._send_message(wire, message, body)
            return
        reply = models.reply(ask)
        if isinstance(reply, Message):
            self._send_message(wire, reply, body)
        elif isinstance(reply, Refuse):
            words = json.dumps(_WIRES[wire].error(reply.status))
            text = words if reply.body is None else reply.body
            self._send(reply.status, "application/json", text.encode(), reply.headers)
        elif isinstance(reply, Garble):
            self._send(200, self._kind(self._streams(wire, body)), _BROKEN)
        else:
            if isinstance(reply, Hang):
                models.ended.wait(reply.seconds)
            self.close_connection = True

    def _send_message(self, wire: str, message: Message, body: Body) -> None:
        streams = self._streams(wire, body)
        form = _WIRES[wire]
        self._send(200, self._kind(streams), (form.stream if streams else form.plain)(message))

    def _streams(self, wire: str, body: Body) -> bool:
        if wire == "gemini":
            return ":streamGenerateContent" in self.path
        return bool(body.get("stream"))

    def _kind(self, streams: bool) -> str:
        return "text/event-stream" if streams else "application/json"

    def _chore(self, answer: Any, status: int = 200, write: bool = True) -> None:
        self.server.models.chores.append(f"{self.command} {self.path}")
        if write:
            text = b"" if answer is None else json.dumps(answer).encode()
            self._send(status, "application/json", text)

    def _send(self, status: int, kind: str, body: bytes, headers: Any = ()) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
