"""An agent that speaks the Agent Client Protocol and plays a script, for tests.

Started as a program: `python acpagent.py SCRIPT.json`. The script says how it answers `initialize`,
and what it does for each experiment, a list of steps such as `["edit", "value.py", "X=5"]`. It
speaks the protocol without the official package, which takes two seconds to import; the tests of
real programs have that at the other end.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
    {"optionId": "no", "name": "No", "kind": "reject_once"},
]


def command(folder: Path, script: dict[str, object]) -> str:
    """The shell line that starts an agent with this script; the folder must be readable for it."""
    folder.mkdir(exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script))
    (folder / "acpagent.py").write_text(Path(__file__).read_text())
    return shlex.join([sys.executable, str(folder / "acpagent.py"), str(folder / "script.json")])


class Refused(Exception):
    """An error of the protocol, to be sent or that was received."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}


class Scripted:
    """Plays the steps of one prompt; it says what its requests are answered."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.signed_in = not script.get("auth")
        self.cancelled = False
        self.session = ""
        self.asked = 0

    def serve(self) -> None:
        while (message := self.receive()) is not None:
            if "id" in message:
                try:
                    answer = {"result": self.answer(message["method"], message["params"])}
                except Refused as refused:
                    answer = {"error": refused.error}
                self.send({"id": message["id"], **answer})

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize":
                methods = [
                    {"id": name, "name": name.title()} for name in self.script.get("auth", ())
                ]
                return {
                    "protocolVersion": self.script.get("version", params["protocolVersion"]),
                    "agentCapabilities": {"loadSession": bool(self.script.get("load"))},
                    "authMethods": methods,
                    "agentInfo": {"name": "scripted", "version": "1.0"},
                }
            case "authenticate":
                if os.environ.get("SCRIPTED_KEY") != "right":
                    raise Refused(-32000, "the key is wrong")
                self.signed_in = True
                return {}
            case "session/new":
                return self.new_session()
            case "session/load":
                return self.load_session(params["sessionId"])
            case "session/set_config_option":
                self.script["model"] = params["value"]
                return {"configOptions": []}
            case "session/prompt":
                return self.prompt()
        raise Refused(-32601, f"no method {method}")

    def new_session(self) -> dict[str, Any]:
        if not self.signed_in:
            raise Refused(-32000, "Authentication required")
        self.session = f"session-of-{os.environ['OVERNIGHT_EXPERIMENT']}"
        Path.home().joinpath("remembered").write_text(self.session)
        models = [{"value": m, "name": m} for m in self.script.get("models", ())]
        choice = {"id": "m", "name": "Model", "category": "model", "type": "select"}
        choice |= {"currentValue": "small", "options": models}
        return {"sessionId": self.session, "configOptions": [choice] if models else None}

    def load_session(self, session: str) -> dict[str, Any]:
        remembered = Path.home() / "remembered"
        if not remembered.exists() or remembered.read_text() != session:
            raise Refused(-32002, f"Resource not found: {session}")
        self.session = session
        self.say("an old word")
        self.spend(1.0)
        return {}

    def prompt(self) -> dict[str, Any]:
        response: dict[str, Any] = {"stopReason": "end_turn"}
        for name, *words in self.script["turns"].get(os.environ["OVERNIGHT_EXPERIMENT"], ()):
            if name == "stop":
                return {"stopReason": words[0]}
            if name == "report":
                response |= words[0]
            else:
                getattr(self, name)(*words)
        return response

    # -- the wire

    def send(self, message: dict[str, Any]) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", **message}))

    def receive(self) -> dict[str, Any] | None:
        """The next message; a cancellation is noted."""
        line = sys.stdin.readline()
        message: dict[str, Any] | None = json.loads(line) if line else None
        self.cancelled |= message is not None and message.get("method") == "session/cancel"
        return message

    def update(self, update: str, **fields: object) -> None:
        params = {"sessionId": self.session, "update": {"sessionUpdate": update, **fields}}
        self.send({"method": "session/update", "params": params})

    def request(self, method: str, **params: object) -> dict[str, Any]:
        """What a request of ours is answered. Raises Refused."""
        self.asked += 1
        id_ = f"ours-{self.asked}"
        self.send({"id": id_, "method": method, "params": {"sessionId": self.session, **params}})
        while (message := self.receive()) is not None and message.get("id") != id_:
            pass
        if message is None:
            sys.exit(1)
        if "error" in message:
            raise Refused(message["error"]["code"], message["error"]["message"])
        return message["result"] or {}

    # -- the steps

    def say(self, text: str) -> None:
        text = text.format(model=self.script.get("model"), session=self.session)
        self.update("agent_message_chunk", content={"type": "text", "text": text})

    def think(self, text: str) -> None:
        self.update("agent_thought_chunk", content={"type": "text", "text": text})

    def plan(self, text: str) -> None:
        self.update("plan", entries=[{"content": text, "priority": "medium", "status": "pending"}])

    def spend(self, dollars: float, used: int = 10) -> None:
        cost = {"amount": dollars, "currency": "USD"}
        self.update("usage_update", used=used, size=1000, cost=cost)

    def edit(self, path: str, text: str) -> None:
        """By itself, without asking."""
        diff = {"type": "diff", "path": str(Path.cwd() / path), "newText": text}
        call = {"toolCallId": f"call-{path}", "title": f"Edit {path}", "kind": "edit"}
        self.update("tool_call", **call, status="pending", content=[diff])
        Path(path).write_text(text)

    def ask(self, kind: str, path: str, act: str = "") -> None:
        """Ask for permission; on a yes, do what the shell line says."""
        call: dict[str, object] = {"toolCallId": f"{kind}-{path}", "kind": kind}
        if path:
            call["locations"] = [{"path": os.path.abspath(path)}]
        answer = self.request("session/request_permission", toolCall=call, options=OPTIONS)
        chosen = answer["outcome"].get("optionId", "cancelled")
        self.say(f"[{kind} {path}: {chosen}]\n")
        if chosen == "yes" and act:
            os.system(act)

    def write(self, path: str, text: str) -> None:
        try:
            self.request("fs/write_text_file", path=os.path.abspath(path), content=text)
            self.say(f"[wrote {path}]\n")
        except Refused as refused:
            self.say(f"[not written: {refused}]\n")

    def read(self, path: str, line: int | None = None, limit: int | None = None) -> None:
        place = {"path": os.path.abspath(path), "line": line, "limit": limit}
        try:
            got = self.request("fs/read_text_file", **place)["content"]
            self.say(f"[read {got!r}]\n".replace("{", "{{").replace("}", "}}"))
        except Refused as refused:
            self.say(f"[not read: {refused}]\n")

    def shell(self, line: str) -> None:
        os.system(line)

    def terminal(self) -> None:
        try:
            got = self.request("terminal/create", command="id")
            self.say("[a terminal]\n" if got else "[no terminal: an empty answer]\n")
        except Refused as refused:
            self.say(f"[no terminal: {refused}]\n")

    def fail(self, code: int, message: str) -> None:
        raise Refused(code, message)

    def die(self, code: int) -> None:
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(code)

    def flood(self, size: int) -> None:
        self.say("x" * size)

    def raw(self, line: str, times: int = 1) -> None:
        try:
            sys.stdout.write(f"{line}\n" * times)
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(1)  # overnight reads no more

    def hang(self, deaf: bool = False) -> None:
        if deaf:
            time.sleep(600)
        while not self.cancelled and self.receive() is not None:
            pass
        Path("cancelled").write_text("heard")

    def spawn(self, line: str) -> None:
        os.system(f"setsid {line} &")


if __name__ == "__main__":
    Scripted(json.loads(Path(sys.argv[1]).read_text())).serve()
