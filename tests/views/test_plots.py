"""progress.png: a whole picture of a sane size, whatever was measured and whatever agents wrote."""

from __future__ import annotations

import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from night import HOSTILE, Night
from overnight.core.experiment import Verdict
from overnight.views.plots import draw

GREEN, RED, BLUE = (0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


def drawn(night: Night, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(night.ledger.experiments("t"), night.arena, path, night.summary().gained)
    return path


def places(
    path: Path, colour: tuple[int, int, int]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(row, column) of every pixel of this colour above the legend; rows count downwards."""
    pixels = (imread(path)[:760, :, :3] * 255).round()
    return np.argwhere((pixels == colour).all(axis=2))


def test_it_is_a_png_of_a_sane_size(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (7.0, 6.0, 8.0, Verdict.CRASH):
        night.add(score)
    data = drawn(night, tmp_path / "progress.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", data[16:24]) == (1540, 840)
    assert len(data) < 1_000_000


def test_a_new_picture_takes_the_old_ones_place_at_once(tmp_path: Path) -> None:
    night = Night(tmp_path / "arena")
    night.add(7.0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    path = drawn(night, folder / "progress.png")
    reader = path.open("rb")
    old = path.read_bytes()
    night.add(5.0)
    drawn(night, path)
    assert reader.read() == old, "whoever reads the old one, reads all of it"
    assert path.read_bytes() != old
    assert os.listdir(folder) == ["progress.png"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_line_of_the_best_so_far_leads_in_the_good_direction(
    tmp_path: Path, direction: str
) -> None:
    night = Night(tmp_path, direction)
    for score in (5.0, 5.0, 5.0, 5.0):
        night.add(night.arena.metric.orient(score))
    night.add(night.arena.metric.orient(6.0))
    line = places(drawn(night, tmp_path / "p.png"), GREEN)
    left, right = line[line[:, 1].argmin()][0], line[line[:, 1].argmax()][0]
    assert (right > left) == (direction == "minimize"), "lower on the paper is a higher row"


def test_outliers_leave_the_gain_a_good_part_of_the_height(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (1.0, 1e6, 1.01, 1e300, 0.98, 1.02, 3.0, 0.97):
        night.add(score)
    rows = places(drawn(night, tmp_path / "p.png"), GREEN)[:, 0]
    assert rows.max() - rows.min() > 100


def test_failures_are_marked(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (7.0, 6.0):
        night.add(score)
    assert not len(places(drawn(night, tmp_path / "p.png"), RED))
    night.add(Verdict.CRASH)
    assert len(places(drawn(night, tmp_path / "p.png"), RED)) > 10


def test_a_provisional_win_is_in_the_picture_however_much_better_it_is(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (3.0, 3.01, 3.02, 3.03, 3.04):
        night.add(score)
    night.add(1.0, verdict=Verdict.PROVISIONAL)
    assert len(places(drawn(night, tmp_path / "p.png"), BLUE)) > 10


def test_a_cheat_that_was_found_out_is_no_point_of_the_curve(tmp_path: Path) -> None:
    night = Night(tmp_path)
    for score in (1.0, 1.1, 0.9):
        night.add(score)
    before = places(drawn(night, tmp_path / "p.png"), GREEN)[:, 0]
    night.add(-1e9, verdict=Verdict.INVALID)
    after = places(drawn(night, tmp_path / "q.png"), GREEN)[:, 0]
    assert after.max() - after.min() > 0.8 * (before.max() - before.min())


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [Verdict.CRASH],
        [5.0],
        [5.0] * 6,
        [0.0, 0.0],
        [-3.0, -5.0, -4.0],
        [1e12, 9e11, 1e308, -1e308],
        [1e-300, 0.0],
        [1234567.0, 1234567.0 - 1e-9],
    ],
    ids=str,
)
def test_any_scores_can_be_drawn(tmp_path: Path, scores: list[float | Verdict]) -> None:
    night = Night(tmp_path)
    for score in scores:
        night.add(score)
    assert drawn(night, tmp_path / "p.png").stat().st_size > 1000


def test_what_agents_wrote_is_text_never_a_formula_or_a_warning(tmp_path: Path) -> None:
    night = Night(tmp_path, unit="$ per $^{")
    for n, words in enumerate([*HOSTILE, "long " * 2000, "學" * 500]):
        night.add(9.0 - n, words)
    drawn(night, tmp_path / "p.png")
