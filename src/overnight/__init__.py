"""overnight: write program.md in the evening, wake up to a better program, with proof.

from overnight import Campaign, Limits, agent_named

with Campaign.open("my-arena") as campaign:
    stop = campaign.run(agent_named("tuner", campaign.arena), Limits(experiments=12))
    print(stop.words, campaign.incumbent.score)
"""

from __future__ import annotations

from overnight.core.version import __version__

TYPE_CHECKING = False  # importing it from `typing` would delay the start of every command
if TYPE_CHECKING:
    from overnight.agents.named import agent_named
    from overnight.arena.arena import Arena
    from overnight.campaign.campaign import Campaign
    from overnight.campaign.limits import Limits, Stop
    from overnight.core.errors import OvernightError
    from overnight.core.experiment import Experiment, Idea, Measurement, Outcome, Verdict

_HOME = {
    "Arena": "arena.arena",
    "Campaign": "campaign.campaign",
    "Experiment": "core.experiment",
    "Idea": "core.experiment",
    "Limits": "campaign.limits",
    "Measurement": "core.experiment",
    "Outcome": "core.experiment",
    "OvernightError": "core.errors",
    "Stop": "campaign.limits",
    "Verdict": "core.experiment",
    "agent_named": "agents.named",
}
__all__ = [
    "Arena",
    "Campaign",
    "Experiment",
    "Idea",
    "Limits",
    "Measurement",
    "Outcome",
    "OvernightError",
    "Stop",
    "Verdict",
    "__version__",
    "agent_named",
]


def __getattr__(name: str) -> object:
    # Loaded on first use, so that `import overnight` does not load a database and a plot library.
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"overnight.{_HOME[name]}"), name)
    raise AttributeError(f"module 'overnight' has no attribute {name!r}")
