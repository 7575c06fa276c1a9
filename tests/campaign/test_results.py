"""results.tsv: true to the ledger, whole at every instant, and cheap to add to."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.arena.settings import Metric
from overnight.campaign import results_tsv as results
from overnight.core.errors import LedgerError
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Experiment,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
)
from overnight.core.under_way import UnderWay
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE
from toy import ARENA, write_toy

METRIC = Metric(name="val_bpb", direction="minimize")
COMMIT = "c0ffee1234567890"
HEADER = (
    "commit\tval_bpb\tmemory_gb\tstatus\tdescription\t"
    "n\tgain\tagent\tseconds\tmeasurements\treason\tstarted\thypothesis\tcaveats"
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    text = ARENA.replace('"loss"', '"val_bpb"')
    arena = Arena.load(write_toy(tmp_path / "arena", text))
    ledger = Ledger.at(tmp_path / "ledger.db", "toy")
    record = CampaignRecord("jul1", "toy", "b", COMMIT, datetime.now(UTC))
    ledger.add_campaign(record)
    yield Book(arena, ledger, record)
    ledger.close()


@pytest.fixture
def path(hostile_folder: Path) -> Path:
    return hostile_folder / "results.tsv"


def conclude(
    book: Book,
    n: int,
    closing: Closing,
    title: str = "a title",
    peaks: tuple[float, ...] = (),
) -> Experiment:
    now = datetime.now(UTC)
    asked = Experiment(n, "tuner", now, candidate=COMMIT, description=title)
    book.add(replace(asked, hypothesis="because\nof this"))
    for seed, peak in enumerate(peaks):
        planned = UnderWay(0, n, COMMIT, Purpose.JUDGE, seed, 0, None, now)
        numbers = {"peak_memory_mb": peak}
        taken = Measurement(COMMIT, seed, now, Outcome.FINISHED, closing.score, numbers)
        book.enter(book.begin(planned).id, taken)
    return book.conclude({n: closing})[0]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_columns_are_karpathys_and_then_ours(book: Book, path: Path) -> None:
    conclude(book, 0, Closing(Verdict.KEEP, "the baseline", 0.9979), "baseline", (1024, 45056))
    closing = Closing(Verdict.DISCARD, "no better", 1.0, -0.0021)
    done = conclude(book, 1, closing, "switch to GeLU", (45158.4,))
    book.add(Experiment(2, "tuner", datetime.now(UTC), candidate=COMMIT))
    results.rewrite(path, book)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    assert text.splitlines()[1].startswith("c0ffee1\t0.997900\t44.0\tkeep\tbaseline\t0\t\ttuner\t")
    assert text.splitlines()[2].startswith("c0ffee1\t1.000000\t44.1\tdiscard\tswitch to GeLU\t1\t")
    assert len(rows(path)) == 2, "what is under way has no result yet"
    row = rows(path)[1]
    assert (row["gain"], row["measurements"], row["reason"]) == ("-0.0021", "1", "no better")
    assert datetime.fromisoformat(row["started"]) == done.started.replace(microsecond=0)
    assert row["started"].endswith("+00:00") and row["hypothesis"] == "because of this"


def test_a_crash_has_no_score_where_zero_would_win(book: Book, path: Path) -> None:
    conclude(book, 1, Closing(Verdict.CRASH, "out of memory: it grew"))
    results.rewrite(path, book)
    (row,) = rows(path)
    assert (row["val_bpb"], row["memory_gb"], row["gain"]) == ("", "", "")
    assert (row["status"], row["commit"]) == ("crash", "c0ffee1")


NASTY = [
    "a\ttab",
    "two\nlines\r\nand\x0bmore\x85here\u2028there\x1c",
    "=1+1",
    "+x",
    "-x",
    "@x",
    "quote \" and ' and \\",
    "escape \x1b[31mred",
    "half a pair \ud83d",
    "nul \0",
    "Größe 🙂",
    "",
    "x" * 10_000,
    "\t",
]


@pytest.mark.parametrize("append", [False, True])
def test_nasty_descriptions_stay_in_their_cell(book: Book, path: Path, append: bool) -> None:
    results.rewrite(path, book)
    for n, title in enumerate(NASTY):
        done = conclude(book, n, Closing(Verdict.DISCARD, title, float(n)), title)
        assert not append or results.write(path, done, METRIC)
    if not append:
        results.rewrite(path, book)
    found = rows(path)
    assert [row["n"] for row in found] == [str(n) for n in range(len(NASTY))]
    assert [row["val_bpb"] for row in found] == [f"{n:.6f}" for n in range(len(NASTY))]
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(NASTY) + 1
    shown = [row["description"] for row in found]
    assert shown[0] == "a tab" and shown[1] == "two lines and more here there"
    assert shown[2:7] == ["=1+1", "+x", "-x", "@x", "quote \" and ' and \\"]
    assert "\x1b" not in shown[7] and shown[10] == "Größe 🙂"


def test_adding_one_by_one_gives_the_same_file_as_writing_all(book: Book, path: Path) -> None:
    results.rewrite(path, book)
    for n in range(30):
        done = conclude(book, n, Closing(Verdict.DISCARD, "no", n / 7), peaks=(100.0,))
        assert results.write(path, done, METRIC)
        if n == 12:  # as a resumed campaign does
            results.rewrite(path, book)
    added = path.read_bytes()
    results.rewrite(path, book)
    assert path.read_bytes() == added


@pytest.mark.slow
def test_more_experiments_than_a_page_are_all_written(book: Book, path: Path) -> None:
    many = PAGE + 3
    for n in range(many):
        now = datetime.now(UTC)
        book.add(Experiment(n, "tuner", now, verdict=Verdict.INVALID, reason="no", ended=now))
    results.rewrite(path, book)
    assert [int(row["n"]) for row in rows(path)] == list(range(many))


@pytest.mark.parametrize("damage", ["missing", "empty", "half a header", "half a line", "foreign"])
def test_a_file_that_is_not_whole_is_not_added_to(book: Book, path: Path, damage: str) -> None:
    closing = Closing(Verdict.KEEP, "good", 1.0)
    first = conclude(book, 0, closing)
    results.rewrite(path, book)
    whole = path.read_bytes()
    assert results.write(path, first, METRIC), "it is there already"
    damaged = {
        "empty": b"",
        "half a header": whole[:20],
        "half a line": whole[:-9],
        "foreign": b"my\tnotes\n" + whole,
    }
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    second = conclude(book, 1, closing)
    assert not results.write(path, second, METRIC)
    results.rewrite(path, book)
    third = conclude(book, 2, closing)
    assert results.write(path, third, METRIC)
    assert [row["n"] for row in rows(path)] == ["0", "1", "2"]


def test_a_line_that_changes_takes_the_place_of_the_old_one(book: Book, path: Path) -> None:
    results.rewrite(path, book)
    done = [conclude(book, n, Closing(Verdict.PROVISIONAL, "good", 1.0)) for n in (0, 2, 3, 11)]
    for e in done:
        assert results.write(path, e, METRIC)
    for n in (11, 2):
        (kept,) = book.conclude({n: Closing(Verdict.KEEP, "confirmed", 0.5)})
        assert results.write(path, kept, METRIC)
    assert [row["n"] for row in rows(path)] == ["0", "2", "3", "11"]
    statuses = [row["status"] for row in rows(path)]
    assert statuses == ["provisional", "keep", "provisional", "keep"]
    late = conclude(book, 5, Closing(Verdict.DISCARD, "finished late", 2.0))
    assert results.write(path, late, METRIC)
    assert [row["n"] for row in rows(path)] == ["0", "2", "3", "5", "11"]
    added = path.read_bytes()
    results.rewrite(path, book)
    assert path.read_bytes() == added


def test_a_reader_never_sees_half_a_file(book: Book, path: Path) -> None:
    """Whole before, between and after; one that keeps it open over two appends has no promise."""
    results.rewrite(path, book)
    begun = 0
    over = threading.Event()
    wrong: list[bytes] = []
    looks = []

    def read() -> None:
        while not over.is_set():
            before = begun
            text = path.read_bytes()
            if begun != before:
                continue
            lines = text.split(b"\n")
            looks.append(len(lines))
            whole = lines[0].decode() == HEADER and lines[-1] == b""
            if not whole or any(line.count(b"\t") != HEADER.count("\t") for line in lines[:-1]):
                wrong.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    done = conclude(book, 0, Closing(Verdict.DISCARD, "no " * 100, 1.0), "long " * 90)
    while begun < 300 or len(set(looks)) < 4:
        begun += 1
        assert results.write(path, replace(done, n=begun), METRIC)
        if begun % 100 == 50:
            results.rewrite(path, book)
    over.set()
    reader.join()
    assert not wrong


def test_what_cannot_be_written_is_an_error_that_names_the_file(book: Book, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"gone/results\.tsv cannot be written"):
        results.rewrite(tmp_path / "gone" / "results.tsv", book)


def test_adding_a_line_does_not_copy_a_long_file(book: Book, path: Path) -> None:
    """Bytes are counted, not seconds: a copy would write the whole file again."""
    results.rewrite(path, book)
    done = conclude(book, 0, Closing(Verdict.DISCARD, "no", 1.0))
    assert results.write(path, done, METRIC)
    line = path.read_bytes().splitlines(keepends=True)[1]
    with path.open("ab") as file:
        file.write(line * 20_000)
    assert results.write(path, replace(done, n=1), METRIC), "the first one makes the twin"
    before = written()
    for n in range(2, 22):
        assert results.write(path, replace(done, n=n), METRIC)
    assert written() - before < 100_000
    assert len(rows(path)) == 20_022


def written() -> int:
    """Bytes that this process has written so far."""
    text = Path("/proc/self/io").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("wchar")).split()[1])
