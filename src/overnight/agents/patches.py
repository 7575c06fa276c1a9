"""A folder of diffs as an agent: each is tried once, on the incumbent of that moment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from overnight.agents.base import Rejected, Workbench
from overnight.core.errors import AgentError, UsageError, WorkspaceError
from overnight.core.experiment import Idea
from overnight.core.text import one_line
from overnight.repo.git import apply_patch

_KEY = "patch"
_NAME_ONE = "name a folder with *.patch or *.diff files"
_HEADER = re.compile(r"From [0-9a-f]{40}\b|(From|Date):")
_SUBJECT = re.compile(r"^Subject:\s*(\[PATCH[^]]*\])?|^\[PATCH[^]]*\]")
_END = re.compile(r"---(\s|$)|diff -|index [0-9a-f]{7}")
"""Where the text before the diff ends: git puts a line `---` before its table of files."""


@dataclass
class PatchesAgent:
    """Proposes `*.patch` and `*.diff` files of a folder in the order of their names."""

    folder: Path
    name: str = "patches"
    free: ClassVar[bool] = True
    _tried: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"patches:{self.folder}: there is no such folder; {_NAME_ONE}")
        if not self._files():
            raise UsageError(f"patches:{self.folder}: it holds no diff; {_NAME_ONE}")

    def propose(self, bench: Workbench) -> Idea | None:
        self._tried |= {str(e.parameters[_KEY]) for e in bench.history if _KEY in e.parameters}
        file = next((f for f in self._files() if f.name not in self._tried), None)
        if file is None:
            return None
        self._tried.add(file.name)
        idea = _idea(file)
        try:
            apply_patch(bench.folder, file.read_bytes())
        except (WorkspaceError, OSError) as error:
            reason = f"{file.name} does not apply to {bench.start_name}: {error}"
            raise Rejected(reason, idea) from error
        return idea

    def _files(self) -> list[Path]:
        found = (f for f in self.folder.iterdir() if f.suffix in (".patch", ".diff"))
        return sorted(f for f in found if f.is_file())


def _idea(file: Path) -> Idea:
    """The text before the diff: its `Subject:` or first line as the title, then the rest."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise AgentError(f"{file} cannot be read: {error}") from error
    text = []
    for line in lines:
        if _END.match(line):
            break
        if not _HEADER.match(line) and (said := _SUBJECT.sub("", line).strip()):
            text.append(said)
    title = one_line(text[0]) if text else file.stem
    return Idea(title, "\n".join(text[1:]), {_KEY: file.name})
