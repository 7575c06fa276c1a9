"""An agent that speaks the Agent Client Protocol and plays a script, for tests.

Started as a program: `python acpagent.py SCRIPT.json`. The script says how it answers hello, and
what it does in the turn of each experiment, a list of steps such as `["edit", "value.py", "X=5"]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, Agent, Client, RequestError, run_agent
from acp.helpers import (
    plan_entry,
    start_edit_tool_call,
    update_agent_message_text,
    update_agent_thought_text,
    update_plan,
)
from acp.schema import (
    AgentCapabilities,
    AuthenticateResponse,
    AuthMethodAgent,
    Cost,
    Implementation,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PermissionOption,
    PromptResponse,
    SessionConfigOptionSelect,
    SessionConfigSelectOption,
    SetSessionConfigOptionResponse,
    ToolCallLocation,
    ToolCallUpdate,
    UsageUpdate,
)

OPTIONS = [
    PermissionOption(option_id="always", name="Always", kind="allow_always"),
    PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
    PermissionOption(option_id="no", name="No", kind="reject_once"),
]


def command(folder: Path, script: dict[str, object]) -> str:
    """The shell line that starts an agent with this script; the folder must be readable for it."""
    folder.mkdir(exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script))
    (folder / "acpagent.py").write_text(Path(__file__).read_text())
    return shlex.join([sys.executable, str(folder / "acpagent.py"), str(folder / "script.json")])


class Scripted(Agent):
    """Plays the steps of one turn; what it is answered, it says."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.signed_in = not script.get("auth")
        self.cancelled = asyncio.Event()
        self.client: Client
        self.session = ""

    def on_connect(self, conn: Client) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, *_: Any, **__: Any) -> InitializeResponse:
        return InitializeResponse(
            protocol_version=self.script.get("version", PROTOCOL_VERSION),
            agent_capabilities=AgentCapabilities(load_session=bool(self.script.get("load"))),
            auth_methods=[
                AuthMethodAgent(id=name, name=name.title()) for name in self.script.get("auth", ())
            ],
            agent_info=Implementation(name="scripted", version="1.0"),
        )

    async def authenticate(self, method_id: str, **_: Any) -> AuthenticateResponse:
        if os.environ.get("SCRIPTED_KEY") != "right":
            raise RequestError(-32000, "the key is wrong")
        self.signed_in = True
        return AuthenticateResponse()

    async def new_session(self, cwd: str, **_: Any) -> NewSessionResponse:
        if not self.signed_in:
            raise RequestError.auth_required()
        self.session = f"session-of-{os.environ['OVERNIGHT_EXPERIMENT']}"
        Path.home().joinpath("remembered").write_text(self.session)
        options = [
            SessionConfigSelectOption(value=m, name=m) for m in self.script.get("models", ())
        ]
        choice = SessionConfigOptionSelect(
            id="m", name="Model", category="model", type="select", current_value="small",
            options=options,
        )  # fmt: skip
        return NewSessionResponse(
            session_id=self.session, config_options=[choice] if options else None
        )

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> LoadSessionResponse:
        remembered = Path.home() / "remembered"
        if not remembered.exists() or remembered.read_text() != session_id:
            raise RequestError.resource_not_found(session_id)
        self.session = session_id
        await self.say("an old word")
        await self.spend(1.0)
        return LoadSessionResponse()

    async def set_config_option(
        self, config_id: str, session_id: str, value: str | bool, **_: Any
    ) -> SetSessionConfigOptionResponse:
        self.script["model"] = value
        return SetSessionConfigOptionResponse(config_options=[])

    async def cancel(self, session_id: str, **_: Any) -> None:
        self.cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        self.brief = prompt[0].text
        response = PromptResponse(stop_reason="end_turn")
        for name, *words in self.script["turns"].get(os.environ["OVERNIGHT_EXPERIMENT"], ()):
            if name == "stop":
                return PromptResponse(stop_reason=words[0])
            if name == "report":
                response = PromptResponse.model_validate({"stopReason": "end_turn", **words[0]})
            else:
                await getattr(self, name)(*words)
        return response

    # -- the steps

    async def say(self, text: str) -> None:
        text = text.format(model=self.script.get("model"), session=self.session)
        await self.client.session_update(self.session, update_agent_message_text(text))

    async def think(self, text: str) -> None:
        await self.client.session_update(self.session, update_agent_thought_text(text))

    async def plan(self, text: str) -> None:
        await self.client.session_update(self.session, update_plan([plan_entry(text)]))

    async def spend(self, dollars: float, used: int = 10) -> None:
        cost = Cost(amount=dollars, currency="USD")
        update = UsageUpdate(session_update="usage_update", used=used, size=1000, cost=cost)
        await self.client.session_update(self.session, update)

    async def edit(self, path: str, text: str) -> None:
        """By itself, without asking."""
        update = start_edit_tool_call(f"call-{path}", f"Edit {path}", str(Path.cwd() / path), text)
        await self.client.session_update(self.session, update)
        Path(path).write_text(text)

    async def ask(self, kind: str, path: str, act: str = "") -> None:
        """Ask for permission; on a yes, do what the shell line says."""
        places = [ToolCallLocation(path=os.path.abspath(path))] if path else None
        call = ToolCallUpdate(tool_call_id=f"{kind}-{path}", kind=kind, locations=places)  # type: ignore[arg-type]
        answer = await self.client.request_permission(self.session, call, OPTIONS)
        chosen = getattr(answer.outcome, "option_id", "cancelled")
        await self.say(f"[{kind} {path}: {chosen}]\n")
        if chosen == "yes" and act:
            os.system(act)

    async def write(self, path: str, text: str) -> None:
        try:
            await self.client.write_text_file(self.session, os.path.abspath(path), text)
            await self.say(f"[wrote {path}]\n")
        except RequestError as error:
            await self.say(f"[not written: {error}]\n")

    async def read(self, path: str, *lines: int) -> None:
        try:
            got = await self.client.read_text_file(self.session, os.path.abspath(path), *lines)
            await self.say(f"[read {got.content!r}]\n".replace("{", "{{").replace("}", "}}"))
        except RequestError as error:
            await self.say(f"[not read: {error}]\n")

    async def shell(self, line: str) -> None:
        os.system(line)

    async def terminal(self) -> None:
        try:
            await self.client.create_terminal(self.session, "id")
            await self.say("[a terminal]\n")
        except Exception as error:
            await self.say(f"[no terminal: {type(error).__name__}]\n")

    async def fail(self, code: int, message: str) -> None:
        raise RequestError(code, message)

    async def die(self, code: int) -> None:
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(code)

    async def flood(self, size: int) -> None:
        await self.say("x" * size)

    async def raw(self, line: str, times: int = 1) -> None:
        """Bytes past the package."""
        rest = (line.encode() + b"\n") * times
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except BlockingIOError:
                time.sleep(0.001)

    async def hang(self, deaf: bool = False) -> None:
        if deaf:
            time.sleep(600)
        await self.cancelled.wait()
        Path("cancelled").write_text("heard")

    async def spawn(self, line: str) -> None:
        os.system(f"setsid {line} &")


if __name__ == "__main__":
    asyncio.run(run_agent(Scripted(json.loads(Path(sys.argv[1]).read_text()))))
