"""Makes arenas: a copy of a template, the demo, or arena.toml for an existing repository."""

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
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


def make_arena(template: str, folder: Path) -> bool:
    """Copy a template into a new or empty folder. Outside any git repository, create one and commit
    everything. Returns whether it did. Raises UsageError if the folder is not empty."""
    known = sorted(entry.name for entry in _TEMPLATES.iterdir() if (entry / FILE).is_file())
    if template not in known:
        raise UsageError(f"unknown template {template!r}; expected one of {', '.join(known)}")
    _copy(template, folder)
    if is_in_repository(folder):
        return False
    create_repository(folder)
    return True


def missing_packages(template: str) -> list[str]:
    """The packages of overnight's extra with the template's name that are not installed."""
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
    shutil.copytree(_TEMPLATES / template, folder, ignore=_IGNORED, dirs_exist_ok=True)


def make_demo(folder: Path) -> None:
    """Copy the nanogpt template with a budget so short that ten experiments take minutes. An
    earlier demo in this folder is left as it is, so that it continues."""
    if (folder / FILE).is_file():
        return
    _copy("nanogpt", folder)
    contract = folder / FILE
    text = re.sub(r'^budget = "[^"]*"', 'budget = "15s"', contract.read_text(), flags=re.MULTILINE)
    # Its gains are many times its noise, so few measurements suffice.
    contract.write_text(f"{text}\n[judge]\nbaseline = 3\nmax_repeats = 6\n")
    # A repository of its own even inside another one, whose history a demo must not change.
    create_repository(folder)


@dataclass(frozen=True)
class ArenaFacts:
    """What `overnight init` writes to arena.toml. Empty fields are unknown."""

    run: str | None = None
    metric: str | None = None
    direction: str | None = None
    editable: tuple[str, ...] = ()
    budget: str | None = None
    setup: str | None = None
    data: tuple[str, ...] = ()
    gpus: int = 0

    def filled_from(self, other: ArenaFacts) -> ArenaFacts:
        """These facts; those that are unknown are taken from `other`."""
        return ArenaFacts(**{k: getattr(self, k) or getattr(other, k) for k in vars(self)})

    def missing(self) -> list[str]:
        """Options of `overnight init` for the required facts that are unknown."""
        required = ("run", "metric", "direction", "editable", "budget")
        return [f"--{key}" for key in required if not getattr(self, key)]


def _guess(folder: Path) -> ArenaFacts:
    """Facts about a repository like karpathy/autoresearch: prepare.py, a train.py that prints
    `val_bpb:`, and TIME_BUDGET, the training time in seconds. Other repositories: none."""
    train, prepare = folder / "train.py", folder / "prepare.py"
    if not (train.is_file() and "val_bpb" in train.read_text(errors="replace")):
        return ArenaFacts()
    uv = (folder / "uv.lock").is_file() and shutil.which("uv")
    python = "uv run" if uv else "python" if shutil.which("python") else "python3"
    sources = [f.read_text(errors="replace") for f in (prepare, train) if f.is_file()]
    text = "\n".join(sources)
    caches = [f"~/.cache/{name}" for name in re.findall(r"[\"'/]\.cache[\"', /]+([\w-]+)", text)]
    offline = ""
    if re.search(r"^(from|import) kernels\b", text, re.MULTILINE):
        caches.append("~/.cache/huggingface")
        offline = "HF_HUB_OFFLINE=1 "  # runs have no network; setup downloads what they need
    budgets = [re.search(r"^TIME_BUDGET\s*=\s*(\d+)", text, re.MULTILINE) for text in sources]
    seconds = next((int(match[1]) for match in budgets if match), 300)
    return ArenaFacts(
        run=f"{offline}{python} train.py",
        metric="val_bpb",
        direction="minimize",
        editable=("train.py",),
        # The program limits its training time only; start-up and evaluation come on top.
        budget=f"{2 * seconds}s",
        setup=f"{python} prepare.py" if prepare.is_file() else None,
        data=tuple(dict.fromkeys([*([".venv"] if uv else []), *caches])),
        gpus=1 if "cuda" in text and installed() else 0,
    )


def init_arena(folder: Path, given: ArenaFacts) -> list[Path]:
    """Write arena.toml, and program.md unless it exists. Returns the files written.

    Raises UsageError if a required fact is neither given nor guessed, or if arena.toml exists.
    """
    if (folder / FILE).exists():
        raise UsageError(f"{folder / FILE} exists already; edit it, then `overnight run`")
    facts = given.filled_from(_guess(folder))
    if missing := facts.missing():
        raise UsageError(
            f"overnight cannot guess everything about {folder}; also give {', '.join(missing)}. "
            'For example: overnight init --run "python3 main.py" --metric loss '
            "--direction minimize --editable main.py --budget 5m"
        )
    text = _arena_text(folder, facts)
    Arena.parse(text, folder)
    written = [folder / FILE]
    (folder / FILE).write_text(text)
    if not (folder / PROGRAM).exists():
        (folder / PROGRAM).write_text(
            f"# Strategy\n\n{facts.direction} {facts.metric} by changing "
            f"{', '.join(facts.editable)}.\n"
        )
        written.append(folder / PROGRAM)
    return written


def fixed_seed_note(folder: Path) -> list[str]:
    """A warning if the editable files set a random seed and ignore the one that overnight gives."""
    arena = Arena.parse((folder / FILE).read_text(), folder)
    paths = [path for path in arena.editable_files() if (folder / path).is_file()]
    files = {path: (folder / path).read_text(errors="replace") for path in paths}
    found = seed_set_in(files)
    if found is None or any(GIVEN in text for text in [*files.values(), arena.run.command]):
        return []
    return [
        f"{found}: with a fixed seed, one lucky draw can be kept as a gain. Use the seed that "
        f"each measurement gets, {GIVEN}"
    ]


def _arena_text(folder: Path, facts: ArenaFacts) -> str:
    quoted = json.dumps  # a JSON string is a TOML string
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "arena"
    setup = f"\n[setup]\ncommand = {quoted(facts.setup)}\n" if facts.setup else ""
    data = f"data = {quoted(facts.data)}  # files outside git that a run reads\n"
    gpus = "gpus = 1\n" if facts.gpus else ""
    return (
        f"name = {quoted(name)}\n"
        f"editable = {quoted(facts.editable)}\n"
        f"{data if facts.data else ''}\n"
        f"[metric]\nname = {quoted(facts.metric)}\ndirection = {quoted(facts.direction)}\n"
        f"{setup}\n"
        f"[run]\ncommand = {quoted(facts.run)}\nbudget = {quoted(facts.budget)}\n"
        f"{gpus}network = false\n\n"
        "# Without a [score] table the run reports its own score, `KEY: NUMBER` in its output.\n"
        "# A referee measures it out of the candidate's reach:\n"
        '# [score]\n# command = "python score.py"\n'
    )
