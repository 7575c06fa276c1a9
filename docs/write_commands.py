"""Write docs/commands.md from the commands' own help, so that the page cannot drift."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INTRODUCTION = """# Commands

Every command takes `-C DIR` (the arena; default: the one around the current folder) and, where it
speaks of a campaign, `--tag` (default: the newest one). Exit codes: 0 done, 1 the command failed,
2 the input was wrong, 4 nothing could be measured, 130 interrupted. `overnight try`: 0 keep,
10 discard, 11 crash, 12 timeout, 13 invalid or stale.

This page is written by `python docs/write_commands.py`.
"""


def page() -> str:
    """The page's whole text."""
    from overnight.cli import app

    names = [
        info.name or info.callback.__name__ for info in app.registered_commands if info.callback
    ]
    parts = [INTRODUCTION]
    for name in names:
        parts.append(f"## overnight {name}\n\n```\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def help_of(name: str) -> str:
    """What `overnight NAME --help` prints on a terminal of 88 columns."""
    environment = {**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "overnight", name, "--help"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        Path(__file__).with_name("commands.md").write_text(page())
