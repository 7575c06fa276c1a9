"""Patches as `Workspace.diff` returns them: which lines of which files they change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_HEADER = re.compile(r'diff --git (?P<quote>"?)a/(?P<name>.*)(?P=quote) (?P=quote)b/(?P=name)"?')
_RENAMED = re.compile(r'rename to (?P<quote>"?)(?P<name>.*)(?P=quote)')
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def changed_lines(diff: str) -> Mapping[str, Sequence[str]]:
    """File → its added and removed lines, each behind its `+` or `-`. A file without such lines,
    such as a binary one, is there too."""
    files: dict[str, list[str]] = {}
    changed: list[str] = []
    old = new = 0  # lines that are left of a hunk: a changed line may look like a header
    for line in diff.split("\n"):
        if old > 0 or new > 0:
            old -= line[:1] not in ("+", "\\")
            new -= line[:1] not in ("-", "\\")
            if line.startswith(("+", "-")):
                changed.append(line)
        elif hunk := _HUNK.match(line):
            old, new = (int(count or 1) for count in hunk.groups())
        elif found := _HEADER.fullmatch(line) or _RENAMED.fullmatch(line):
            changed = files.setdefault(_unquoted(**found.groupdict()), [])
    return files


def _unquoted(quote: str, name: str) -> str:
    """The name itself: git writes other bytes than ASCII as octal numbers, between quotes."""
    if not quote:
        return name
    return name.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
