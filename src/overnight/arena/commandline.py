"""The program that a shell line starts, where it can be known without running the line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

_PLAIN = re.compile(
    r"""\s*
    (?: (?!PATH=) [A-Za-z_]\w* = [\w./:,@%+-]* \s+ )*  # variables; PATH would change what is found
    ([\w./+-]+)
    (?= [\s;&|] | \Z )
    (?! \s*\( )  # a function
    (?! .* (; | \|\| | \n\s*\S) )  # what runs next may do all the work
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def words_of(command: str) -> list[str]:
    """The words of a line, without the variables that it sets first. Raises ValueError for an open
    quote."""
    words = shlex.split(command)
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    return words


def program_of(command: str) -> str | None:
    """The program that a line needs: its first word, after variables with plain values. None when
    only the shell can tell, as when another command runs whether or not this one works."""
    found = _PLAIN.match(command)
    return found[1] if found else None


def is_unknown(program: str, root: Path | None) -> bool:
    """Whether a shell in the folder `root` would not find this program: neither as a file, nor on
    PATH, nor as a builtin. `root` is None for a folder that does not exist yet: a program that is
    relative to it is taken as known."""
    if "/" in program:
        known = root or Path(program).is_absolute()
        return bool(known) and not Path(root or "/", program).is_file()
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if not all(map(os.path.isabs, folders)):
        return False  # a relative folder of PATH depends on where the shell starts
    if shutil.which(program) or (root and (root / program).is_file()):
        return False
    asked = ["sh", "-c", 'command -v -- "$0"', program]
    return subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode != 0
