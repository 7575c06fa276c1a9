"""What a shell line starts, as far as that can be told without running it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

_PLAIN = re.compile(
    r"""\s*
    (?: (?!PATH=) [A-Za-z_]\w* = [\w./:,@%+-]* \s+ )*  # set for it; PATH would lead elsewhere
    ([\w./+-]+)
    (?= [\s;&|] | \Z )
    (?! \s*\( )  # a function
    (?! .* (; | \|\| | \n\s*\S) )  # what comes then may do all the work
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def words_of(command: str) -> list[str]:
    """The words of a line, without variables that are set before its program. Raises ValueError
    when a quote is left open."""
    words = shlex.split(command)
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    return words


def program_of(command: str) -> str | None:
    """The program without which a line cannot work, where that can be read off: variables with
    plain values, then a plain word, and nothing that is run after it whatever comes of it. None:
    the shell alone can tell."""
    found = _PLAIN.match(command)
    return found[1] if found else None


def is_unknown(program: str, root: Path | None) -> bool:
    """Whether a shell that is started in this folder would find no such program: no file there,
    none on PATH, nothing that it knows by itself. None: in one that is not there yet, so that of
    what depends on it nothing is said."""
    if "/" in program:
        known = root or Path(program).is_absolute()
        return bool(known) and not Path(root or "/", program).is_file()
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if not all(map(os.path.isabs, folders)):
        return False  # one of them is taken from the folder, too
    if shutil.which(program) or (root and (root / program).is_file()):
        return False
    asked = ["sh", "-c", 'command -v -- "$0"', program]
    return subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode != 0
