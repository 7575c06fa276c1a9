"""Text to tokens, once per machine: what the run may read, and what only the referee may read.

    python prepare.py                                the Python standard library; no download
    python prepare.py --data ~/my-texts ~/one.txt    your own text, Parquet or JSON Lines
    python prepare.py --dataset tinystories          a public data set, downloaded

Below `$OVERNIGHT_HOME/nanogpt` this makes `train/NAME` (tokens and tokenizer) and `heldout/NAME`
(the documents that a candidate is judged on). Which NAME an arena uses is said in one place: the
`[setup] command` of its arena.toml, where the run and the referee read it too (`chosen`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sources
from sources import Document, copies

if TYPE_CHECKING:
    import tiktoken

VOCABULARY = 2048
HELD_OUT_BYTES = 200_000  # about this much is judged: more would make scoring slow
TOKENIZER_BYTES = 50_000_000  # the tokenizer learns from the first part of a large text
# A line break and the indentation after it are one piece: in code they mean something together.
PATTERN = r"\s*\n[ \t]*| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|[ \t]+(?!\S)|\s"


@dataclass(frozen=True)
class Tokens:
    """A prepared stream of tokens; every document begins with the token `boundary`."""

    ids: np.ndarray  # (N,) uint16
    vocabulary: int
    boundary: int
    text_bytes: int


# -- which data set ------------------------------------------------------------------------------


def root() -> Path:
    """The folder of everything prepared here, on this machine."""
    if home := os.environ.get("OVERNIGHT_HOME"):
        return Path(home).expanduser().resolve() / "nanogpt"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "overnight" / "nanogpt"


def parse(words: list[str]) -> argparse.Namespace:
    """The command line, with the name of the data set that it asks for."""
    parser = argparse.ArgumentParser("prepare.py", description="Text to tokens.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", nargs="+", metavar="PATH", help="files, or folders of files")
    source.add_argument("--dataset", choices=["stdlib", "tinystories", "climbmix"])
    parser.add_argument("--shards", type=int, default=4, help="of climbmix, 90 MB each")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="tokens")
    choice = parser.parse_args(words)
    if not 300 <= choice.vocabulary <= 65536:
        parser.error(f"--vocabulary {choice.vocabulary}: expected 300 to 65536")
    name = choice.dataset or "stdlib"
    if choice.data:
        choice.data = [str(Path(path).expanduser()) for path in choice.data]
        name = "files-" + hashlib.sha256("\0".join(choice.data).encode()).hexdigest()[:8]
    elif name == "climbmix":
        name += f"-{choice.shards}"
    choice.name = name if choice.vocabulary == VOCABULARY else f"{name}-v{choice.vocabulary}"
    return choice


def chosen() -> tuple[str, str]:
    """The data set of this arena and the command that prepares it, from arena.toml beside."""
    contract = Path(__file__).with_name("arena.toml")
    command = "python prepare.py"
    if contract.is_file():
        command = tomllib.loads(contract.read_text())["setup"]["command"]
    words = shlex.split(command)
    script = next(i for i, word in enumerate(words) if word.endswith("prepare.py"))
    return parse(words[script + 1 :]).name, command


def training_tokens() -> Tokens:
    """What a run learns from."""
    return _open("train")


def heldout_tokens() -> Tokens:
    """What the referee judges by. A run cannot read it, and never needs to."""
    tokens = _open("heldout")
    folder = root() / "heldout" / chosen()[0]
    _verify(folder, _manifest(folder))
    return tokens


def _open(part: str) -> Tokens:
    name, command = chosen()
    folder = root() / part / name
    manifest = _manifest(folder)
    if not manifest:
        raise SystemExit(f"{folder} is not there: run `{command}` once, then try again.")
    return Tokens(
        ids=np.memmap(folder / "tokens.bin", np.uint16, "r"),
        vocabulary=manifest["vocabulary"],
        boundary=manifest["vocabulary"] - 1,
        text_bytes=manifest["text_bytes"],
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        return content
    except FileNotFoundError:
        return {}


def _verify(folder: Path, manifest: dict[str, Any]) -> None:
    """The held-out tokens, and the files they came from, are still what was pinned."""
    pins = {str(folder / "tokens.bin"): manifest["sha256"]} | manifest["files"]
    for path, pinned in pins.items():
        # A file that is gone leaves nothing to peek at; a changed one is another yardstick.
        if path in manifest["files"] and not Path(path).exists():
            continue
        found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if found != pinned:
            raise SystemExit(
                f"held-out file {path} has changed since it was pinned (SHA-256 {found[:12]}, "
                f"expected {pinned[:12]}). Put it back; or remove {folder} and run prepare.py "
                "again: a new yardstick, so older scores do not compare with newer ones."
            )


def documents(choice: argparse.Namespace) -> Iterator[Document]:
    """The text that the command line asks for."""
    downloads = root() / "downloads" / str(choice.dataset)
    if choice.data:
        return sources.files(choice.data)
    if choice.dataset == "tinystories":
        return sources.downloaded([sources.STORIES], downloads)
    if choice.dataset == "climbmix":
        shards = [sources.CLIMBMIX.format(n) for n in range(choice.shards)]
        return sources.downloaded(shards, downloads)
    return sources.standard_library()


# -- split, tokenizer, files -----------------------------------------------------------------------


def split(texts: Iterable[Document], heldout: list[Document]) -> Iterator[Document]:
    """Yield what is for training; put the rest, drawn by checksum, into `heldout`."""
    room = HELD_OUT_BYTES
    for document in texts:
        # Files are drawn by name, so that two versions of Python differ little.
        key = document.name if document.path else document.text
        if room > 0 and document.quiet and zlib.crc32(key.encode()) % 8 == 0:
            heldout.append(document)
            room -= len(document.text.encode())
        else:
            yield document


def sample(texts: Iterable[Document]) -> Iterator[str]:
    """The first part of the training text: what the tokenizer learns from."""
    room = TOKENIZER_BYTES
    for document in split(texts, []):
        yield document.text
        room -= len(document.text)
        if room <= 0:
            return


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> tiktoken.Encoding:
    """Byte-pair encoding; the last token of the vocabulary marks where a document begins."""
    import rustbpe
    import tiktoken

    learner = rustbpe.Tokenizer()
    learner.train_from_iterator(texts, vocabulary - 1, pattern=PATTERN)
    ranks = {bytes(piece): rank for piece, rank in learner.get_mergeable_ranks()}
    if len(ranks) != vocabulary - 1:
        raise SystemExit(
            f"the text is too small: it gives {len(ranks) + 1} tokens, {vocabulary} were asked "
            "for. Add text, or ask for a smaller --vocabulary."
        )
    return tiktoken.Encoding(
        "nanogpt",
        pat_str=PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|document|>": vocabulary - 1},
    )


def write_part(
    folder: Path, texts: Iterable[Document], tokenizer: tiktoken.Encoding, **facts: Any
) -> None:
    """Write `tokens.bin` (a boundary, then the document's tokens, again and again) and what is
    known of it, `manifest.json`; the facts given may be filled while the texts are read."""
    boundary, stream = tokenizer.n_vocab - 1, iter(texts)
    count, size, digest = 0, 0, hashlib.sha256()
    folder.mkdir(parents=True)
    with (folder / "tokens.bin").open("wb") as file:
        while batch := [document.text for document in islice(stream, 1000)]:
            for text, ids in zip(batch, tokenizer.encode_ordinary_batch(batch), strict=True):
                raw = np.array([boundary, *ids], np.uint16).tobytes()
                digest.update(raw)
                file.write(raw)
                count, size = count + 1, size + len(text.encode())
    if not count:
        raise SystemExit("the text is too small to hold a part of it out. Add text: 1 MB or more.")
    manifest = {
        "vocabulary": tokenizer.n_vocab,
        "documents": count,
        "text_bytes": size,
        "sha256": digest.hexdigest(),
        "python": platform.python_version(),
        **facts,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def pin(heldout: Iterable[Document]) -> dict[str, str]:
    """Path to SHA-256 of the files that the held-out documents came from."""
    paths = [document.path for document in heldout if document.path]
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def build(choice: argparse.Namespace, place: Path) -> None:
    """Make `place/train` and `place/heldout`, complete."""
    print(f"learning {choice.vocabulary:,} tokens …", flush=True)
    tokenizer = train_tokenizer(sample(documents(choice)), choice.vocabulary)
    print("encoding …", flush=True)
    heldout: list[Document] = []
    write_part(place / "train", split(documents(choice), heldout), tokenizer)
    write_part(place / "heldout", heldout, tokenizer, files=pin(heldout))
    ranks = tokenizer._mergeable_ranks
    pieces = [base64.b64encode(piece).decode() for piece in sorted(ranks, key=ranks.__getitem__)]
    content = {"pattern": PATTERN, "pieces": pieces}
    (place / "train" / "tokenizer.json").write_text(json.dumps(content))


def note_hidden() -> None:
    """Write down, for arena.toml's `hidden`, where else on this machine held-out text lies."""
    manifests = (root() / "heldout").glob("*/manifest.json")
    pinned = [path for file in manifests for path in json.loads(file.read_text())["files"]]
    lines = sorted({str(place) for path in pinned for place in copies(path)})
    text, noted = "".join(f"{line}\n" for line in lines), root() / "hidden.txt"
    if not noted.exists() or noted.read_text() != text:
        fresh = root() / f"hidden-{os.getpid()}"
        fresh.write_text(text)
        fresh.replace(noted)


def main() -> None:
    """Prepare what the command line asks for, unless this machine has it already."""
    choice = parse(sys.argv[1:])
    parts = {part: root() / part / choice.name for part in ("heldout", "train")}
    if not all(map(_manifest, parts.values())):
        place = root() / f"building-{os.getpid()}"
        try:
            build(choice, place)
            for part, folder in parts.items():  # `train` last: it is what a run looks for
                folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(place / part, folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    manifest = _manifest(parts["heldout"])
    _verify(parts["heldout"], manifest)
    note_hidden()
    sizes = [_manifest(folder)["text_bytes"] / 1e6 for folder in parts.values()]
    print(f"{parts['train']}: {sizes[1]:.2f} MB to learn from, {sizes[0]:.2f} MB held out")
    if choice.name != chosen()[0]:
        words = shlex.join(["python", "prepare.py", *sys.argv[1:]])
        print(f"To use it, write in arena.toml under [setup]: command = {json.dumps(words)}")


if __name__ == "__main__":
    main()
