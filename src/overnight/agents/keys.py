"""The key of a model."""

from __future__ import annotations

import os
import re

from overnight.tables import AgentTable

_KEY = re.compile(r"(^|_|API|ACCESS|AUTH|PRIVATE)(KEY|TOKEN|SECRET|PASSWORD)S?(_|$)", re.IGNORECASE)


def is_key(variable: str) -> bool:
    """Whether a variable is called a key, a token, a secret or a password."""
    return _KEY.search(variable) is not None


def name_of_key(table: AgentTable) -> str | None:
    """The only variable that is named, or the only one of several that is called a key."""
    named = table.env if len(table.env) == 1 else [name for name in table.env if is_key(name)]
    return named[0] if len(named) == 1 else None


def key_of(table: AgentTable) -> str | None:
    """The key that arena.toml names; None: LiteLLM finds the provider's own variables by itself."""
    if key := os.environ.get(name_of_key(table) or ""):
        return key
    # A server of the person's own is not sent the key of a provider.
    return "none" if table.url else None
