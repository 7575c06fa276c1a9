"""A small arena for tests: real git, real processes, a score that is computed, not trained."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from overnight import cli

ARENA = """
name = "toy"
editable = ["value.py"]

[metric]
name = "loss"
direction = "minimize"

[run]
command = "sh run.sh"
budget = "20s"

[score]
command = "python3 score.py"
timeout = "20s"
"""
RUN = """echo "claimed: 7"
. ./value.py
cp value.py "$OVERNIGHT_OUT/value"
"""
SCORE = """import json, os, pathlib
lines = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text().splitlines()
x = float(next(line for line in lines if line.startswith("X=")).split("=")[1].split("#")[0])
print("the referee speaks")
print(json.dumps({"loss": abs(x - 3), "x": x}))
"""
VALUE = "X=10\n"


def git(folder: Path, *words: str, check: bool = True) -> str:
    """Run git as the user would, with no configuration of the machine."""
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "a person",
        "GIT_AUTHOR_EMAIL": "person@example.org",
        "GIT_COMMITTER_NAME": "a person",
        "GIT_COMMITTER_EMAIL": "person@example.org",
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"git {words}: {done.stderr}")
    return done.stdout


def write_toy(folder: Path, arena: str = ARENA, run: str = RUN, value: str = VALUE) -> Path:
    """The toy's files, in no repository."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "arena.toml": arena,
        "program.md": "Find the best X.\n",
        "run.sh": run,
        "score.py": SCORE,
        "value.py": value,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def make_toy(folder: Path, arena: str = ARENA, run: str = RUN, value: str = VALUE) -> Path:
    """The toy in a repository of its own, committed."""
    write_toy(folder, arena, run, value)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "toy")
    return folder


def write_patches(folder: Path, values: list[str], old: str = VALUE) -> Path:
    """Patches that each replace the toy's whole value.py by one line, whatever it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, value in enumerate(values, 1):
        (folder / f"{n:03d}.patch").write_text(
            f"Subject: set {value}\n\nHypothesis number {n}.\n"
            "diff --git a/value.py b/value.py\n--- a/value.py\n+++ b/value.py\n"
            f"@@ -1 +1 @@\n-{old.strip()}\n+{value}\n"
        )
    return folder


def overnight(
    folder: Path, *words: str, env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The installed command, as a user would run it."""
    return subprocess.run(
        ["overnight", *words],
        cwd=folder,
        env={**os.environ, "TERM": "dumb", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which spares each its start and its imports."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.run([*words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
