"""A campaign of patches that must end alike, however often its driver dies on the way."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from overnight.arena.arena import Arena
from overnight.record.ledger import Ledger
from toy import ARENA, git, make_toy

RUN = """newest=$(ls n/* 2>/dev/null | tail -n 1)
newest=${newest:-value.py}
case "$(cat "$newest")" in *[27]) echo boom; exit 3;; esac
(setsid sleep 300 &)
cp "$newest" "$OVERNIGHT_OUT/value"
"""
JUDGES = {
    "threshold": '\n[judge]\nrule = "threshold"\ngain = 0.5\nrepeats = 2\n',
    "confirm": "",
}
NOISY = """import json, os, pathlib, random
text = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text()
noise = random.Random(f"{os.environ['OVERNIGHT_SEED']} {text}").gauss(0, 2)
print(json.dumps({"loss": abs(float(text.split("=")[1]) - 3) + noise}))
"""


def arena_with_patches(folder: Path, rule: str, patches: int) -> Path:
    """Every patch adds a file, so that it applies to any incumbent; the newest file counts."""
    arena = ARENA.replace('["value.py"]', '["value.py", "n/*"]') + JUDGES[rule]
    toy = make_toy(folder / "arena", arena, run=RUN)
    if rule == "confirm":
        (toy / "score.py").write_text(NOISY)
        git(toy, "commit", "--quiet", "--all", "--message", "noise")
    (folder / "patches").mkdir()
    for n in range(patches):
        value = 200 - 3 * n if n % 3 else 500 - n
        text = f"diff --git a/n/{n:02d} b/n/{n:02d}\nnew file mode 100644\n--- /dev/null\n"
        text += f"+++ b/n/{n:02d}\n@@ -0,0 +1 @@\n+X={value}\n"
        (folder / "patches" / f"{n:02d}.patch").write_text(f"Subject: X={value}\n\n{text}")
    return toy


def command(toy: Path) -> list[str]:
    agent = f"patches:{toy.parent / 'patches'}"
    return [
        sys.executable,
        "-m",
        "overnight",
        "run",
        "-C",
        str(toy),
        "--tag",
        "k",
        "--agent",
        agent,
    ]


def state(toy: Path) -> dict[str, object]:
    """All that must be equal, whatever happened on the way: no times, no commit ids."""
    arena = Arena.load(toy)
    ledger = Ledger.at(arena.state / "ledger.db", arena.name)
    experiments = ledger.experiments("k")
    ledger.close()
    with (toy / ".overnight" / "results.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    same = ("loss", "status", "description", "n", "gain", "agent", "measurements", "hypothesis")
    refs = git(toy, "for-each-ref", "--format=%(refname) %(tree)", "refs/overnight").splitlines()
    return {
        "experiments": [
            (
                e.n,
                e.verdict,
                e.score,
                e.gain,
                e.description,
                [(m.seed, m.score) for m in e.measurements],
            )
            for e in experiments
        ],
        "refs": refs,
        "branch": git(toy, "log", "--format=%s %T", "overnight/k").splitlines(),
        "parents": [git(toy, "rev-parse", f"{e.parent}^{{tree}}") for e in experiments if e.parent],
        "results": [{key: row[key] for key in same} for row in rows],
        "logs": {f"{e.n}/{log.name}" for e in experiments for log in _logs(arena, e.n)},
        "worktrees": sorted(p.name for p in (toy / ".overnight" / "worktrees" / "k").glob("*")),
    }


def _logs(arena: Arena, n: int) -> list[Path]:
    """What must be found with an experiment: its brief, and the folders of its measurements."""
    return [*(arena.state / "logs" / "k" / str(n)).iterdir()]


def strays(toy: Path) -> list[str]:
    """Processes of this arena's stages that are alive."""
    mark = f"OVERNIGHT_STAGE={toy}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue  # it ended while we looked
    return found
