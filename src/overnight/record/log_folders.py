"""Where a campaign's logs are: a folder for each experiment, and one for each proposal until its
experiment is recorded."""

from __future__ import annotations

from pathlib import Path

from overnight.arena.arena import Arena
from overnight.core.experiment import Proposal


def campaign_logs(arena: Arena, tag: str) -> Path:
    return arena.state / "logs" / tag


def experiment_logs(arena: Arena, tag: str, n: int) -> Path:
    return campaign_logs(arena, tag) / str(n)


def proposal_logs(arena: Arena, tag: str, id: int) -> Path:
    return campaign_logs(arena, tag) / "proposals" / str(id)


def file_logs(arena: Arena, tag: str, proposal: Proposal) -> None:
    """Move the logs of a proposal to its experiment, unless they are there already. A driver that
    dies between the experiment's row and the move leaves them to the next one."""
    logs = proposal_logs(arena, tag, proposal.id)
    if proposal.n is None or not logs.exists():
        return
    kept = experiment_logs(arena, tag, proposal.n)
    kept.mkdir(parents=True, exist_ok=True)
    for file in logs.iterdir():
        file.replace(kept / file.name)
    logs.rmdir()
