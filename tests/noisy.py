"""An arena whose scores are noisy, and what a campaign in it came to."""

from __future__ import annotations

from pathlib import Path

from overnight import Campaign, Experiment
from toy import ARENA, git, make_toy

NOISY = """import json, os, pathlib, random
text = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text()
x = float(next(w for w in text.split() if w.startswith("X=")).removeprefix("X="))
noise = random.Random(f"{os.environ['OVERNIGHT_SEED']} {text}").gauss(0, 1)
print(json.dumps({"loss": x + (0 if "steady" in text else noise)}))
"""


def noisy(folder: Path, judge: str = "", value: str = "X=50\n") -> Path:
    """An arena whose score is X, give or take 1, which a comment changes as well: so it counts."""
    table = judge if "[judge]" in judge else f"{judge}\n[judge]\n"
    table = table.replace("[judge]", "[judge]\nsame_programs = true")
    toy = make_toy(folder, ARENA + table, value=value)
    (toy / "score.py").write_text(NOISY)
    git(toy, "commit", "--quiet", "--all", "--message", "noise")
    return toy


def final(toy: Path) -> dict[int, Experiment]:
    with Campaign.open(toy, "t") as campaign:
        return {e.n: e for e in campaign.ledger.experiments("t")}
