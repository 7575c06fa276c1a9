"""What an agent could tell and nobody may read: keys, and the tokens of sign-ins."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from overnight.agents.keys import is_key, name_of_key
from overnight.tables import AgentTable

_LEAST = 8
"""Characters of a secret: what is shorter stands in many texts by chance."""
_LEAST_WORD = 16
"""Characters of one that has letters alone, so that no change is refused for a word."""
_PIECE, _LEAST_IN_PIECES = 12, 20
"""Characters at a secret's beginning by which it is known when it was cut."""
_MOST_FILE_BYTES = 100_000
_TOKEN = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])(?!/)(?!\S*://)[\w.~+/=:|-]{20,}")
"""A token in a sign-in: neither a path nor an address."""
_OPAQUE = re.compile(r"(?!/)(?!\S*://)\S+")
"""The value of a variable that could be one, whatever it is called."""


@dataclass(frozen=True)
class Secrets:
    """The secrets of one agent, and of everybody whose key is in this process's environment."""

    blotted_out: Mapping[str, str]
    """Secret → what is written in its place."""
    kept_out: Mapping[str, str]
    """Those of them by which a change is refused: none of them is a word."""

    @classmethod
    def of(cls, table: AgentTable | None = None) -> Secrets:
        """By the variables named like keys, those that the table names, and the sign-ins that its
        program may read."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if len(value) >= _LEAST and not os.path.exists(value)  # the file of a key
        }
        given = {
            name
            for name in (table.env if table else ())
            if _OPAQUE.fullmatch(environment.get(name, ""))
        }
        own = name_of_key(table) if table else None
        keys = {name for name in environment if is_key(name) or (name == own and name in given)}
        tokens = dict(_signed_in(table.data if table else ()))
        named = {environment[name]: name for name in sorted(given | keys)}
        kept = {environment[name]: name for name in sorted(keys) if _tells(environment[name])}
        return cls(_in_every_form(named | tokens), _in_every_form(kept | tokens))

    def blotted(self, text: str) -> str:
        """The text with the names of the secrets in their place. What another has hidden or encoded
        in some way of its own is not found."""
        for form, name in self.blotted_out.items():
            text = text.replace(form, f"[{name}]")
        for pattern, name in self._pieces:
            text = pattern.sub(lambda _, name=name: f"[{name}]", text)  # type: ignore[misc]
        return text

    def blot_out(self, path: Path) -> None:
        """The same for a log."""
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if (clean := self.blotted(text)) != text:
            path.write_text(clean, encoding="utf-8", errors="surrogateescape")

    def found_in(self, content: bytes) -> str | None:
        """The name of one that a change holds."""
        forms = ((os.fsencode(form), name) for form, name in self.kept_out.items())
        return next((name for form, name in forms if form in content), None)

    @property
    def in_bytes(self) -> Sequence[tuple[bytes, bytes]]:
        """Each, and what is written in its place."""
        return [(os.fsencode(s), os.fsencode(f"[{name}]")) for s, name in self.blotted_out.items()]

    @cached_property
    def _pieces(self) -> Sequence[tuple[re.Pattern[str], str]]:
        return [
            (re.compile(re.escape(form[:_PIECE]) + r"[^\s\"'`,;)]*"), name)
            for form, name in self.blotted_out.items()
            if len(form) >= _LEAST_IN_PIECES
        ]


def _tells(value: str) -> bool:
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed or len(value) >= _LEAST_WORD


def _signed_in(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Token → the file of the person's that it is in; the files of sign-ins are JSON."""
    for name in paths:
        path = Path(name).expanduser()
        try:
            if path.suffix == ".json" and path.stat().st_size <= _MOST_FILE_BYTES:
                found = json.loads(path.read_bytes())
                yield from ((token, name) for token in _strings(found) if _TOKEN.fullmatch(token))
        except (OSError, ValueError):
            continue  # nobody is signed in by it


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _in_every_form(named: Mapping[str, str]) -> dict[str, str]:
    """As it is, in an address, in JSON that some write, and in base64; the longest first."""
    forms = {
        form: name
        for value, name in named.items()
        for form in (
            value,
            quote(value, safe=""),
            value.replace("/", r"\/"),
            base64.b64encode(os.fsencode(value)).decode().rstrip("="),
        )
    }
    return dict(sorted(forms.items(), key=lambda item: -len(item[0])))
