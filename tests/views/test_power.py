"""`overnight power`: what a night can see, of which rule and of which noise that is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy import ARENA, command, make_toy

NOISE = ("--noise", "0.02", "--seconds", "300")
MEASURED = {
    "judge.rule": "confirm",
    "judge.false_keep": 0.05,
    "judge.max_repeats": 20,
    "judge.baseline": 5,
    "metric.min_gain": 0.0,
}


def said_of(toy: Path, *words: str) -> dict[str, object]:
    done = command(toy, "power", *words, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def pairs_of(said: dict[str, object]) -> list[int | None]:
    assert isinstance(said["gains"], list)
    return [row["pairs"] for row in said["gains"]]


def test_power_tells_what_a_night_can_see(toy: Path) -> None:
    unknown = command(toy, "power")
    assert unknown.returncode == 2 and "Traceback" not in unknown.stderr
    said = said_of(toy, *NOISE)
    assert said["measurements"] == 96 and said["visible"] == pytest.approx(0.035, abs=0.002)
    assert isinstance(said["gains"], list)
    chances = [row["chance"] for row in said["gains"]]
    assert chances == sorted(chances) and chances[-1] == 1.0
    assert said["assumes"] == MEASURED and said["differs"] == {} and said["rate"] is None
    guide = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    told = guide.partition("- `power`: ")[2].partition("\n- ")[0]
    assert all(f"`{key}`" in told for key in said)


@pytest.mark.parametrize("unit", ["ms [p95]", "[/b] :x:"])
def test_a_unit_is_shown_as_it_is_written(tmp_path: Path, unit: str) -> None:
    text = ARENA.replace('name = "loss"', f'name = "loss"\nunit = "{unit}"')
    done = command(make_toy(tmp_path / "arena", text), "power", *NOISE)
    assert done.returncode == 0, done.stderr
    assert f"Noise of one measurement 0.02 {unit}" in " ".join(done.stdout.split())


def test_a_rate_is_told_and_has_a_picture_of_its_own(toy: Path) -> None:
    command(toy, "power", *NOISE)
    before = (toy / ".overnight" / "power.png").read_bytes()
    words = ("--rate", "0.03", "--each", "500", "--seconds", "60")
    counts = command(toy, "power", *words)
    assert counts.returncode == 0 and "percent of the" in " ".join(counts.stdout.split())
    assert counts.stdout.rstrip().endswith("power-rate.png")
    assert (toy / ".overnight" / "power.png").read_bytes() == before
    assert (toy / ".overnight" / "power-rate.png").read_bytes() != before
    said = said_of(toy, *words)
    assert said["rate"] == 0.03
    assert said["noise"] == pytest.approx((0.03 * 0.97 / 500) ** 0.5)
    wrong = command(toy, "power", "--rate", "3")
    assert wrong.returncode == 2 and "between 0 and 1" in wrong.stderr


@pytest.mark.parametrize(
    ("judge", "differs"),
    [
        ('rule = "greedy"', {"judge.rule": "greedy"}),
        ('rule = "threshold"\ngain = 0.1', {"judge.rule": "threshold"}),
        ("max_repeats = 5\nbaseline = 9", {"judge.max_repeats": 5, "judge.baseline": 9}),
        ("simplify = false\nfixed_seeds = true", {}),
    ],
)
def test_what_was_not_measured_with_the_arenas_settings_is_said(
    tmp_path: Path, judge: str, differs: dict[str, object]
) -> None:
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[judge]\n{judge}\n")
    said = said_of(toy, *NOISE)
    assert said["differs"] == differs and said["assumes"] == MEASURED
    words = " ".join(command(toy, "power", *NOISE).stdout.split())
    assert ("it keeps more or less than this" in words) is bool(differs)
    for name, value in differs.items():
        assert f"{name} = {value}" in words


def test_the_whole_table_speaks_of_the_same_settings_and_says_which_differ(tmp_path: Path) -> None:
    least = ARENA.replace("[run]", "min_gain = 0.02\n\n[run]", 1)
    strict = f"{ARENA}\n[judge]\nfalse_keep = 0.0005\nmax_repeats = 50\n"
    plain, *others = (
        said_of(make_toy(tmp_path / name, text), *NOISE)
        for name, text in (("plain", ARENA), ("strict", strict), ("least", least))
    )
    assert pairs_of(plain)[:2] == [None, 20] and plain["differs"] == {}
    assert [pairs_of(said) for said in others] == [pairs_of(plain)] * 2
    assert [set(said["differs"]) for said in others] == [
        {"judge.false_keep", "judge.max_repeats"},
        {"metric.min_gain"},
    ]


@pytest.mark.parametrize("option", ["--noise", "--hours", "--seconds"])
def test_a_number_without_bounds_is_a_sentence(toy: Path, option: str) -> None:
    done = command(toy, "power", *NOISE, option, "1e300")
    assert done.returncode == 2 and "expected a number below" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_noise_there_is_no_table_and_no_picture(toy: Path) -> None:
    said = said_of(toy, "--noise", "0", "--seconds", "60")
    assert said["gains"] == [] and said["visible"] == 0.0
    assert "any gain is kept" in command(toy, "power", "--noise", "0", "--seconds", "60").stdout
    assert not (toy / ".overnight" / "power.png").exists()
