"""Where text comes from: this Python's own library, files of yours, public data sets.

Every source yields documents; prepare.py splits them and turns them into tokens.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Parts of the standard library that neither Python's start nor PyTorch imports: their files can be
# hidden from a run without breaking it, so the held-out documents are drawn from them.
QUIET = re.compile(
    "(cgi|distutils|doctest|ftplib|idlelib|imaplib|lib2to3|mailbox|nntplib|optparse|plistlib|pydoc"
    "|smtplib|sqlite3|telnetlib|tkinter|turtle|turtledemo|webbrowser|wsgiref|xmlrpc)[/.]"
)
LONGEST_QUIET = 25_000  # characters, so that no single file decides the score
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
GENERATED = ("encodings/", "pydoc_data/", "_sysconfigdata", "config-")

HUGGING_FACE = "https://huggingface.co/datasets/karpathy"
STORIES = f"{HUGGING_FACE}/tinystories-gpt4-clean/resolve/main/tinystories_gpt4_clean.parquet"
CLIMBMIX = f"{HUGGING_FACE}/climbmix-400b-shuffle/resolve/main/shard_{{:05d}}.parquet"


class Document(NamedTuple):
    """One text, and where it came from."""

    name: str
    text: str
    path: str = ""  # of a file that must be hidden from the run when this is held out
    quiet: bool = True  # whether it may be held out


def standard_library() -> Iterator[Document]:
    """Sources of this Python, one document a file, without duplicates and generated tables."""
    library = Path(sysconfig.get_path("stdlib"))
    seen = set()
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).as_posix()
        if name.startswith(GENERATED) or SKIPPED & set(Path(name).parts):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if text and text not in seen:
            seen.add(text)
            quiet = QUIET.match(name) is not None and len(text) < LONGEST_QUIET
            yield Document(name, text, str(path), quiet)


def copies(path: str) -> Iterator[Path]:
    """Everything on this machine that holds the text of a file: the file; for one of the standard
    library its whole package, compiled or not, in every Python that a run could read."""
    library = Path(sysconfig.get_path("stdlib"))
    if not Path(path).is_relative_to(library):
        yield Path(path)
        return
    top = Path(path).relative_to(library).parts[0]
    installed = [
        place for root in ("/usr", "/usr/local") for place in Path(root).glob("lib/python3*")
    ]
    for place in [library, *installed]:
        module = top.removesuffix(".py")
        found = [place / top, *(place / "__pycache__").glob(f"{module}.*.pyc")]
        yield from (one for one in found if one.exists())


def files(paths: Iterable[str]) -> Iterator[Document]:
    """Documents of text, Parquet and JSON Lines files, in the order given; folders by name."""
    for given in map(Path, paths):
        if not given.exists():
            raise SystemExit(f"--data {given}: there is no such file or folder. Check its name.")
        if not given.is_absolute():
            raise SystemExit(
                f"--data {given} is relative, but an arena prepares its data in a checkout "
                f"elsewhere. Write it as {given.resolve()}"
            )
        inside = sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else [given]
        for path in inside:
            yield from _documents(path)


def _documents(path: Path) -> Iterator[Document]:
    if path.suffix == ".parquet":
        yield from (Document(path.name, text) for text in _parquet(path))
    elif path.suffix in (".jsonl", ".ndjson"):
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield Document(path.name, _json_text(line, f"{path}, line {number}"))
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SystemExit(
                f"{path} is not UTF-8 text ({error}). Convert or leave it out."
            ) from None
        yield from (Document(path.name, piece) for piece in _pieces(text))


def _pieces(text: str, size: int = 8000) -> Iterator[str]:
    """A long text cut after line breaks, so that even a single file has a part to hold out."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def _json_text(line: str, where: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise SystemExit(f'{where}: expected {{"text": "…"}}, found {line[:60]!r}')
    return text


def _parquet(path: Path) -> Iterator[str]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise SystemExit(f"{path} needs pyarrow to be read: pip install pyarrow") from None
    table = pq.ParquetFile(path)
    if "text" not in table.schema_arrow.names:
        raise SystemExit(
            f'{path}: expected a column "text", found {", ".join(table.schema_arrow.names)}'
        )
    for batch in table.iter_batches(columns=["text"]):
        yield from (text for text in batch.column(0).to_pylist() if text)


def downloaded(urls: Iterable[str], folder: Path) -> Iterator[Document]:
    """Documents of data sets on the Hugging Face hub, whose files are kept in `folder`."""
    for url in urls:
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            download(url, path, _published_sha256(url))
        yield from _documents(path)


def _published_sha256(url: str) -> str:
    """The hub answers `raw` with a few lines about a large file; one of them is its SHA-256."""
    try:
        with urllib.request.urlopen(url.replace("/resolve/", "/raw/"), timeout=30) as answer:
            pointer = answer.read(1000).decode("utf-8", "replace")
    except OSError as error:
        raise SystemExit(
            f"{url} cannot be reached ({error}). Check the connection and run the same again."
        ) from error
    if "oid sha256:" not in pointer:
        raise SystemExit(f"{url}: expected a checksum from the hub, found {pointer[:80]!r}")
    return pointer.split("oid sha256:")[1].split()[0]


def download(url: str, path: Path, sha256: str, attempts: int = 5) -> None:
    """Fetch a file into `path`; what a cut connection left is continued, never begun again."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, attempts + 1):
        try:
            _fetch(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            print(f"{url}: {error} (attempt {attempt} of {attempts})", file=sys.stderr)
            if attempt == attempts:
                raise SystemExit(
                    f"{url} could not be fetched: {error}. Run the same command again: it goes "
                    f"on after the {part.stat().st_size if part.exists() else 0:,} bytes it has."
                ) from error
            time.sleep(min(2**attempt / 10, 10))
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise SystemExit(
            f"{url}: SHA-256 {found[:12]}, expected {sha256[:12]}. The damaged file was removed; "
            "run the same command again."
        )
    part.replace(path)


def _fetch(url: str, part: Path) -> None:
    """One connection's worth, appended to `part`. Raises OSError when it ends too early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        total = int(answer.headers.get("Content-Length", 0)) + file.tell()
        shown = time.monotonic()
        while chunk := answer.read(1 << 20):
            file.write(chunk)
            if time.monotonic() - shown > 2:
                shown = time.monotonic()
                print(f"{file.tell() / 1e6:,.0f} of {total / 1e6:,.0f} MB", file=sys.stderr)
        if file.tell() < total:
            raise ConnectionError(f"connection cut at byte {file.tell():,} of {total:,}")
