"""How an agent program is started and confined."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

from overnight.agents.base import Workbench
from overnight.arena.commandline import words_of
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, MeasurementImpossible, UsageError
from overnight.core.text import one_line, tail
from overnight.measure.reach import agent_confinement, expanded, make_home
from overnight.measure.stages import stage_environment
from overnight.record.notes import NAME
from overnight.sandbox.named import sandbox_named
from overnight.sandbox.runtime import home_folder
from overnight.stage.disk import MOST_FILES
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageResult, StageSpec, run_stage

BRIEF = '"$(cat "$OVERNIGHT_BRIEF")"'
"""The brief as one word of a shell line. No shell reads it as code, whatever it contains."""
MOST_ARGUMENT = 25_000
"""Tokens of a brief that is passed as an argument: Linux allows 128 KiB."""
_MOST_LINE = 128 * 1024
_MOST_PROCESSES = 4000
_PROMPT = "{prompt}"
_PARTS = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|(?<!\S)\#[^\n]*|\{prompt\}|.""", re.DOTALL)
"""Of a shell line: an escaped character, quoted text, a comment, `{prompt}`, another character."""


def brief_path(bench: Workbench) -> Path:
    """The brief as a file."""
    return bench.transcript.with_name("brief.md")


def with_brief(name: str, line: str) -> str:
    """The shell line with the brief in place of each `{prompt}`, and of quotes directly around it.

    Raises UsageError for one within a longer quoted text, where the brief could not be one word.
    """
    if _PROMPT in line and "<<" in line:
        raise UsageError(
            f"{name}: {{prompt}} cannot stand in a line with a here-document (<<); write it as an "
            "argument, or let the program read the file $OVERNIGHT_BRIEF"
        )
    return "".join(_filled(name, part) for part in _PARTS.findall(line))


def _filled(name: str, part: str) -> str:
    if part in (_PROMPT, f"'{_PROMPT}'", f'"{_PROMPT}"'):
        return BRIEF
    if _PROMPT in part and not part.startswith("#"):
        raise UsageError(
            f"{name}: {{prompt}} stands within the quoted text {one_line(part, 80)}; write it as a "
            "word of its own, as in `my-agent --task {prompt}`, or let the program read the file "
            "$OVERNIGHT_BRIEF"
        )
    return part


def program_stage(table: AgentTable, bench: Workbench, command: str) -> StageSpec:
    """The stage that runs a shell line in the worktree: confined, with the variables and data that
    the table names, a private home, and limits on time, processes and disk. Its output is the
    transcript, without secrets.

    Raises UsageError when the sandbox that the arena names does not work here.
    """
    env = _environment(table, bench)
    confinement, sandbox = None, sandbox_named(bench.sandbox)
    data = expanded(table.data, bench.arena.root)
    env["HOME"] = str(make_home(sandbox, bench.private / "home", data))
    if sandbox:
        confinement = agent_confinement(
            sandbox, bench.arena, bench.private, bench.folder, table, env
        )
    return StageSpec(
        command,
        bench.folder,
        env,
        bench.transcript,
        bench.transcript,
        table.within(bench.allowance).timeout,
        processes=_MOST_PROCESSES,
        disk_folders=[bench.private],
        confinement=confinement,
        redactions=Secrets.of_agent(table).redactions,
        family=bench.family,
    )


def require_reach(
    name: str, table: AgentTable, bench: Workbench, spec: StageSpec, result: StageResult
) -> None:
    """Raises UsageError, which ends the campaign, if the program failed because its command names a
    file that is on this machine but not where the agent works: it would fail at every proposal. Not
    once it has made a candidate: then it does not need the file."""
    worked = any(e.agent == name and e.candidate for e in bench.history)
    if result.end is not StageEnd.EXITED or not result.exit_code or worked:
        return
    command, last = table.command or "", tail(spec.stderr, 10).splitlines()
    printed = "\n".join(line for line in last if _MISSING.search(line))
    for word in _words(command):
        there = Path(os.path.normpath(bench.arena.root / os.path.expanduser(word)))
        if there.name not in printed or _sees(spec, bench, word, there):
            continue
        rest = (
            "; its sandbox hides the rest of this machine, apart from installed programs and the "
            "paths in its `data`"
        )
        known = name in bench.arena.agents
        raise UsageError(
            f"{name}: its command names {word}, which the agent cannot read. It works in "
            f"its own checkout of what is committed{rest if spec.confinement else ''}. In "
            f"arena.toml, write below [agents.{name if known else 'mine'}]: "
            f"command = {_quoted(command.replace(word, shlex.quote(str(there))))} and "
            f"data = [{_quoted(str(there))}]" + ("" if known else "; then run with --agent mine")
        )


_MISSING = re.compile(r"(?i)no such file|not found|can(no|')t (open|find|access)|does not exist")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML string


def _words(command: str) -> list[str]:
    try:
        return [word for word in words_of(command) if Path(word).name]
    except ValueError:  # a quote is not closed: only the shell can say more
        return []


def _sees(spec: StageSpec, bench: Workbench, word: str, there: Path) -> bool:
    """Whether the program sees what a word of its command names, or there is no such file."""
    if not (os.path.isfile(there) or os.path.isdir(there)):
        return True
    if not word.startswith(("/", "~")):
        return os.path.exists(bench.folder / word)
    # In their place a confined program has private ones.
    if spec.confinement is None or there in (Path("/tmp"), Path("/var/tmp"), home_folder()):
        return True
    policy = spec.confinement.policy
    shown = [*policy.readable, *policy.own, *policy.writable, Path("/dev"), Path("/proc")]
    return any(there.is_relative_to(path) for path in shown)


def run_program(
    name: str,
    spec: StageSpec,
    stopping: threading.Event,
    started: Callable[[float], None] | None = None,
) -> StageResult:
    """Run the stage of an agent program. Raises AgentError if it cannot be started: that is the
    agent's failure and not the machine's."""
    try:
        return run_stage(spec, stopping, started)
    except MeasurementImpossible as error:
        size = len(spec.command.encode(errors="replace"))
        if size >= _MOST_LINE:
            raise AgentError(
                f"{name} did not start: its shell line has {size:,} bytes, and Linux allows fewer "
                f"than {_MOST_LINE:,}; name fewer files in `editable`, or shorten `command`"
            ) from error
        why = str(error).replace(repr(spec.command), f"`{one_line(spec.command)}`")
        raise AgentError(f"{name} did not start: {why}") from error


def ended_how(result: StageResult) -> str:
    """For messages, after the agent's name. Not for a program that was ended by its time limit or
    its watch."""
    match result.end:
        case StageEnd.PROCESSES:
            return f"had more than {_MOST_PROCESSES:,} processes and was ended"
        case StageEnd.DISK:
            return (
                f"wrote more than {StageSpec.disk_bytes:,} bytes or {MOST_FILES:,} files "
                "and was ended"
            )
        case StageEnd.LOST | StageEnd.STOPPED:
            return "was ended from outside, together with its supervisor"
    return f"ended with exit code {result.exit_code}"


def _environment(table: AgentTable, bench: Workbench) -> dict[str, str]:
    """A fixed list of variables, and those that arena.toml names for this agent."""
    return {
        **stage_environment(bench.arena, bench.private / "tmp", table.env),
        "OVERNIGHT_BRIEF": str(brief_path(bench)),
        "OVERNIGHT_EXPERIMENT": str(bench.n),
        "OVERNIGHT_NOTES": str(bench.arena.state / NAME),
    }
