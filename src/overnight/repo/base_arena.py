"""The contract of a campaign: arena.toml as the campaign's base commit has it."""

from __future__ import annotations

from overnight.arena.arena import FILE, Arena
from overnight.core.errors import ArenaError
from overnight.repo.workspace import Workspace


def base_arena(arena: Arena, workspace: Workspace, base: str) -> Arena:
    """The contract as the base commit has it: what counts for a whole campaign. Who proposes, and
    what that may cost, is no part of it: scores compare whoever made the change."""
    text = workspace.read(base, FILE)
    if text is None:
        raise ArenaError(f"{FILE} is not in the commit {base[:10]}: commit it first")
    begun = Arena.parse(text.decode("utf-8", "replace"), arena.root)
    return begun.model_copy(update={"agents": arena.agents, "portfolio": arena.portfolio})
