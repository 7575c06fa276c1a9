"""Commit messages: a change without a title is described by its own lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import Bench, repository
from overnight.repo.commit_message import change_in_words


@pytest.mark.parametrize(
    ("name", "before", "after", "words"),
    [
        ("a.py", "LR = 0.1\n", "LR = 0.2\n", "a.py: LR = 0.1 → LR = 0.2"),
        ("a.sql", "-- one\n++i\nx\n", "x\n", "a.sql: 0 lines added, 2 removed"),
        ("a.sh", "run\n", "run\n++ x\n-- y\n", "a.sh: 2 lines added, 0 removed"),
        ("a.md", "x\n", "x\n+++ b/other\n", "a.md: 1 line added, 0 removed"),
        ("a.py", "x", "y", "a.py: x → y"),
        ("a.py", "x\x0c-y\n", "x\n", "a.py: x -y → x"),
        ("größe.py", "x\n", "y\n", "größe.py: x → y"),
        ("a b/a b.py", "x\n", "y\n", "a b/a b.py: x → y"),
        ('q"u\note.py', "x\n", "y\n", 'q"u ote.py: x → y'),
        ("a.bin", "\0x", "\0y", "a.bin: 0 lines added, 0 removed"),
        ("a.py", "", "x\n\ny\n", "a.py: 3 lines added, 0 removed"),
    ],
)
def test_a_change_is_described_by_its_lines(
    tmp_path: Path, name: str, before: str, after: str, words: str
) -> None:
    bench = Bench(repository(tmp_path / "r"))
    (old, _), (new, _) = (bench.changed({f"model/{name}": text}) for text in (before, after))
    assert change_in_words(bench.workspace.diff(old, new)) == f"model/{words}"


def test_a_renamed_file_is_named_as_it_is_now(tmp_path: Path) -> None:
    bench = Bench(repository(tmp_path / "r", {"model/a.py": "x = 1\n"}))
    place, folder = bench.checkout()
    (folder / "model" / "a.py").rename(folder / "model" / "größe.py")
    made = bench.commit(place)
    assert made.commit is not None
    words = change_in_words(bench.workspace.diff(bench.head, made.commit))
    assert words == "model/größe.py: 0 lines added, 0 removed"
