"""The Agent Skill: how to use overnight, installed where agent programs look for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from overnight.core.errors import UsageError

NAME = "overnight"
"""Name of the skill and, as the format requires, of its folder."""
FILE = "SKILL.md"
PLACES = (".claude/skills", ".agents/skills")
"""Folders of skills in a project and in a home folder: Claude Code reads the first; Codex, Gemini
CLI and others the second; opencode both."""


@dataclass(frozen=True)
class Installed:
    """One installed file."""

    file: Path
    change: str
    """"new", "unchanged" or "replaced"."""


def skill_text() -> str:
    """The skill of this version of overnight."""
    return (Path(__file__).parent / "skills" / NAME / FILE).read_text(encoding="utf-8")


def install(folders: list[Path], replace: bool = False) -> list[Installed]:
    """Write the skill into these folders of skills.

    Raises UsageError and writes nothing if one of them has a different text and `replace` is false.
    """
    text = skill_text()
    files = {folder / NAME / FILE: _read(folder / NAME / FILE) for folder in folders}
    different = [str(file) for file, old in files.items() if old not in (None, text)]
    if different and not replace:
        raise UsageError(
            f"{', '.join(different)} differs from this version's skill: changed, or older. "
            "Compare it with `overnight skill show`; --force replaces it"
        )
    return [_write(file, old, text) for file, old in files.items()]


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; move it away") from error


def _write(file: Path, old: str | None, text: str) -> Installed:
    if old == text:
        return Installed(file, "unchanged")
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, file)
    return Installed(file, "new" if old is None else "replaced")
