"""Runs an agent program on a scripted model as its preset says, in a home of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRESETS = Path(__file__).parents[2] / "src" / "overnight" / "agents" / "presets"
_COUNTS = ("tokens_in", "tokens_cached", "tokens_out", "dollars")

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """What became of one run."""

    code: int
    seconds: float
    megabytes: float
    said: str
    errors: str
    session: str
    counts: Mapping[str, float]
    """Those of tokens_in, tokens_cached, tokens_out and dollars that the output tells."""
    kind: str
    """Of the failure that the output tells of; "" for none."""


@dataclass(frozen=True)
class Place:
    """The folders of a run."""

    folder: Path
    home: Path


def preset(name: str) -> Table:
    """The preset as it stands in its file."""
    return tomllib.loads((PRESETS / f"{name}.toml").read_text())


def run(
    name: str,
    program: Path,
    server: str,
    place: Place,
    prompt: str,
    *,
    files: Sequence[str] = (),
    limit: float = 60,
    **given: str,
) -> Ran:
    """Run the program once; `given` are model, session, turns and dollars as far as there are."""
    table = preset(name)
    given = {"turns": "100", "model": table["server"].get("model", ""), **given}
    given = {key: value for key, value in given.items() if value}
    words = {**given, "prompt": prompt, "server": server, "key": "no-key"}
    words |= {"folder": str(place.folder), "home": str(place.home)}
    for path, content in table.get("home", {}).items():
        (place.home / path).parent.mkdir(parents=True, exist_ok=True)
        (place.home / path).write_text(_filled(content, words))
    (place.home / "stdin").write_text(prompt if table["prompt"] == "stdin" else "")
    command = [str(program), *_expanded(table, given, files, words)]
    env = {**table.get("env", {}), **table["server"]["env"]}
    env = _environment(place, program) | {key: _filled(env[key], words) for key in env}
    code, seconds, megabytes = _ended(command, env, limit, place)
    said, errors = ((place.home / one).read_text(errors="replace") for one in ("said", "errors"))
    file = place.home / _filled(table["output"].get("file", "said"), words)
    counts = read_counts(file.read_text(errors="replace"), table) if file.is_file() else {}
    session, kind = _session(said, table.get("session", "")), failure(said + errors, table)
    return Ran(code, seconds, megabytes, said, errors, session, counts, kind)


def _expanded(table: Table, given: Table, files: Sequence[str], words: Table) -> Iterator[str]:
    """The arguments. A `{name}` that stands alone becomes that option's, or nothing."""
    options = {key: table["options"].get(key, []) for key in given}
    options["resume"] = table["options"].get("resume", []) if "session" in given else []
    options |= {"server": table["server"].get("arguments", []), "files": files}
    for word in table["command"]:
        alone = re.fullmatch(r"\{(model|turns|dollars|resume|server|files)\}", word)
        for one in options.get(alone[1], []) if alone else [word]:
            yield _filled(one, words)


def _filled(text: str, words: Table) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), text)


def _environment(place: Place, program: Path) -> dict[str, str]:
    path = f"{program.parent}:{os.environ['PATH']}"
    scratch = place.home / "tmp"
    scratch.mkdir(exist_ok=True)
    named = {"HOME": str(place.home), "TMPDIR": str(scratch), "PATH": path}
    return {**named, "TERM": "dumb", "LANG": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null"}


def _ended(
    command: Sequence[str], env: dict[str, str], limit: float, place: Place
) -> tuple[int, float, float]:
    """Exit code, seconds and memory of a program; past its limit its whole group is ended."""
    start = time.monotonic()
    with (
        (place.home / "stdin").open() as given,
        (place.home / "said").open("w") as said,
        (place.home / "errors").open("w") as errors,
    ):
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=env,
            stdin=given,
            stdout=said,
            stderr=errors,
            start_new_session=True,
        )
    timers = [threading.Timer(limit, os.killpg, (process.pid, signal.SIGTERM))]
    timers.append(threading.Timer(limit + 5, os.killpg, (process.pid, signal.SIGKILL)))
    for timer in timers:
        timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    for timer in timers:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - start, usage.ru_maxrss / 1024


def read_counts(text: str, table: Table) -> dict[str, float]:
    """What the output tells of tokens and dollars."""
    output = table["output"]
    events = list(_events(text, output["format"]))
    for part in (output, output.get("partial", {})):
        chosen = list(_chosen(events, part))
        counts = {key: _sum(chosen, part[key]) for key in _COUNTS if key in part}
        if counts and chosen:
            return counts
    return {}


def _events(text: str, form: str) -> Iterator[Any]:
    for line in [text] if form == "json" else text.splitlines():
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _chosen(events: Sequence[Any], table: Table) -> Iterator[Any]:
    seen = set()
    for event in events:
        if all(event.get(key) == value for key, value in table.get("where", {}).items()):
            mark = str(list(_values(event, table["unique"]))) if "unique" in table else None
            if mark is None or mark not in seen:
                seen.add(mark)
                yield event


def _sum(events: Sequence[Any], paths: Sequence[str]) -> float:
    found = (value for event in events for path in paths for value in _values(event, path))
    return sum(value or 0 for value in found)


def _values(data: Any, path: str) -> Iterator[Any]:
    """All values at a dotted path, in which `*` is every key or place."""
    key, _, rest = path.partition(".")
    if key == "*":
        inner = list(data.values()) if isinstance(data, dict) else list(data)
    else:
        inner = [data[key]] if isinstance(data, dict) and key in data else []
    for one in inner:
        if not rest:
            yield one
        elif isinstance(one, dict | list):
            yield from _values(one, rest)


def _session(text: str, path: str) -> str:
    found = (value for event in _events(text, "jsonl") for value in _values(event, path))
    return next(found, "") if path else ""


def failure(text: str, table: Table) -> str:
    """The kind of the first failure whose pattern is in the output."""
    for one in table.get("failures", []):
        if re.search(one["pattern"], text):
            return str(one["kind"])
    return ""
