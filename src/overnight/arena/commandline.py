"""The program that a shell line starts, where it can be known without running the line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

_VARIABLES = re.compile(
    r"""\s*
    (?:
        [A-Za-z_]\w* = (?: [^\s'"\\] | \\. | '[^']*' | "(?:[^"\\]|\\.)*" )*
        (?: \s+ | \Z )
    )*
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_PLAIN_VARIABLES = re.compile(r"(?!.*\bPATH=)[\w./:,@%+=\s-]*", re.ASCII | re.DOTALL)
"""Values without quotes and substitutions. PATH decides which program is found."""
_PROGRAM = re.compile(
    r"""([\w./+-]+)
    (?= [\s;&|] | \Z )
    (?! \s*\( )  # the definition of a function
    (?! .* (; | \|\| | \n\s*\S) )  # a command that runs even if this one fails
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def words_of(command: str) -> list[str]:
    """The words of a line, without the variables that it sets before its program. Raises ValueError
    for a quote that is not closed."""
    return shlex.split(_split(command)[1])


def program_of(command: str) -> str | None:
    """The program without which a line cannot work; None where only a shell can tell. Told for
    variables with plain values, then a plain word, with nothing after it that would run anyway."""
    variables, rest = _split(command)
    found = _PROGRAM.match(rest) if _PLAIN_VARIABLES.fullmatch(variables) else None
    return found[1] if found else None


def _split(command: str) -> tuple[str, str]:
    """The variables that a line sets before its program, and the rest of the line."""
    found = _VARIABLES.match(command)
    end = found.end() if found else 0
    return command[:end], command[end:]


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
