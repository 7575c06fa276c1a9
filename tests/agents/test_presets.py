"""The presets of agent programs are whole: known keys, placeholders and patterns."""

from __future__ import annotations

import re

import pytest

from models.programs import PROGRAMS
from models.running import PRESETS, failure, preset

NAMES = sorted(file.stem for file in PRESETS.glob("*.toml"))
NEEDED = {"program", "checked", "install", "command", "prompt", "keys", "sign_in", "options"}
NEEDED |= {"env", "server", "output", "failures"}
OPTIONAL = {"session", "passes", "home", "model_needed"}
OPTIONS = {"model", "turns", "dollars", "resume"}
PLACEHOLDERS = OPTIONS | {"server", "files", "prompt", "folder", "home", "key", "session"}
OUTPUT = {"format", "file", "where", "unique", "cumulative", "partial"}
COUNTS = {"tokens_in", "tokens_cached", "tokens_out", "dollars"}
KINDS = {"credit", "sign-in", "model", "rate", "overload", "network", "limit", "refused"}


def test_every_program_that_is_tested_has_a_preset() -> None:
    assert set(NAMES) == set(PROGRAMS)


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_placeholders_are_known(name: str) -> None:
    table = preset(name)
    assert set(table) - OPTIONAL <= NEEDED and NEEDED - set(table) <= {"env"}
    assert table["prompt"] in ("stdin", "argument")
    assert ("{prompt}" in table["command"]) == (table["prompt"] == "argument")
    assert set(table["options"]) <= OPTIONS
    alone = {word.strip("{}") for word in table["command"] if re.fullmatch(r"\{\w+\}", word)}
    assert set(table["options"]) <= alone
    assert ("resume" in table["options"]) == ("session" in table)
    assert set(re.findall(r"\{(\w+)\}", str(table["command"]))) <= PLACEHOLDERS
    output = table["output"]
    assert output["format"] in ("json", "jsonl")
    for part in (output, output.get("partial", {})):
        assert set(part) <= OUTPUT | COUNTS


@pytest.mark.parametrize("name", NAMES)
def test_failures_have_kinds_that_are_known_and_words_for_a_person(name: str) -> None:
    table = preset(name)
    for one in table["failures"]:
        assert set(one) == {"kind", "pattern", "words"} and one["kind"] in KINDS
        re.compile(one["pattern"])
        assert one["words"].endswith(".")
    assert {"sign-in", "model", "rate", "overload", "network"} <= {
        one["kind"] for one in table["failures"]
    }
    assert failure("I lowered LR to 0.401 and 429 tests pass, 500 more to go.", table) == ""
