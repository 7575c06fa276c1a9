"""What an agent or a run could tell and nobody may read: keys, and the tokens of sign-ins."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from overnight.arena.settings import AgentTable
from overnight.stage.log import begun_length

_KEY = re.compile(r"(^|_|API|ACCESS|AUTH|PRIVATE)(KEY|TOKEN|SECRET|PASSWORD)S?(_|$)", re.IGNORECASE)
_LEAST, _LEAST_WORD = 8, 16
"""Characters of a secret, and of one that could be a word, or a number, by its characters."""
_WORD = re.compile(r"[A-Za-z._/:-]+|[\d._/:-]+")
_TOKEN = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])(?!/)(?!\S*://)[\w.~+/=:|-]{20,}")
"""What is one by its looks alone, wherever it stands: neither a path nor an address."""
_PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")
"""In an address."""
_MOST_FILE_BYTES = 100_000
_B64_LINE = 57
"""Bytes that a line of base64 holds where it is wrapped."""


def is_key(variable: str) -> bool:
    """Whether a variable is called a key, a token, a secret or a password."""
    return _KEY.search(variable) is not None


def name_of_key(given: Sequence[str]) -> str | None:
    """The only variable of these, or the only one of several that is called a key."""
    named = given if len(given) == 1 else [name for name in given if is_key(name)]
    return named[0] if len(named) == 1 else None


@dataclass(frozen=True)
class Secrets:
    """The secrets of one program that is not trusted, and of everybody whose key is in this
    process's environment.

    Shorter ones than 8 characters are none, nor are those that have fewer than 16 and are words or
    numbers by their characters: they stand in many texts by chance.
    """

    forms: Mapping[str, str]
    """Each secret, in every form in which it is looked for → its name, the longest first."""
    redacted_only: frozenset[str] = frozenset()
    """Names of variables that the agent was given and that are called no key: what they hold is
    blotted out, but no change is refused for it."""

    @classmethod
    def of(cls, given: Sequence[str] = (), data: Sequence[str] = ()) -> Secrets:
        """By the variables that are named like keys, those that a program is given, and the
        sign-ins among the paths that it may read."""
        own = name_of_key(given)
        keys = {name for name in os.environ if is_key(name) or name == own}
        redacted_only = frozenset({*given} & os.environ.keys() - keys)
        names = [*sorted(redacted_only), *sorted(keys)]  # what is both counts as a key
        found = {part: name for name in names for part in _secret_parts(os.environ[name])}
        found |= _sign_in_tokens(data)
        forms = {form: name for secret, name in found.items() for form in _forms(secret)}
        return cls(dict(sorted(forms.items(), key=lambda item: -len(item[0]))), redacted_only)

    @classmethod
    def of_agent(cls, table: AgentTable | None) -> Secrets:
        """Those that the agent of this table could tell."""
        return cls.of(table.env, table.data) if table else cls.of()

    def redacted(self, text: str) -> str:
        """The text with the names of the secrets in their place, at its end also of one that was
        cut there. What is hidden in another way is not found."""
        for form, name in self.forms.items():
            text = text.replace(form, f"[{name}]")
        body = text.removesuffix("…")
        for form, name in self.forms.items():
            if (cut := begun_length(body, form)) >= _LEAST:
                return f"{body[: len(body) - cut]}[{name}]" + "…" * (body != text)
        return text

    def redact_file(self, path: Path) -> None:
        """The same for a log."""
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        if (clean := self.redacted(text)) != text:
            path.write_bytes(clean.encode("utf-8", "surrogateescape"))

    def found_in(self, content: bytes) -> str | None:
        """The name of a key, or of a sign-in, that stands there."""
        for form, name in self.forms.items():
            if name not in self.redacted_only and os.fsencode(form) in content:
                return name
        return None

    @property
    def redactions(self) -> Sequence[tuple[bytes, bytes]]:
        """Each, and what is written in its place."""
        return [(os.fsencode(form), os.fsencode(f"[{name}]")) for form, name in self.forms.items()]


def _secret_parts(value: str) -> Iterator[str]:
    """What is secret of a variable's value: of an address its password, of a path nothing, of
    several lines or words, or of JSON, each that looks like a token too."""
    if (at := value.find("://")) >= 0 and value[:at].isalnum():
        pieces: Iterable[str] = _PASSWORD.findall(value)
    elif value.startswith(("/", "~/")) and Path(*Path(value).expanduser().parts[:2]).exists():
        pieces = ()
    else:
        tokens = (piece for text in _strings(_parsed(value)) for piece in text.split())
        pieces = [value, *filter(_TOKEN.fullmatch, tokens)]
    for piece in pieces:
        plain = len(piece) < _LEAST_WORD and _WORD.fullmatch(piece)
        if len(piece) >= _LEAST and not plain:
            yield piece


def _sign_in_tokens(paths: Sequence[str]) -> dict[str, str]:
    """Token → the file of the person's that it is in; the files of sign-ins are JSON."""
    found: dict[str, str] = {}
    for name in paths:
        path = Path(os.path.expandvars(name)).expanduser()
        if path.suffix == ".json" and path.is_file() and path.stat().st_size <= _MOST_FILE_BYTES:
            text = path.read_text(errors="replace")
            found |= {token: name for token in _strings(_parsed(text)) if _TOKEN.fullmatch(token)}
    return found


def _parsed(text: str) -> object:
    """What it says in JSON; the text, where it is none."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _forms(secret: str) -> Iterator[str]:
    """As it is, in an address, in JSON, in base64 wherever it begins there, and on one line."""
    yield secret
    yield " ".join(secret.split())
    yield quote(os.fsencode(secret), safe="")
    for ascii_ in (True, False):
        written = json.dumps(secret, ensure_ascii=ascii_)[1:-1]
        yield from (written, written.replace("/", r"\/"))
    data = os.fsencode(secret)
    for before, unsure in ((0, 0), (1, 2), (2, 3)):
        # Characters at the ends depend on what stands beside it.
        whole = (before + len(data)) // 3 * 4
        yield base64.b64encode(b"-" * before + data).decode()[unsure:whole]
    if len(data) > _B64_LINE:
        yield base64.b64encode(data[:_B64_LINE]).decode()
