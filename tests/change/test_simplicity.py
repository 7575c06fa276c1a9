"""How simple code is: what counts, and what is no simplification though it looks shorter."""

from __future__ import annotations

import base64
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.change.simplicity import Simplicity, code_size
from overnight.core.experiment import Experiment
from overnight.repo.workspace import Workspace
from toy import ARENA, git, make_toy

PROGRAM = Path(__file__).read_text()
COMMENTED = "".join(f"#:{line}\n" for line in PROGRAM.splitlines())
PACKED = base64.b64encode(zlib.compress(PROGRAM.encode(), 9))


def simpler(folder: Path, before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether a candidate with these files counts as simpler than one with those."""
    text = ARENA.replace('editable = ["value.py"]', 'editable = ["value.py", "*.js", "*.txt"]')
    toy = make_toy(folder / "arena", text)
    assert text != ARENA
    commits = []
    for files in (before, after):
        git(toy, "rm", "--quiet", "--cached", "-r", "--ignore-unmatch", "*.js", "*.txt", "value.py")
        for name, content in files.items():
            (toy / name).write_text(content)
            git(toy, "add", name)
        git(toy, "commit", "--quiet", "--allow-empty", "--message", "version")
        commits.append(git(toy, "rev-parse", "HEAD").strip())
    arena = Arena.load(toy)
    workspace = Workspace.open(arena.root, arena.state)
    experiment = Experiment(1, "a", datetime.now(UTC), parent=commits[0], candidate=commits[1])
    return Simplicity(arena, workspace).gained(experiment)


def half(text: str) -> str:
    """The program without its last test."""
    return text[: text.rindex("\n\n\n")] + "\n"


def test_less_code_is_simpler(tmp_path: Path) -> None:
    assert simpler(tmp_path / "py", {"value.py": PROGRAM}, {"value.py": half(PROGRAM)})
    loop = "for (let i = 0; i < 3; i++) { total += i * i }\n"
    assert simpler(tmp_path / "js", {"a.js": 4 * loop}, {"a.js": 2 * loop})


@pytest.mark.parametrize(
    "after",
    [
        {"value.py": f"exec({PROGRAM!r})\n"},
        {"value.py": f"import base64, zlib\nexec(zlib.decompress(base64.b64decode({PACKED!r})))\n"},
        {"value.py": f"exec(bytes.fromhex('{PACKED.hex()}'))\n"},
        {"value.py": f"exec({int.from_bytes(PACKED):#x}.to_bytes(9999))\n"},
        {"value.py": PROGRAM + "\nprint 'of another Python'\n"},
        {"value.py": f'r"""{PROGRAM.replace(chr(34) * 3, "")}"""\nexec(__doc__)\n'},
        {"value.py": COMMENTED + "__import__('os').system('sed s/^#:// value.py | python3')\n"},
        {"value.py": COMMENTED + "print(open('value.py').read())\n"},
        {"value.py": COMMENTED + "vars()['__built' 'ins__']\n"},
        {"value.py": f'r"""{PROGRAM.replace(chr(34) * 3, "")}"""\nprint(globals())\n'},
        {"value.py": "exec(open('a.txt').read())\n", "a.txt": PROGRAM},
        {"value.py": "exec(open('a.txt').read())\n", "a.txt": PACKED.decode()},
        {"value.py": PROGRAM.replace("simpler", "s").replace("experiment", "e")},
    ],
    ids=[
        "exec",
        "packed",
        "hex",
        "number",
        "syntax",
        "docstring",
        "comments",
        "comments that are read",
        "comments, by a name in pieces",
        "docstring that is looked up",
        "moved",
        "moved, packed",
        "names",
    ],
)
def test_code_in_disguise_is_not_simpler(tmp_path: Path, after: dict[str, str]) -> None:
    assert not simpler(tmp_path, {"value.py": PROGRAM}, after)


def test_a_line_that_says_why_does_not_stand_in_the_way(tmp_path: Path) -> None:
    why = "# one test less: what it looked at is looked at by the others\n"
    assert simpler(tmp_path, {"value.py": PROGRAM}, {"value.py": why + half(PROGRAM)})


def test_code_on_one_line_and_without_comments_is_as_simple_as_before(tmp_path: Path) -> None:
    one_line = {"a.js": "let a = 1; let b = 2; f(a, b)\n"}
    lines = {"a.js": "// what it does\nlet a = 1;\nlet b = 2; // two\nf(a,\n  b)\n"}
    assert not simpler(tmp_path / "a", lines, one_line)
    spoken = '"""What it is."""\n\nX = 1  # one\nY = 2\n\n\ndef f():\n    "f"\n    return X\n'
    mute = "X = 1\nY = 2\ndef f(): return X\n"
    assert not simpler(tmp_path / "b", {"value.py": spoken}, {"value.py": mute})


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.txt", b"src/*\n" * 30_000),
        ("a.c", b"/* one */" + b"/*" * 60_000),
        ("a.csv", b"12.5,33.1,abc\n" * 1_500_000),
        ("a.py", b"x = 1\n" * 2_000_000),
    ],
    ids=["open comments", "one is closed", "large", "large Python"],
)
def test_no_file_takes_long_to_measure(path: str, data: bytes) -> None:
    begun = time.process_time()
    size = code_size(path, data)
    assert time.process_time() - begun < 4, "it takes a tenth of a second to a second"
    assert code_size(path, data + b"y = 2\n").tokens > size.tokens


def test_a_block_comment_is_not_counted_and_one_that_never_ends_is() -> None:
    closed, text = (code_size("a.c", data) for data in (b"/* b\nc */ a; /* d", b"a; / * d"))
    assert closed.tokens == text.tokens == 5
