"""Graphics cards: which there are, and that no two measurements get the same one."""

from __future__ import annotations

import threading
from pathlib import Path

from overnight.measure.gpus import Gpu, installed, leased, listed, visible

CARDS = [Gpu(0, "GPU-1"), Gpu(3, "GPU-12")]


def driver(folder: Path) -> Path:
    """What NVIDIA's driver says of CARDS."""
    for n, card in enumerate(CARDS):
        (folder / str(n)).mkdir(parents=True)
        about = f"Model: \t H200\nGPU UUID: \t {card.uuid}\nDevice Minor: \t {card.minor}\n"
        (folder / str(n) / "information").write_text(about)
    return folder


def test_a_stage_sees_the_cards_that_its_variable_names_and_no_other(tmp_path: Path) -> None:
    assert installed(driver(tmp_path)) == CARDS and installed(tmp_path / "none") == []
    assert listed(CARDS) == "GPU-1,GPU-12" and listed([]) == ""
    for cards in (CARDS, CARDS[:1], CARDS[1:], []):
        assert visible(listed(cards), tmp_path) == cards
    assert visible("0", tmp_path) == visible("all", tmp_path) == []


def test_a_card_is_leased_to_one_at_a_time(tmp_path: Path) -> None:
    never, stopped = threading.Event(), threading.Event()
    with leased(1, tmp_path, never, CARDS) as one, leased(1, tmp_path, never, CARDS) as other:
        assert one + other == CARDS
        threading.Timer(0.3, stopped.set).start()
        with leased(1, tmp_path, stopped, CARDS) as third:
            assert third == [], "it waited until it was stopped"
    with leased(2, tmp_path, never, CARDS) as both:
        assert both == CARDS
