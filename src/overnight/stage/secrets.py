"""Secrets that an agent or a run could reveal: keys, and tokens in sign-in files."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from overnight.arena.settings import AgentTable
from overnight.stage.log import begun_length

_KEY = re.compile(
    r"(^|_|API|ACCESS|AUTH|PRIVATE|PG)(KEY|TOKEN|SECRET|PASSWORD)S?(_|$)", re.IGNORECASE
)
_LEAST, _LEAST_WORD = 8, 16
"""Fewest characters of a secret, and of one that consists of letters or of digits alone."""
_WORD = re.compile(r"[A-Za-z._/:-]+|[\d._/:-]+")
_TOKEN = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])(?!/)(?!\S*://)[\w.~+/=:|-]{20,}")
"""Text that is taken for a token wherever it stands: letters and digits, not a path or a URL."""
_PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")
"""The password in a URL."""
_MOST_FILE_BYTES = 100_000
_B64_LINE = 57
"""Bytes encoded in one line of wrapped base64."""


def is_key(variable: str) -> bool:
    """Whether a variable's name says that it holds a key, token, secret or password."""
    return _KEY.search(variable) is not None


def name_of_key(given: Sequence[str]) -> str | None:
    """The variable among `given` that holds the key: the only one, or the only one named as a key.
    None if there is no such variable, or more than one."""
    named = given if len(given) == 1 else [name for name in given if is_key(name)]
    return named[0] if len(named) == 1 else None


@dataclass(frozen=True)
class Secrets:
    """Secrets visible to one untrusted program, and all keys in overnight's own environment;
    redacted from everything that is recorded.

    Values shorter than 8 characters are not secrets, nor are words and numbers shorter than 16:
    they occur in many texts by chance.
    """

    forms: Mapping[str, str]
    """Each form of each secret → the name of its variable or file; longest form first."""
    redacted_only: frozenset[str] = frozenset()
    """Names of the program's variables that are not named as keys: their values are redacted, but
    no change is refused because of them."""

    @classmethod
    def of(cls, given: Sequence[str] = (), data: Sequence[str] = ()) -> Secrets:
        """The secrets of a program. `given`: names of its environment variables; `data`: paths it
        may read, some of which may be sign-in files."""
        own = name_of_key(given)
        keys = {name for name in os.environ if is_key(name) or name == own}
        redacted_only = frozenset({*given} & os.environ.keys() - keys)
        names = [*sorted(redacted_only), *sorted(keys)]  # a value in both counts as a key
        found = {part: name for name in names for part in _secret_parts(os.environ[name])}
        found |= _sign_in_tokens(data)
        forms = {form: name for secret, name in found.items() for form in _forms(secret)}
        return cls(dict(sorted(forms.items(), key=lambda item: -len(item[0]))), redacted_only)

    @classmethod
    def of_agent(cls, table: AgentTable | None) -> Secrets:
        """The secrets visible to the agent of this table."""
        return cls.of(table.env, table.data) if table else cls.of()

    def redacted(self, text: str) -> str:
        """The text with each secret replaced by its name, also a secret that the end of the text
        cuts off. Other encodings are not found."""
        for form, name in self.forms.items():
            text = text.replace(form, f"[{name}]")
        body = text.removesuffix("…")
        for form, name in self.forms.items():
            if (cut := begun_length(body, form)) >= _LEAST:
                return f"{body[: len(body) - cut]}[{name}]" + "…" * (body != text)
        return text

    def redact_file(self, path: Path) -> None:
        """Redact the secrets in a log file."""
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        if (clean := self.redacted(text)) != text:
            path.write_bytes(clean.encode("utf-8", "surrogateescape"))

    def found_in(self, content: bytes) -> str | None:
        """Name of the first key or sign-in file whose secret is in `content`, or None."""
        for form, name in self.forms.items():
            if name not in self.redacted_only and os.fsencode(form) in content:
                return name
        return None

    @property
    def redactions(self) -> Sequence[tuple[bytes, bytes]]:
        """Pairs of a secret and its replacement."""
        return [(os.fsencode(form), os.fsencode(f"[{name}]")) for form, name in self.forms.items()]


def _secret_parts(value: str) -> Iterator[str]:
    """The secret parts of a variable's value. Of a URL: its password. Of a path: none. Of anything
    else: all of it, and each token in its words or JSON strings."""
    if (at := value.find("://")) >= 0 and value[:at].isalnum():
        pieces: Iterable[str] = _PASSWORD.findall(value)
    elif _is_path(value):
        pieces = ()
    else:
        tokens = (piece for text in _strings(_parsed(value)) for piece in text.split())
        pieces = [value, *filter(_TOKEN.fullmatch, tokens)]
    for piece in pieces:
        plain = len(piece) < _LEAST_WORD and _WORD.fullmatch(piece)
        if len(piece) >= _LEAST and not plain:
            yield piece


def _is_path(value: str) -> bool:
    """Whether the first folder of an absolute path exists."""
    if value.startswith(("/", "~/")):
        with suppress(OSError):  # a key that begins with / may be longer than a file's name
            return Path(*Path(os.path.expanduser(value)).parts[:2]).exists()
    return False


def _sign_in_tokens(paths: Sequence[str]) -> dict[str, str]:
    """Token → the sign-in file that contains it. Sign-in files are JSON."""
    found: dict[str, str] = {}
    for name in paths:
        path = Path(os.path.expanduser(os.path.expandvars(name)))
        if path.suffix == ".json" and path.is_file() and path.stat().st_size <= _MOST_FILE_BYTES:
            text = path.read_text(errors="replace")
            found |= {token: name for token in _strings(_parsed(text)) if _TOKEN.fullmatch(token)}
    return found


def _parsed(text: str) -> object:
    """The text parsed as JSON; the text itself if it is not JSON."""
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
    """The forms of a secret: as it is, on one line, URL-quoted, in JSON, and in base64 at each
    offset."""
    yield secret
    yield " ".join(secret.split())
    yield quote(os.fsencode(secret), safe="")
    for ascii_ in (True, False):
        written = json.dumps(secret, ensure_ascii=ascii_)[1:-1]
        yield from (written, written.replace("/", r"\/"))
    data = os.fsencode(secret)
    for before, unsure in ((0, 0), (1, 2), (2, 3)):
        # The characters at the ends depend on the neighbouring bytes.
        whole = (before + len(data)) // 3 * 4
        yield base64.b64encode(b"-" * before + data).decode()[unsure:whole]
    if len(data) > _B64_LINE:
        yield base64.b64encode(data[:_B64_LINE]).decode()
