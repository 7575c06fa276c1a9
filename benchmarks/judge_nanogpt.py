"""The judge on the real thing: campaigns of the nanogpt template whose changes are known.

A `command` agent makes them, one after another. In the first campaign it changes only comments and
seeds: nothing may be kept. In the second, which begins from a spoilt program, it plants changes
that help, changes that harm and comments: those that help must stay, and no harm. What is printed
at the end of each is the report as far as its wins. A run has a few seconds of processor time, so
that the whole takes an hour.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from overnight.core.experiment import Experiment
from overnight.templates.make import make_arena
from overnight.views.reader import open_record

Change = tuple[str, str, str]
"""A title, a regular expression, and what takes its place in train.py; NUMBER is the experiment's
number."""
USER = ["-c", "user.name=planter", "-c", "user.email=planter@example.org"]
TABLE = """
[agents.planter]
command = "python planter.py"
"""

AGENT = """import os, re, pathlib
n = int(os.environ["OVERNIGHT_EXPERIMENT"])
title, find, put = {changes!r}[(n - 1) % {count}]
file = pathlib.Path("train.py")
file.write_text(re.sub(find, put.replace("NUMBER", str(n)), file.read_text(), count=1))
pathlib.Path(".overnight-idea.md").write_text(title.replace("NUMBER", str(n)))
"""
COMMENT = ("a comment", r"\A", "# comment NUMBER\n")
NOTHING = [
    COMMENT,
    ("a seed of its own", r"(?m)^SEED = .*$", "SEED = 1000 + NUMBER"),
    ("a comment after the model", r"(?m)^# The model.*$", "# The model, NUMBER."),
    ("another seed", r"torch\.manual_seed\(.*?\)", "torch.manual_seed(NUMBER)"),
]
HELP, HARM = "helps: ", "harms: "


def constant(kind: str, name: str, value: str) -> Change:
    """A change of one of train.py's constants."""
    return (f"{kind}{name} = {value}", rf"(?m)^{name} = \S+", f"{name} = {value}")


SPOILT = [
    constant("", "MATRIX_LR", "0.002"),
    constant("", "EMBEDDING_LR", "0.01"),
]
"""What the second campaign begins with, so that it is known what helps."""
# Each harm is one at this budget by a wide margin, or undoes what helps: of others, such as
# MOMENTUM = 0.8, a dozen runs a side do not tell which they are.
PLANTED = [
    COMMENT,
    constant(HARM, "BATCH", "64"),
    constant(HELP, "EMBEDDING_LR", "1.0"),
    COMMENT,
    constant(HARM, "HEAD_LR", "0.0005"),
    constant(HELP, "MATRIX_LR", "0.02"),
    COMMENT,
    constant(HELP, "WIDTH", "64"),
    constant(HELP, "DEPTH", "2"),
    COMMENT,
    constant(HARM, "EMBEDDING_LR", "0.01"),
    COMMENT,
    constant(HARM, "MATRIX_LR", "0.002"),
    COMMENT,
]


def arena(folder: Path, budget: str, changes: Sequence[Change], spoilt: Sequence[Change]) -> Path:
    """The template with this budget and an agent that makes these changes in turn; `spoilt` are
    made beforehand."""
    make_arena("nanogpt", folder)
    train = folder / "train.py"
    for _, find, put in spoilt:
        train.write_text(re.sub(find, put, train.read_text()))
    contract, agent = folder / "arena.toml", folder / "planter.py"
    text = re.sub(r'(?m)^budget = "[^"]*"', f'budget = "{budget}"', contract.read_text())
    table = "[judge]\n" if "[judge]" not in text else ""
    text = (text + table).replace("[judge]\n", "[judge]\nsame_programs = true\n")
    contract.write_text(text + TABLE)
    agent.write_text(AGENT.format(changes=changes, count=len(changes)))
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "what is planted"]):
        subprocess.run(["git", *USER, *words], cwd=folder, check=True)
    return folder


def campaign(
    title: str,
    budget: str,
    changes: Sequence[Change],
    times: int,
    spoilt: Sequence[Change] = (),
) -> list[Experiment]:
    """Run it, print it as a person would see it, and return what it came to."""
    print(f"\n== {title}: {times} experiments of {budget}\n", flush=True)
    with tempfile.TemporaryDirectory() as place:
        root = arena(Path(place) / "arena", budget, changes, spoilt)
        for words in (["run", "--agent", "planter", "--experiments", str(times)], ["log"]):
            subprocess.run(["overnight", *words, "-C", str(root)], check=True)
        report = (root / ".overnight" / "report.md").read_text()
        print("\n" + report.partition("## What did not work")[0], flush=True)
        with open_record(root, None) as record:
            return record.ledger.experiments(record.tag)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="16s", help="processor time of one run")
    parser.add_argument("--only", choices=("nothing", "planted"))
    given = parser.parse_args()
    if given.only != "planted":
        found = campaign("comments and seeds", given.budget, NOTHING, 40)
        print(f"kept: {sum(e.kept for e in found[1:])} of {len(found) - 1}, expected: 0")
    if given.only != "nothing":
        found = campaign("planted", given.budget, PLANTED, len(PLANTED), SPOILT)
        for kind in (HELP, HARM):
            planted = [e for e in found if e.description.startswith(kind)]
            kept = sum(e.kept for e in planted)
            print(f"{kind.strip(': ')}: {kept} of {len(planted)} kept")


if __name__ == "__main__":
    main()
