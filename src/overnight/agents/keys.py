"""The key of a model, and keeping it off the disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from overnight.tables import AgentTable

_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)S?(_|$)")
_LEAST, _LEAST_TELLING = 8, 16
"""Characters of a secret that is blotted out, and of one that is no word: what is shorter stands in
many texts by chance."""


def is_secret(name: str) -> bool:
    """Whether a variable is called a key, a token, a secret or a password."""
    return _SECRET.search(name) is not None


def key_of(table: AgentTable) -> str | None:
    """The key that arena.toml names; None: LiteLLM finds the provider's own variables by itself."""
    if key := os.environ.get(name_of_key(table) or ""):
        return key
    # A server of the person's own is not sent the key of a provider.
    return "none" if table.url else None


def redacted(text: str, table: AgentTable | None = None) -> str:
    """The text with the variable's name in place of every key in this process's environment, and of
    the one that the table names."""
    names = {name for name in os.environ if _SECRET.search(name)}
    names |= {name_of_key(table) or ""} if table else set()
    for name in sorted(names, key=lambda name: -len(os.environ.get(name, ""))):
        value = os.environ.get(name, "")
        if len(value) >= _LEAST:
            text = text.replace(value, f"[{name}]")
    return text


def blot_out(path: Path, table: AgentTable | None) -> None:
    """Redact a log. Agents print what they see, and they may see their key."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if (clean := redacted(text, table)) != text:
        path.write_text(clean, encoding="utf-8", errors="surrogateescape")


def secret_in(text: str) -> str | None:
    """The variable of this process's environment whose secret stands in the text."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _LEAST_TELLING and value in text:
            return name
    return None


def name_of_key(table: AgentTable) -> str | None:
    """The variable that holds the key of a model's API: the only one that the table names, or the
    only one of several that is called a key."""
    named = table.env if len(table.env) == 1 else [n for n in table.env if _SECRET.search(n)]
    return named[0] if len(named) == 1 else None
