"""An agent for tests that writes what it was given, and a campaign run with an agent to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from overnight import Campaign, Experiment, Idea, Limits
from overnight.agents.base import Workbench


@dataclass
class Writer:
    """An agent that writes one text after another into value.py."""

    texts: list[str]
    name: str = "writer"
    seen: list[Workbench] = field(default_factory=list)

    def propose(self, bench: Workbench) -> Idea | None:
        self.seen.append(bench)
        if bench.n > len(self.texts):
            return None
        text = self.texts[bench.n - 1]
        (bench.folder / "value.py").write_text(text)
        return Idea(f"set {text.strip()}", f"hypothesis {bench.n}")


def run(folder: Path, agent: object, **limits: float) -> list[Experiment]:
    """Run to the end; every experiment that was observed, the baseline first."""
    observed: list[Experiment] = []
    with Campaign.open(folder, "t") as campaign:
        campaign.run(agent, Limits(**limits), observed.append)  # type: ignore[arg-type]
    return observed


def verdicts(experiments: list[Experiment]) -> list[str]:
    return [str(e.verdict) for e in experiments]
