"""Ready arenas that `overnight new` copies, and an arena.toml for a repository as it is."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from overnight.arena.arena import FILE, PROGRAM, Arena
from overnight.change.seeds import GIVEN, seed_set_in
from overnight.core.errors import UsageError
from overnight.measure.gpus import installed
from overnight.repo.user_repository import create_repository, is_in_repository

_TEMPLATES = Path(__file__).parent
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def template_names() -> list[str]:
    """The templates that `overnight new` knows."""
    return sorted(folder.name for folder in _TEMPLATES.iterdir() if (folder / FILE).is_file())


def make_arena(template: str, folder: Path) -> bool:
    """Copy a template into a new or empty folder. In no repository, one is made and everything
    committed; True then. Raises UsageError, and changes nothing, when the folder is in use."""
    if template not in template_names():
        known = ", ".join(template_names())
        raise UsageError(f"there is no template {template!r}; there is: {known}")
    _copy(template, folder)
    if is_in_repository(folder):
        return False
    create_repository(folder)
    return True


def missing_packages(template: str) -> list[str]:
    """What of the template's needs, overnight's extra of the same name, is not installed here."""
    names = [
        re.split(r"[^\w.-]", line)[0]
        for line in requires("overnight") or ()
        if line.endswith(f"extra == '{template}'")
    ]
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _copy(template: str, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; name a new folder")
    shutil.copytree(_TEMPLATES / template, folder, ignore=_LEFT_OUT, dirs_exist_ok=True)


def make_demo(folder: Path) -> None:
    """The nanogpt arena with a budget so short that a dozen experiments take minutes; a demo that
    was begun in this folder before is left as it is, to be gone on with."""
    if (folder / FILE).is_file():
        return
    _copy("nanogpt", folder)
    contract = folder / FILE
    text = re.sub(r'^budget = "[^"]*"', 'budget = "15s"', contract.read_text(), flags=re.MULTILINE)
    # Its gains are many times its noise: few runs know that well enough.
    contract.write_text(f"{text}\n[judge]\nbaseline = 3\nmax_repeats = 6\n")
    # Its own repository even inside another one: a demo must not add to somebody's history.
    create_repository(folder)


@dataclass(frozen=True)
class Guess:
    """What `overnight init` writes; None where nothing could be guessed or was said."""

    run: str | None = None
    metric: str | None = None
    direction: str | None = None
    editable: tuple[str, ...] = ()
    budget: str | None = None
    setup: str | None = None
    data: tuple[str, ...] = ()
    gpus: int = 0

    def or_(self, other: Guess) -> Guess:
        """This guess, with the gaps filled from another."""
        merged = {key: getattr(self, key) or getattr(other, key) for key in vars(self)}
        return Guess(**merged)

    def missing(self) -> list[str]:
        """Options of `overnight init` that are still needed."""
        needed = ("run", "metric", "direction", "editable", "budget")
        return [f"--{key}" for key in needed if not getattr(self, key)]


def guess(folder: Path) -> Guess:
    """What a repository of karpathy/autoresearch's shape says of itself: prepare.py, train.py that
    prints `val_bpb:`, a training time in seconds as TIME_BUDGET."""
    train, prepare = folder / "train.py", folder / "prepare.py"
    if not (train.is_file() and "val_bpb" in train.read_text(errors="replace")):
        return Guess()
    uv = (folder / "uv.lock").is_file() and shutil.which("uv")
    start = prepared = "uv run " if uv else "python " if shutil.which("python") else "python3 "
    sources = [f.read_text(errors="replace") for f in (prepare, train) if f.is_file()]
    text = "\n".join(sources)
    caches = [f"~/.cache/{name}" for name in re.findall(r"[\"'/]\.cache[\"', /]+([\w-]+)", text)]
    if re.search(r"^(from|import) kernels\b", text, re.MULTILINE):
        caches.append("~/.cache/huggingface")
        start = f"HF_HUB_OFFLINE=1 {start}"  # no network: what was downloaded before is there
    budgets = [re.search(r"^TIME_BUDGET\s*=\s*(\d+)", text, re.MULTILINE) for text in sources]
    seconds = next((int(match[1]) for match in budgets if match), 300)
    return Guess(
        run=f"{start}train.py",
        metric="val_bpb",
        direction="minimize",
        editable=("train.py",),
        # The program keeps its own training time; start-up and evaluation come on top of it.
        budget=f"{2 * seconds}s",
        setup=f"{prepared}prepare.py" if prepare.is_file() else None,
        data=tuple(dict.fromkeys([*([".venv"] if uv else []), *caches])),
        gpus=1 if "cuda" in text and installed() else 0,
    )


def init_arena(folder: Path, said: Guess) -> list[Path]:
    """Write arena.toml, and program.md where there is none, for a repository as it is.

    Returns the files written. Raises UsageError when something can neither be guessed nor was
    said, or when there is an arena already.
    """
    if (folder / FILE).exists():
        raise UsageError(f"{folder / FILE} exists already; edit it, then `overnight run`")
    known = said.or_(guess(folder))
    if missing := known.missing():
        raise UsageError(
            f"{folder} is not of a shape that overnight knows; please say {', '.join(missing)}. "
            'For example: overnight init --run "python main.py" --metric loss '
            "--direction minimize --editable main.py --budget 5m"
        )
    text = _arena_text(folder, known)
    Arena.parse(text, folder)
    written = [folder / FILE]
    (folder / FILE).write_text(text)
    if not (folder / PROGRAM).exists():
        (folder / PROGRAM).write_text(
            f"# Strategy\n\n{known.direction} {known.metric} by changing "
            f"{', '.join(known.editable)}.\n"
        )
        written.append(folder / PROGRAM)
    return written


def fixed_seed_note(folder: Path) -> list[str]:
    """What to know of a new arena whose editable files set a seed and do not read the given one."""
    arena = Arena.parse((folder / FILE).read_text(), folder)
    places = {path: folder / path for path in arena.editable_files()}
    files = {p: f.read_text(errors="replace") for p, f in places.items() if f.is_file()}
    place = seed_set_in(files)
    if place is None or any(GIVEN in text for text in [*files.values(), arena.run.command]):
        return []
    return [
        f"{place}: where that makes every score of a program equal, the luck of one draw is kept "
        f"as gain. Let it take the seed that each measurement gets, {GIVEN}"
    ]


def _arena_text(folder: Path, known: Guess) -> str:
    quoted = json.dumps  # a JSON string is a TOML string
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "arena"
    setup = f"\n[setup]\ncommand = {quoted(known.setup)}\n" if known.setup else ""
    data = f"data = {quoted(known.data)}  # what a run reads and git does not track\n"
    gpus = "gpus = 1\n" if known.gpus else ""
    return (
        f"name = {quoted(name)}\n"
        f"editable = {quoted(known.editable)}\n"
        f"{data if known.data else ''}\n"
        f"[metric]\nname = {quoted(known.metric)}\ndirection = {quoted(known.direction)}\n"
        f"{setup}\n"
        f"[run]\ncommand = {quoted(known.run)}\nbudget = {quoted(known.budget)}\n"
        f"{gpus}network = false\n\n"
        "# Without a [score] table the score is the run's own word: `KEY: NUMBER` in its output.\n"
        "# To measure it out of the candidate's reach, add a referee:\n"
        '# [score]\n# command = "python score.py"\n'
    )
