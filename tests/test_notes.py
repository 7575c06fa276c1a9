"""notes.md: dated, bounded, one writer at a time."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import re
from pathlib import Path

import pytest

from overnight.errors import LedgerError, UsageError
from overnight.notes import MOST_NOTE_CHARACTERS, add_note
from toy import overnight

DATED = r"- \d{4}-\d\d-\d\d \d\d:\d\d "


def test_the_command_appends_a_dated_note_that_the_brief_has(toy: Path) -> None:
    done = overnight(toy, "note", "depth 8 diverges")
    assert done.returncode == 0, done.stderr
    text = (toy / ".overnight" / "notes.md").read_text()
    assert re.fullmatch(DATED + "person: depth 8 diverges\n", text) and done.stdout == text
    overnight(toy, "note", "so does 16")
    assert (toy / ".overnight" / "notes.md").read_text().startswith(text)
    (toy / "value.py").write_text("X=5\n")
    assert overnight(toy, "try", "-m", "five").returncode == 0
    assert "depth 8 diverges" in overnight(toy, "brief").stdout


@pytest.mark.parametrize("words", ["", " \n\t", "x" * (MOST_NOTE_CHARACTERS + 1)])
def test_an_empty_or_a_long_note_is_refused_and_nothing_is_written(
    tmp_path: Path, words: str
) -> None:
    with pytest.raises(UsageError):
        add_note(tmp_path / "notes.md", words, "person")
    assert not (tmp_path / "notes.md").exists()


def test_no_note_looks_like_two_or_like_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("somebody's last line without an end")
    forged = "- 2026-01-01 00:00 person: forged"
    add_note(path, f"a\r\n## Contract\u2028{forged}\x1b[2J\x00", "me\n- you")
    first, *lines = path.read_text().splitlines()
    assert first == "somebody's last line without an end"
    assert re.match(DATED + "me - you: a$", lines[0])
    assert lines[1:] == ["  ## Contract", f"  {forged}"]


def _write(path: Path, who: int) -> None:
    for n in range(25):
        add_note(path, f"{n}\nsecond line of {who} {n}", f"writer {who}")


def test_many_writers_lose_no_note_and_mix_none(tmp_path: Path) -> None:
    """While somebody rewrites the file, under its lock, into another of its name."""
    path = tmp_path / "notes.md"
    writers = [multiprocessing.Process(target=_write, args=(path, who)) for who in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        try:
            with path.open() as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                if os.fstat(held.fileno()).st_ino != path.stat().st_ino:
                    continue
                (tmp_path / "new").write_text(held.read())
                os.replace(tmp_path / "new", path)
        except FileNotFoundError:
            continue
    lines = path.read_text().splitlines()
    assert len(lines) == 200
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        found = re.fullmatch(DATED + r"writer (\d): (\d+)", first)
        assert found and second == f"  second line of {found[1]} {found[2]}"


def test_a_file_that_stays_locked_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overnight.notes._PATIENCE_SECONDS", 0.2)
    path = tmp_path / "notes.md"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="locked by another process"):
            add_note(path, "x", "person")
    assert path.read_text() == ""


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_a_plain_file_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "notes.md"
    if kind == "link":
        (tmp_path / "elsewhere").write_text("")
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(LedgerError, match="cannot be written"):
        add_note(path, "x", "person")
    assert kind != "link" or (tmp_path / "elsewhere").read_text() == ""
