"""What a shell line starts, as far as that can be told without running it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

_PLAIN = re.compile(r"[\w./+-]+")


def words_of(command: str) -> list[str]:
    """The program and its arguments, without variables that are set for it. Raises ValueError when
    a quote is left open."""
    words = shlex.split(command)
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    return words


def is_unknown(program: str, root: Path) -> bool:
    """Whether no program of this name would be found from this folder: not on PATH, no file there,
    nothing that the shell knows by itself. Of what is no plain word the shell alone can tell."""
    if not _PLAIN.fullmatch(program) or shutil.which(program) or (root / program).is_file():
        return False
    asked = ["sh", "-c", 'command -v -- "$0"', program]
    return subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode != 0
