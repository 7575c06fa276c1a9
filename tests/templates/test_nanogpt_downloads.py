"""The nanogpt template's downloads: cut, continued, and held against a checksum."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nanogpt import TEMPLATE
from template import imported

BLOB = bytes(range(256)) * 8000


class Hub(http.server.BaseHTTPRequestHandler):
    """A server with ranges that cuts its first `cuts` answers after 700,000 bytes."""

    cuts = 0
    asked: list[str | None]

    def do_GET(self) -> None:
        cls = type(self)
        if "/raw/" in self.path:
            pointer = f"version 1\noid sha256:{hashlib.sha256(BLOB).hexdigest()}\nsize 1\n"
            return self.answer(200, pointer.encode(), len(pointer))
        wanted = self.headers["Range"]
        cls.asked.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        body = BLOB[start:]
        sent = body[:700_000] if cls.cuts > 0 else body
        cls.cuts -= 1
        return self.answer(206 if wanted else 200, sent, len(body))

    def answer(self, status: int, body: bytes, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(scope="module")
def sources() -> Iterator[ModuleType]:
    with imported(TEMPLATE, "sources") as module:
        yield module


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    """The address of a running server, and its class with what was asked of it."""
    kind = type("Hub", (Hub,), {"cuts": 0, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/resolve/main/part.txt", kind
    server.shutdown()
    server.server_close()


def test_a_cut_download_is_continued_where_it_ended(
    hub: tuple[str, type[Hub]], tmp_path: Path, sources: ModuleType
) -> None:
    url, server = hub
    server.cuts = 2
    path = tmp_path / "d" / "blob"
    sources.download(url, path, hashlib.sha256(BLOB).hexdigest())
    assert path.read_bytes() == BLOB
    assert server.asked == [None, "bytes=700000-", "bytes=1400000-"]
    assert [p.name for p in path.parent.iterdir()] == ["blob"]


def test_a_download_that_keeps_failing_can_be_gone_on_with(
    hub: tuple[str, type[Hub]], tmp_path: Path, sources: ModuleType
) -> None:
    url, server = hub
    server.cuts = 1
    path, digest = tmp_path / "blob", hashlib.sha256(BLOB).hexdigest()
    with pytest.raises(SystemExit, match="goes on after the 700,000 bytes"):
        sources.download(url, path, digest, attempts=1)
    assert not path.exists()
    sources.download(url, path, digest, attempts=1)
    assert path.read_bytes() == BLOB and server.asked[-1] == "bytes=700000-"


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    hub: tuple[str, type[Hub]], tmp_path: Path, sources: ModuleType
) -> None:
    with pytest.raises(SystemExit, match="expected 000000"):
        sources.download(hub[0], tmp_path / "blob", "0" * 64)
    assert not list(tmp_path.iterdir())


def test_the_hubs_own_checksum_is_what_a_download_is_held_against(
    hub: tuple[str, type[Hub]], sources: ModuleType
) -> None:
    assert sources._published_sha256(hub[0]) == hashlib.sha256(BLOB).hexdigest()
