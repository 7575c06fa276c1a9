"""A folder of patches: which files are tried, and how each is described."""

from __future__ import annotations

from pathlib import Path

import pytest

from desk import Desk
from overnight.agents.patches import PatchesAgent
from overnight.core.errors import UsageError

DIFF = (
    "diff --git a/value.py b/value.py\n--- a/value.py\n+++ b/value.py\n@@ -1 +1 @@\n-X=10\n+X=5\n"
)
MAIL = f"From {'0a' * 20} Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\nDate: today\n"
STAT = "---\n value.py | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n\n"


@pytest.mark.parametrize(
    ("words", "title", "hypothesis"),
    [
        ("", "1", ""),
        ("Subject: five\n\nBecause.\n", "five", "Because."),
        (f"{MAIL}Subject: [PATCH] five\n\nBecause.\n{STAT}", "five", "Because."),
        (f"{MAIL}Subject: [PATCH v2 1/3] five\n\nBecause.\n{STAT}", "five", "Because."),
        ("[PATCH 01/10] five\n", "five", ""),
        ("Subject: [PATCH]\n", "1", ""),
        ("From the paper: five\n", "From the paper: five", ""),
        ("five\nindex of the best value\n--- so far\n", "five", "index of the best value"),
        ("five\nindex of it\ndiff is small\n", "five", "index of it\ndiff is small"),
        ("[WIP] five\n", "[WIP] five", ""),
    ],
)
def test_a_patch_is_described_by_the_text_before_its_diff(
    tmp_path: Path, words: str, title: str, hypothesis: str
) -> None:
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "1.patch").write_text(words + DIFF)
    desk = Desk(tmp_path)
    idea = desk.ask(PatchesAgent(tmp_path / "patches"))
    assert idea and (idea.title, idea.hypothesis) == (title, hypothesis)
    assert desk.now() == "X=5\n"


def test_a_folder_is_no_patch(tmp_path: Path) -> None:
    (tmp_path / "patches" / "a.patch").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no"):
        PatchesAgent(tmp_path / "patches")
    (tmp_path / "patches" / "b.patch").write_text(DIFF)
    idea = Desk(tmp_path).ask(PatchesAgent(tmp_path / "patches"))
    assert idea and idea.title == "b"
