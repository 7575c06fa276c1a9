"""The nanogpt template for tests: where it is, and its files run as its stages run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1] / "src" / "overnight" / "templates" / "nanogpt"
MODULES = ("train", "prepare", "sources", "score", "serve")


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
