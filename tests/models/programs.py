"""The agent programs that tests run: which versions, and where they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PLACE = "OVERNIGHT_TEST_AGENTS"
"""The variable that names the folder they are installed in, instead of one in the cache."""


@dataclass(frozen=True)
class Program:
    """Where a program comes from."""

    packages: tuple[str, ...]
    executable: str
    npm: bool = True


PROGRAMS = {
    "claude": Program(("@anthropic-ai/claude-code@~2.1.0",), "claude"),
    "codex": Program(("@openai/codex@~0.169.0",), "codex"),
    "gemini": Program(("@google/gemini-cli@~0.61.0",), "gemini"),
    "opencode": Program(("opencode-ai@~1.18.0",), "opencode"),
    "aider": Program(("aider-chat==0.86.*",), "aider", npm=False),
    # It imports mcp without asking for it.
    "mini": Program(("mini-swe-agent==2.4.*", "mcp"), "mini", npm=False),
}


def place() -> Path:
    """The folder that has one folder for each program."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(PLACE) or Path(cache) / "overnight" / "test-agents")


def installed(name: str) -> Path | None:
    """The executable, if this version of it was installed to the end."""
    folder, program = place() / name, PROGRAMS[name]
    mark = _mark(folder)
    if not mark.is_file() or mark.read_text() != " ".join(program.packages):
        return None
    return _bin(folder, program) / program.executable


def install(name: str) -> Path:
    """The executable, after installing it where it was not."""
    if found := installed(name):
        return found
    folder, program = place() / name, PROGRAMS[name]
    folder.mkdir(parents=True, exist_ok=True)
    if program.npm:
        quiet = ["--no-audit", "--no-fund", "--loglevel", "error"]
        subprocess.run(
            ["npm", "install", "--prefix", str(folder), *quiet, *program.packages], check=True
        )
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = str(_bin(folder, program) / "pip")
        subprocess.run([pip, "install", "--quiet", *program.packages], check=True)
    _mark(folder).write_text(" ".join(program.packages))
    return _bin(folder, program) / program.executable


def _bin(folder: Path, program: Program) -> Path:
    return folder / "node_modules" / ".bin" if program.npm else folder / "bin"


def _mark(folder: Path) -> Path:
    return folder / "installed"


if __name__ == "__main__":
    for one in sys.argv[1:] or PROGRAMS:
        print(install(one))
