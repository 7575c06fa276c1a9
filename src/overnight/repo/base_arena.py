"""The contract of a campaign: arena.toml in the campaign's base commit."""

from __future__ import annotations

from overnight.arena.arena import FILE, Arena
from overnight.core.errors import ArenaError
from overnight.repo.workspace import Workspace


def base_arena(arena: Arena, workspace: Workspace, base: str) -> Arena:
    """The arena as the base commit has it, for the whole campaign. Agents and portfolio are taken
    from the current arena.toml: scores compare regardless of which agent made the change.

    Raises ArenaError if the commit has no arena.toml.
    """
    text = workspace.read(base, FILE)
    if text is None:
        raise ArenaError(f"{FILE} is not in commit {base[:10]}: commit it first")
    begun = Arena.parse(text.decode("utf-8", "replace"), arena.root)
    return begun.model_copy(update={"agents": arena.agents, "portfolio": arena.portfolio})
