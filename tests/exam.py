"""The toy with a final exam whose scores nobody may meet: each has the digits of a secret in it."""

from __future__ import annotations

from pathlib import Path

from toy import ARENA, RUN, VALUE, git, write_toy

SECRET = "4321987"
"""Behind the point of every exam score; in the exam's hidden file, and in no other."""
EXAM = """import json, os, pathlib, time
folder = pathlib.Path({folder!r})
lines = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text().splitlines()
x = float(lines[0].split("=")[1].split("#")[0])
only = folder / "only"
while only.exists() and f"{{x:g}}" not in only.read_text().split():
    time.sleep(0.02)
score = abs(x - {best}) + float((folder / "secret").read_text())
print("the exam speaks", score)
print(json.dumps({{"loss": score, "twice": 2 * score}}))
"""
TABLE = """
[holdout]
command = "python3 exam.py"
timeout = "20s"
"""


def make_exam(
    folder: Path,
    arena: str = ARENA,
    table: str = TABLE,
    run: str = RUN,
    best: float = 3,
    exam: str = EXAM,
    value: str = VALUE,
) -> Path:
    """The toy, committed, with an exam on which the X of `best` would have the best score."""
    hidden = folder.with_name(f"{folder.name} exam")
    hidden.mkdir(parents=True)
    (hidden / "secret").write_text(f"0.{SECRET}")
    text = f'{arena}{table}hidden = ["{hidden}/secret"]\n'
    write_toy(folder, text, run, value)
    (folder / "exam.py").write_text(exam.format(folder=str(hidden), best=best))
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "toy")
    return folder


def hidden_folder(toy: Path) -> Path:
    """Where the exam's hidden data lies."""
    return toy.with_name(f"{toy.name} exam")
