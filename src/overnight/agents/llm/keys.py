"""The key of a model."""

from __future__ import annotations

import os

from overnight.arena.settings import AgentTable
from overnight.stage.secrets import name_of_key


def key_of(table: AgentTable) -> str | None:
    """The key that arena.toml names; None: LiteLLM finds the provider's own variables by itself."""
    if key := os.environ.get(name_of_key(table.env) or ""):
        return key
    # A server of the person's own is not sent the key of a provider.
    return "none" if table.url else None
