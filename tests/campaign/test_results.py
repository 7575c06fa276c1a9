"""results.tsv: true to the ledger, whole at every instant, and cheap to add to."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.arena.settings import Metric
from overnight.campaign import results_tsv as results
from overnight.core.errors import LedgerError
from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Experiment,
    Idea,
    Measurement,
    Outcome,
    Verdict,
)
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE

METRIC = Metric(name="val_bpb", direction="minimize")
COMMIT = "c0ffee1234567890"
HEADER = (
    "commit\tval_bpb\tmemory_gb\tstatus\tdescription\t"
    "n\tgain\tagent\tseconds\tmeasurements\treason\tstarted\thypothesis\tcaveats"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.at(tmp_path / "ledger.db", "toy")
    ledger.add_campaign(CampaignRecord("jul1", "toy", "b", COMMIT, datetime.now(UTC)))
    yield ledger
    ledger.close()


@pytest.fixture
def path(hostile_folder: Path) -> Path:
    return hostile_folder / "results.tsv"


def conclude(
    ledger: Ledger,
    n: int,
    closing: Closing,
    title: str = "a title",
    peaks: tuple[float, ...] = (),
) -> Experiment:
    ledger.open_experiment("jul1", n, "tuner", None)
    ledger.record_candidate("jul1", n, COMMIT, Idea(title, "because\nof this"), ())
    now = datetime.now(UTC)
    for seed, peak in enumerate(peaks):
        numbers = {"peak_memory_mb": peak}
        taken = Measurement(COMMIT, seed, now, Outcome.FINISHED, closing.score, numbers)
        ledger.close_measurement(ledger.open_measurement("jul1", n, COMMIT, seed), taken)
    return ledger.close_experiment("jul1", n, closing)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_columns_are_karpathys_and_then_ours(ledger: Ledger, path: Path) -> None:
    conclude(ledger, 0, Closing(Verdict.KEEP, "the baseline", 0.9979), "baseline", (1024, 45056))
    closing = Closing(Verdict.DISCARD, "no better", 1.0, -0.0021)
    done = conclude(ledger, 1, closing, "switch to GeLU", (45158.4,))
    ledger.open_experiment("jul1", 2, "tuner", None)
    results.rewrite(path, ledger, "jul1", METRIC)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    assert text.splitlines()[1].startswith("c0ffee1\t0.997900\t44.0\tkeep\tbaseline\t0\t\ttuner\t")
    assert text.splitlines()[2].startswith("c0ffee1\t1.000000\t44.1\tdiscard\tswitch to GeLU\t1\t")
    assert len(rows(path)) == 2, "what is under way has no result yet"
    row = rows(path)[1]
    assert (row["gain"], row["measurements"], row["reason"]) == ("-0.0021", "1", "no better")
    assert datetime.fromisoformat(row["started"]) == done.started.replace(microsecond=0)
    assert row["started"].endswith("+00:00") and row["hypothesis"] == "because of this"


def test_a_crash_has_no_score_where_zero_would_win(ledger: Ledger, path: Path) -> None:
    conclude(ledger, 1, Closing(Verdict.CRASH, "out of memory: it grew"))
    results.rewrite(path, ledger, "jul1", METRIC)
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
def test_nasty_descriptions_stay_in_their_cell(ledger: Ledger, path: Path, append: bool) -> None:
    results.rewrite(path, ledger, "jul1", METRIC)
    for n, title in enumerate(NASTY):
        done = conclude(ledger, n, Closing(Verdict.DISCARD, title, float(n)), title)
        assert not append or results.append(path, done, METRIC)
    if not append:
        results.rewrite(path, ledger, "jul1", METRIC)
    found = rows(path)
    assert [row["n"] for row in found] == [str(n) for n in range(len(NASTY))]
    assert [row["val_bpb"] for row in found] == [f"{n:.6f}" for n in range(len(NASTY))]
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(NASTY) + 1
    shown = [row["description"] for row in found]
    assert shown[0] == "a tab" and shown[1] == "two lines and more here there"
    assert shown[2:7] == ["=1+1", "+x", "-x", "@x", "quote \" and ' and \\"]
    assert "\x1b" not in shown[7] and shown[10] == "Größe 🙂"


def test_adding_one_by_one_gives_the_same_file_as_writing_all(ledger: Ledger, path: Path) -> None:
    results.rewrite(path, ledger, "jul1", METRIC)
    for n in range(30):
        done = conclude(ledger, n, Closing(Verdict.DISCARD, "no", n / 7), peaks=(100.0,))
        assert results.append(path, done, METRIC)
        if n == 12:  # as a resumed campaign does
            results.rewrite(path, ledger, "jul1", METRIC)
    added = path.read_bytes()
    results.rewrite(path, ledger, "jul1", METRIC)
    assert path.read_bytes() == added


def test_more_experiments_than_a_page_are_all_written(ledger: Ledger, path: Path) -> None:
    many = PAGE + 3
    for n in range(many):
        ledger.open_experiment("jul1", n, "tuner", None)
        ledger.close_experiment("jul1", n, Closing(Verdict.INVALID, "no change"))
    results.rewrite(path, ledger, "jul1", METRIC)
    assert [int(row["n"]) for row in rows(path)] == list(range(many))


@pytest.mark.parametrize("damage", ["missing", "empty", "half a header", "half a line", "foreign"])
def test_a_file_that_is_not_whole_is_not_added_to(ledger: Ledger, path: Path, damage: str) -> None:
    closing = Closing(Verdict.KEEP, "good", 1.0)
    first = conclude(ledger, 0, closing)
    results.rewrite(path, ledger, "jul1", METRIC)
    whole = path.read_bytes()
    assert results.append(path, first, METRIC), "there is a twin now"
    damaged = {
        "empty": b"",
        "half a header": whole[:20],
        "half a line": whole[:-9],
        "foreign": b"my\tnotes\n" + whole,
    }
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    second = conclude(ledger, 1, closing)
    assert not results.append(path, second, METRIC)
    results.rewrite(path, ledger, "jul1", METRIC)
    third = conclude(ledger, 2, closing)
    assert results.append(path, third, METRIC)
    assert [row["n"] for row in rows(path)] == ["0", "1", "2"]


def test_what_a_killed_append_left_beside_the_file_does_no_harm(ledger: Ledger, path: Path) -> None:
    results.rewrite(path, ledger, "jul1", METRIC)
    for n in range(6):
        done = conclude(ledger, n, Closing(Verdict.KEEP, "good", 1.0))
        assert results.append(path, done, METRIC)
        for other in path.parent.iterdir():
            if other != path:
                other.write_bytes(other.read_bytes() + b"half a li")
        path.with_name(".results.tsv.old").write_text("left by a killed exchange")
    assert [row["n"] for row in rows(path)] == ["0", "1", "2", "3", "4", "5"]


def test_a_reader_never_sees_half_a_file(ledger: Ledger, path: Path) -> None:
    """Whole before, between and after; one that keeps it open over two appends has no promise."""
    results.rewrite(path, ledger, "jul1", METRIC)
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
    done = conclude(ledger, 0, Closing(Verdict.DISCARD, "no " * 100, 1.0), "long " * 90)
    while begun < 300 or len(set(looks)) < 4:
        begun += 1
        assert results.append(path, done, METRIC)
        if begun % 100 == 50:
            results.rewrite(path, ledger, "jul1", METRIC)
    over.set()
    reader.join()
    assert not wrong


def test_what_cannot_be_written_is_an_error_that_names_the_file(
    ledger: Ledger, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError, match=r"gone/results\.tsv cannot be written"):
        results.rewrite(tmp_path / "gone" / "results.tsv", ledger, "jul1", METRIC)


def test_adding_a_line_does_not_copy_a_long_file(ledger: Ledger, path: Path) -> None:
    """Bytes are counted, not seconds: a copy would write the whole file again."""
    results.rewrite(path, ledger, "jul1", METRIC)
    done = conclude(ledger, 0, Closing(Verdict.DISCARD, "no", 1.0))
    assert results.append(path, done, METRIC)
    line = path.read_bytes().splitlines(keepends=True)[1]
    with path.open("ab") as file:
        file.write(line * 20_000)
    assert results.append(path, done, METRIC), "the first one makes the twin"
    before = written()
    for _ in range(20):
        assert results.append(path, done, METRIC)
    assert written() - before < 100_000
    assert len(rows(path)) == 20_022


def written() -> int:
    """Bytes that this process has written so far."""
    text = Path("/proc/self/io").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("wchar")).split()[1])
