"""The nanogpt template for tests: where it is, its files run as its stages run them, a small text
for it, and a budget that suits this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1] / "src" / "overnight" / "templates" / "nanogpt"
TEXT = "".join(f"def f{n}(x):\n    return x * {n} + len('{n:x}')\n\n\n" for n in range(9000))


def python(
    folder: Path, home: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a file of the arena as its stages do: in its folder, told of everything by variables."""
    env = {
        **os.environ,
        "OVERNIGHT_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{f"OVERNIGHT_{name}": value for name, value in variables.items()},
    }
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def manifest(home: Path, part: str, name: str = "stdlib") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (home / "nanogpt" / part / name / "manifest.json").read_text()
    )
    return content


def use_text(arena: Path, home: Path, folder: Path) -> None:
    """Prepare the text of a folder and let arena.toml use it, as prepare.py says how."""
    done = python(arena, home, "prepare.py", "--data", str(folder), "--vocabulary", "400")
    assert done.returncode == 0, done.stderr
    command = re.search(r"command = (.*)", done.stdout)
    assert command, "it does not say how to use it"
    contract = arena / "arena.toml"
    text = contract.read_text()
    assert '"python prepare.py"' in text
    contract.write_text(text.replace('"python prepare.py"', command[1]))


def start_seconds(arena: Path, home: Path) -> float:
    """Processor time that a run needs on this machine before its first step."""
    done = python(arena, home, "train.py", BUDGET_S="0.5", CLOCK="cpu")
    said = re.search(r"after a start of ([\d.]+) s .* has no time for a step", done.stderr)
    assert said and done.returncode != 0, done.stderr
    return float(said[1])
