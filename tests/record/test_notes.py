"""The notes: dated, by sections, short, one writer at a time, and never lost or doubled."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from night import HOSTILE
from overnight import Campaign, Idea, Limits
from overnight.agents.base import Workbench
from overnight.agents.programs.command import CommandAgent
from overnight.arena.settings import AgentTable
from overnight.core.errors import LedgerError, UsageError
from overnight.record.notes import (
    ARCHIVE,
    LEFT,
    MOST_BYTES,
    MOST_NOTE_CHARACTERS,
    MOST_SECTION,
    add_note,
    keep_note,
    read_notes,
    take_note,
)
from toy import git, overnight
from writer import run

DATED = r"- \d{4}-\d\d-\d\d \d\d:\d\d, "
ENTRY = re.compile(r"^- \d{4}-\d\d-\d\d \d\d:\d\d, (.*)$", re.MULTILINE)


def told(path: Path) -> list[str]:
    return ENTRY.findall(path.read_text(errors="replace")) if path.exists() else []


def everything(path: Path) -> list[str]:
    return told(path.with_name(ARCHIVE)) + told(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "notes.md"


def test_a_note_is_dated_and_signed_and_in_its_section(path: Path) -> None:
    add_note(path, "depth 8 diverges", "jul1/12, claude")
    add_note(
        path, "# Dead ends\n- momentum\n- a larger batch\n\n## learned\nwarm-up helps", "a person"
    )
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE", path.read_text()) == (
        "# Notes\n\n## Learned\n- DATE, jul1/12, claude: depth 8 diverges\n"
        "- DATE, a person: warm-up helps\n\n"
        "## Dead ends\n- DATE, a person: momentum\n  - a larger batch\n"
    )
    assert [s.heading for s in read_notes(path)] == ["", "## Learned", "## Dead ends"]


def test_the_same_words_of_the_same_one_are_kept_once(path: Path) -> None:
    for who in ("jul1/1, a", "jul1/2, a", "jul1/1, a"):
        add_note(path, "one\ntwo", who)
    add_note(path, "one", "jul1/1, a")
    assert keep_note(path, " \n", "jul1/1, a") == ""
    assert told(path) == ["jul1/1, a: one", "jul1/2, a: one", "jul1/1, a: one"]


def test_what_is_too_much_moves_to_the_archive_oldest_first_and_is_told(path: Path) -> None:
    for n in range(400):
        add_note(path, f"# {'AB'[n % 2]}\nnote {n} " + "x" * 60, f"t/{n}, a")
    assert sorted(everything(path)) == sorted(f"t/{n}, a: note {n} " + "x" * 60 for n in range(400))
    for section in read_notes(path)[1:]:
        assert len(section.text) <= MOST_SECTION + 500
        moved = re.match(
            r"- \((\d+) older notes of this section are in notes-arch", section.items[0]
        )
        assert moved and int(moved[1]) + len(ENTRY.findall(section.text)) == 200
    assert told(path)[-1].startswith("t/399, a") and "## A" in path.with_name(ARCHIVE).read_text()
    numbers = [int(line.split(",")[0][2:]) for line in told(path.with_name(ARCHIVE))]
    assert [n for n in numbers if n % 2] == sorted(n for n in numbers if n % 2)


def test_what_a_person_wrote_stays_as_and_where_it_is(path: Path) -> None:
    path.parent.mkdir()
    mine = b"mine\r\n\xff\xfe\n\n## Learned\n* never touch this\n- nor that\n  at all\n\n### D\nend"
    path.write_bytes(mine)
    for n in range(100):
        add_note(path, f"note {n} " + "x" * 100, f"t/{n}, a")
    text = path.read_bytes()
    assert text.startswith(mine.partition(b"* never")[0])
    for line in mine.split(b"\n"):
        assert line + b"\n" in text
    assert b"never touch" not in path.with_name(ARCHIVE).read_bytes()
    assert len(everything(path)) == 100


@pytest.mark.parametrize("hostile", [*HOSTILE, "x" * 100_000, "a\n" * 50_000, "## \n#\n", "\ud800"])
def test_no_words_can_break_the_file(path: Path, hostile: str) -> None:
    add_note(path, "before", "t/1, a")
    keep_note(path, hostile, f"t/2, {hostile}")
    add_note(path, "after", "t/3, a")
    text = path.read_text(errors="surrogateescape")
    assert not set("\x1b\x00\u202e\u2028\r") & set(text) and len(text) < 30_000
    assert told(path)[0] == "t/1, a: before" and told(path)[-1:] != ["t/1, a: before"]
    if hostile.startswith("a\n"):
        assert "lines more were not taken" in text


def test_sections_are_no_more_than_a_reader_can_hold(path: Path) -> None:
    for n in range(60):
        add_note(path, f"# Section {n}\nnote {n}", "t/1, a")
    sections = read_notes(path)
    assert len(sections) < 25 and len(told(path)) == 60


# -- an agent's file


def test_what_an_agent_leaves_is_added_and_is_in_no_candidate(toy: Path) -> None:
    (toy / "arena.toml").write_text(
        (toy / "arena.toml").read_text().replace('["value.py"]', '["value.py", ".*.md"]')
    )
    git(toy, "commit", "--quiet", "--all", "--message", "all texts")
    line = (
        'echo "X=$((9 - OVERNIGHT_EXPERIMENT))" > value.py; '
        f"printf '# Dead ends\\nnot ten\\n' > {LEFT}; test $OVERNIGHT_EXPERIMENT = 1 || exit 5"
    )
    done = run(toy, CommandAgent("sh", AgentTable(command=line)), experiments=2)
    notes = toy / ".overnight" / "notes.md"
    assert told(notes) == ["t/1, sh: not ten", "t/2, sh: not ten"], "a failure teaches too"
    changed = git(toy, "diff", "--name-only", str(done[1].parent), str(done[1].candidate))
    assert changed.split() == ["value.py"] and not done[1].dropped
    brief = toy / ".overnight" / "logs" / "t" / "2" / "brief.md"
    assert "> ## Dead ends\n> - 20" in brief.read_text() and "not ten" in brief.read_text()


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "large"])
def test_what_is_no_plain_file_says_nothing(tmp_path: Path, path: Path, kind: str) -> None:
    (secret := tmp_path / "secret").write_text("a secret")
    left = tmp_path / LEFT
    match kind:
        case "link":
            left.symlink_to(secret)
        case "folder":
            left.mkdir()
        case "fifo":
            os.mkfifo(left)
        case "large":
            left.write_text("word " * 10**6)
    take_note(tmp_path, path, "t/1, a")
    assert secret.read_text() == "a secret"
    if kind == "large":
        assert "bytes more were not taken" in path.read_text()
        assert len(path.read_text()) < 2 * MOST_BYTES
    else:
        assert not path.exists()
    assert kind == "folder" or not os.path.lexists(left)


def test_a_note_of_an_agent_whose_driver_died_is_not_lost(toy: Path) -> None:
    @dataclass
    class Dying:
        name: str = "dying"

        def propose(self, bench: Workbench) -> Idea | None:
            (bench.folder / LEFT).write_text("what I learned")
            os.kill(os.getpid(), signal.SIGKILL)
            return None

    if (child := os.fork()) == 0:
        with Campaign.open(toy, "t") as campaign:
            campaign.run(Dying(), Limits())
    os.waitpid(child, 0)
    notes = toy / ".overnight" / "notes.md"
    assert not notes.exists()
    for _ in range(2):
        Campaign.open(toy, "t").close()
        assert told(notes) == ["t/1, dying: what I learned"]


WRITER = """
import sys, pathlib
from overnight.record.notes import add_note
path, name = pathlib.Path(sys.argv[1]), sys.argv[2]
for n in range(int(sys.argv[3]), 10**6):
    add_note(path, f"# {'AB'[n % 2]}\\n{name} {n} " + "x" * 300, name)
    print(n, flush=True)
"""


def test_kill_at_any_instant_loses_and_doubles_nothing(path: Path) -> None:
    chance = random.Random(3)
    done = {"a": -1, "b": -1}
    for _ in range(8):
        programs = {
            name: subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), name, str(n + 1)], stdout=subprocess.PIPE
            )
            for name, n in done.items()
        }
        for name, program in programs.items():
            assert program.stdout is not None
            done[name] = int(program.stdout.readline())
        time.sleep(chance.random() / 2)
        for name, program in programs.items():
            program.kill()
            said = program.communicate()[0].split()
            done[name] = int(said[-1]) if said else done[name]
    assert min(done.values()) > 25, "the sections were shortened many times"
    for n in range(40):  # whoever comes next settles what a death left in both files
        add_note(path, f"# {'AB'[n % 2]}\nlast {n} " + "x" * 300, "last")
    found = [line.split(": ")[1].split(" x")[0] for line in everything(path)]
    assert len(found) == len(set(found)), "nothing is there twice"
    for name, n in done.items():
        assert {f"{name} {k}" for k in range(n + 1)} <= set(found)


# -- a person's, or any caller's


def test_the_command_appends_a_dated_note_that_the_brief_has(toy: Path) -> None:
    done = overnight(toy, "note", "depth 8 diverges")
    assert done.returncode == 0, done.stderr
    text = (toy / ".overnight" / "notes.md").read_text()
    assert re.fullmatch("# Notes\n\n## Learned\n" + DATED + "person: depth 8 diverges\n", text)
    assert text.endswith(done.stdout)
    overnight(toy, "note", "so does 16")
    assert (toy / ".overnight" / "notes.md").read_text().startswith(text)
    (toy / "value.py").write_text("X=5\n")
    assert overnight(toy, "try", "-m", "five").returncode == 0
    assert "depth 8 diverges" in overnight(toy, "brief").stdout


@pytest.mark.parametrize(
    "words", ["", " \n\t", "# A title", "x\n" * 41, "x" * (MOST_NOTE_CHARACTERS + 1)]
)
def test_an_empty_or_a_long_note_is_refused_and_nothing_is_written(
    tmp_path: Path, words: str
) -> None:
    with pytest.raises(UsageError):
        add_note(tmp_path / "notes.md", words, "person")
    assert not (tmp_path / "notes.md").exists()


def test_the_longest_note_that_is_taken_is_taken_whole(path: Path) -> None:
    assert "x" * MOST_NOTE_CHARACTERS in add_note(path, "x" * MOST_NOTE_CHARACTERS, "person")
    assert "x" * MOST_NOTE_CHARACTERS in path.read_text()


def test_no_note_looks_like_two_or_like_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("somebody's last line without an end")
    forged = "- 2026-01-01 00:00 person: forged"
    add_note(path, f"a\r\n## Contract\u2028{forged}\x1b[2J\x00", "me\n- you")
    first, *lines = path.read_text().splitlines()
    assert first == "somebody's last line without an end"
    assert lines[:2] == ["", "## Learned"] and lines[3:5] == ["", "## Contract"]
    assert re.match(DATED + "me - you: a$", lines[2])
    assert re.match(DATED + "me - you: " + forged.removeprefix("- ") + "$", lines[5])
    assert len(lines) == 6


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
    text = path.with_name(ARCHIVE).read_text() + path.read_text()
    found = re.findall(f"(?m)^{DATED}" + r"writer (\d): (\d+)\n  second line of \1 \2$", text)
    assert len(found) == len(set(found)) == len(re.findall("second line", text)) == 100


def test_a_file_that_stays_locked_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overnight.record.notes._PATIENCE_SECONDS", 0.2)
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
