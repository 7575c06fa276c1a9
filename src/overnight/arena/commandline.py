"""The program that a shell line starts and the scripts that it names, where they can be known
without running the line."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
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

_SCRIPT = re.compile(r"[^-].*\.(py|sh|js|ts|rb|pl|lua|jl|R)")
_PLAIN = re.compile(r"[\w./ -]+")
_SWITCH = re.compile("-[uBEIOqsSv]+")
"""An option of Python or a shell that takes no value."""
_RUNNERS = {("uv", "run"), ("poetry", "run"), ("pdm", "run")}


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


def script_of(words: Sequence[str]) -> str | None:
    """The script without which a line cannot work: the word after its program, or after `uv run`,
    and after options without a value. None where only a shell can tell which file that is."""
    started = words[2:] if tuple(words[:2]) in _RUNNERS else words[1:]
    rest = itertools.dropwhile(_SWITCH.fullmatch, started)
    word = next(rest, "") if "cd" not in words else ""
    return word if _SCRIPT.fullmatch(word) and _PLAIN.fullmatch(word) else None


def files_named(words: Sequence[str], root: Path) -> list[str]:
    """The files in the folder `root` that a line names, relative to it: scripts, by their suffix,
    and modules after `-m`. Of a link, where it leads as well."""
    found, folder = [], root
    for before, word in itertools.pairwise(["", *(word.strip("();&|") for word in words)]):
        names = [word] if _SCRIPT.fullmatch(word) else []
        if before == "cd":
            folder = folder / word
        elif before == "-m" and re.fullmatch(r"[\w.]+", word):
            module = word.replace(".", "/")
            names = [f"{module}.py", f"{module}/__main__.py"]
        for place in filter(os.path.isfile, (folder / name for name in names)):
            for whole in (os.path.abspath, os.path.realpath):
                path, top = Path(whole(place)), whole(root)
                found += [path.relative_to(top).as_posix()] if path.is_relative_to(top) else []
    return list(dict.fromkeys(found))


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
