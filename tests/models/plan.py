"""Turns a reply into what the program that asks can use, judged by the tools that it offers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.ask import Ask
from models.reply import Edit, Run, Say, Words

_REPLACE = (
    "import pathlib, sys; p = pathlib.Path(sys.argv[1]); t = p.read_text(); "
    "assert sys.argv[2] in t; p.write_text(t.replace(sys.argv[2], sys.argv[3], 1))"
)
_SHELLS = ("exec_command", "Bash", "run_shell_command", "shell", "bash")
_ENDS_MINI = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


@dataclass(frozen=True)
class Step:
    """One answer of several: words, or the use of a tool."""

    text: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    free: str | None = None


def plan(reply: Words, ask: Ask) -> list[Step]:
    """The answers that the reply takes, one for each request to come."""
    if isinstance(reply, Say):
        if set(ask.tools) == {"bash"}:  # mini-swe-agent ends with a command, never with words
            return [Step(reply.text, "bash", {"command": _ENDS_MINI})]
        return [Step(reply.text)]
    return [_shell(reply.line, ask)] if isinstance(reply, Run) else _edit(reply, ask)


def _edit(edit: Edit, ask: Ask) -> list[Step]:
    tools, file = set(ask.tools), os.path.join(ask.folder, edit.file)
    if {"Read", "Edit"} <= tools:  # claude-code
        change = {"file_path": file, "old_string": edit.old, "new_string": edit.new}
        return [Step(tool="Read", arguments={"file_path": file}), Step("", "Edit", change)]
    if {"read_file", "replace"} <= tools:  # gemini-cli
        change = {"file_path": file, "old_string": edit.old, "new_string": edit.new}
        change["instruction"] = "Change what is said."
        return [Step(tool="read_file", arguments={"file_path": file}), Step("", "replace", change)]
    if {"read", "edit"} <= tools:  # opencode
        change = {"filePath": file, "oldString": edit.old, "newString": edit.new}
        return [Step(tool="read", arguments={"filePath": file}), Step("", "edit", change)]
    if "apply_patch" in tools:  # codex, with a model that it knows
        return [Step(tool="apply_patch", free=_patch(edit))]
    if tools:
        words = ["python3", "-c", _REPLACE, edit.file, edit.old, edit.new]
        return [_shell(shlex.join(words), ask)]
    block = f"<<<<<<< SEARCH\n{edit.old}\n=======\n{edit.new}\n>>>>>>> REPLACE"
    return [Step(f"{edit.file}\n```python\n{block}\n```")]


def _patch(edit: Edit) -> str:
    old = "\n".join(f"-{line}" for line in edit.old.split("\n"))
    new = "\n".join(f"+{line}" for line in edit.new.split("\n"))
    return f"*** Begin Patch\n*** Update File: {edit.file}\n@@\n{old}\n{new}\n*** End Patch\n"


def _shell(line: str, ask: Ask) -> Step:
    tool = next((name for name in _SHELLS if name in ask.tools), None)
    if tool is None:
        return Step(f"```bash\n{line}\n```")
    if tool == "exec_command":
        return Step(tool=tool, arguments={"cmd": line})
    arguments: dict[str, Any] = {"command": line, "description": "A line"}
    if tool == "shell":
        arguments["command"] = ["bash", "-c", line]
    if set(ask.tools) == {"bash"}:
        del arguments["description"]
    return Step(tool=tool, arguments=arguments)
