"""The arena: arena.toml as a validated, frozen model.

Nothing runs before the whole contract has been read and every mistake in it has been named.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from overnight.errors import ArenaError
from overnight.quantity import Duration, Size

FILE = "arena.toml"
PROGRAM = "program.md"
STATE = ".overnight"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_METRIC = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


def _machine_memory() -> int:
    """Bytes that the machine has, or the container that this is in."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", name)
        if file.is_file() and (words := file.read_text().strip()).isdigit():
            limits.append(int(words))
    return min(limits)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metric(_Table):
    """What is measured, and which way is better."""

    name: str = Field(pattern=_METRIC)
    """Its key in the referee's JSON, or in the run's `key: value` lines without a referee."""
    direction: Literal["minimize", "maximize"]
    unit: str = ""
    min_gain: FiniteFloat = Field(default=0.0, ge=0)
    """Smaller gains are not worth keeping, in units of the metric."""
    best_possible: FiniteFloat | None = None
    """A score beyond it cannot be true: invalid."""

    def orient(self, score: float) -> float:
        """The score such that larger is better; its own inverse."""
        return -score if self.direction == "minimize" else score


class Setup(_Table):
    """Trusted preparation, once per machine and version of the protected files, off the clock."""

    command: str = Field(min_length=1)
    timeout: Duration = 4 * 3600.0


class Run(_Table):
    """The candidate's stage: untrusted, on the clock."""

    command: str = Field(min_length=1)
    budget: Duration
    """From process start, kept by overnight, never by the candidate."""
    clock: Literal["wall", "cpu"] = "wall"
    """What the budget counts in: wall seconds, or processor seconds of the whole tree."""
    memory: Size = Field(default_factory=lambda: int(0.9 * _machine_memory()))
    """Most memory the whole process tree may hold, in bytes; nine tenths of the machine's."""
    network: bool = False
    sandbox: Literal["bubblewrap", "landlock", "seatbelt"] | None = None
    """The back end that confines it; without a choice the strongest that works."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Graphics cards that one measurement needs for itself."""
    processes: int = Field(default=1000, ge=1)
    """Most processes at once."""
    disk: Size = 10_000_000_000
    """Most bytes that it may leave in OVERNIGHT_OUT and in its temporary folder."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of environment variables handed through to the run."""


class Score(_Table):
    """The referee's stage: trusted code from the arena's base commit."""

    command: str = Field(min_length=1)
    timeout: Duration = 120.0
    memory: Size | None = None
    """Most memory of the referee and of every candidate process that it asks."""


class Constraint(_Table):
    """Bounds of a named number from the referee or from overnight's own meters."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    def broken_by(self, value: float | None) -> str | None:
        """What is wrong with the value, or None when it lies within the bounds."""
        if value is None:
            return "was not measured"
        if self.max is not None and value > self.max:
            return f"is {value:g}, above the maximum {self.max:g}"
        if self.min is not None and value < self.min:
            return f"is {value:g}, below the minimum {self.min:g}"
        return None


class JudgeTable(_Table):
    """The keep-or-discard rule and its settings."""

    rule: Literal["greedy", "threshold"] = "greedy"
    gain: FiniteFloat = Field(default=0.0, ge=0)
    """threshold: the least gain that counts, in units of the metric."""
    repeats: int = Field(default=1, ge=1, le=100)
    """threshold: measurements a side before a keep."""


class AgentTable(_Table):
    """A program that proposes changes."""

    command: str = Field(min_length=1)
    """`{prompt}` is replaced by the brief; without it the brief comes on standard input."""
    timeout: Duration = 1800.0
    network: bool = True
    """To reach its model."""
    env: tuple[str, ...] = Field(default=(), strict=False)
    """Names of environment variables that it gets, such as the key of its model, and nobody else
    does."""
    data: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that it may read, such as the folder of its program."""


class Arena(_Table):
    """A problem with a score: what may change, how it is run, how it is measured."""

    root: Path = Field(exclude=True)
    name: str = Field(pattern=_NAME)
    editable: tuple[str, ...] = Field(min_length=1, strict=False)
    """Globs below the arena's folder: the only paths an experiment may change."""
    hidden: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that the referee alone may read; `~` and `$OVERNIGHT_HOME` are expanded. `@FILE` stands
    for the paths that a file lists, a line each."""
    data: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that the run may read beside the candidate's own tree. One below the arena's folder
    that git does not track (say `data/`) appears at the same place in every checkout."""
    ledger: str | None = None
    """Where the record is kept: a database's URL; default is SQLite in the state folder."""
    metric: Metric
    setup: Setup | None = None
    run: Run
    score: Score | None = None
    checks: Mapping[str, str] = Field(default_factory=dict)
    constraints: Mapping[str, Constraint] = Field(default_factory=dict)
    judge: JudgeTable = JudgeTable()
    agents: Mapping[str, AgentTable] = Field(default_factory=dict)

    @classmethod
    def find(cls, start: Path) -> Path:
        """The arena's folder: `start` or the nearest folder above it with an arena.toml."""
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / FILE).is_file():
                return folder
        raise ArenaError(
            f"no arena here: {start} and the folders above it have no {FILE}. "
            "Make one with `overnight new nanogpt my-arena`, or name its folder with -C."
        )

    @classmethod
    def load(cls, root: Path) -> Arena:
        """Read and check the arena in this folder. Raises ArenaError for every mistake in it."""
        path = root / FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArenaError(f"{path} cannot be read: {error}") from error
        arena = cls.parse(text, root)
        mistakes = list(arena._mistakes_in_files())
        if mistakes:
            raise ArenaError(_listed(path, mistakes))
        return arena

    @classmethod
    def parse(cls, text: str, root: Path) -> Arena:
        """An arena from the text of its arena.toml, without a look at its other files."""
        path = root / FILE
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ArenaError(f"{path} is not valid TOML: {error}") from error
        if "root" in content:
            raise ArenaError(_listed(path, ['unknown key "root"; remove it']))
        try:
            return cls.model_validate({**content, "root": root})
        except ValidationError as error:
            raise ArenaError(_listed(path, _explained(error))) from error

    @field_validator("editable")
    @classmethod
    def _inside(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        for glob in globs:
            parts = PurePosixPath(glob).parts
            if glob.startswith(("/", "~")) or ".." in parts or "\\" in glob or not parts:
                raise ValueError(f'"{glob}" leaves the arena: write globs relative to its folder')
            if parts[0] == STATE or ".git" in parts:
                raise ValueError(f'"{glob}" reaches into {parts[0]}, which no experiment may touch')
        return globs

    @model_validator(mode="after")
    def _contract_is_protected(self) -> Arena:
        for path in (FILE, PROGRAM):
            if self.is_editable(path):
                raise ValueError(f'editable: "{path}" would be editable; it must stay protected')
        for path in filter(self.is_editable, self.hidden):
            raise ValueError(
                f'hidden: "{path}" is editable, so it is no secret; choose one of them'
            )
        return self

    @cached_property
    def _editable_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(_regex(glob) for glob in self.editable))

    def is_editable(self, path: str) -> bool:
        """Whether an experiment may change this path (relative to the arena, POSIX)."""
        return self._editable_pattern.fullmatch(path) is not None

    @property
    def state(self) -> Path:
        """The folder of everything overnight writes, ignored by git."""
        return self.root / STATE

    @property
    def ledger_place(self) -> Path | str:
        """The ledger's file, relative ones taken from the arena's folder, or its URL."""
        if self.ledger is None:
            return self.state / "ledger.db"
        path = self.ledger.removeprefix("sqlite:///")
        return self.ledger if "://" in path else self.root / path

    @property
    def budget_text(self) -> str:
        """The budget in words: `60 s of processor time`."""
        kind = "processor time" if self.run.clock == "cpu" else "wall time"
        return f"{self.run.budget:g} s of {kind}"

    def linked_data(self) -> dict[str, Path]:
        """`data` paths below the arena's folder: relative path → where it is."""
        return {
            path: self.root / path for path in self.data if not path.startswith(("/", "~", "$"))
        }

    def _mistakes_in_files(self) -> Iterator[str]:
        for path in sorted({*self.hidden} & {*self.data}):
            yield f'hidden: "{path}" is data of the run as well; what it reads is not hidden'
        if not (self.root / PROGRAM).is_file():
            yield f"{PROGRAM} is missing beside it: the strategy in words; even one line will do"
        if not any(self.is_editable(path) for path in _files(self.root)):
            yield f"editable: nothing in the arena matches {list(self.editable)}"
        for key, command, protected in self._commands():
            yield from self._mistakes_in_command(key, command, protected)

    def _commands(self) -> Iterator[tuple[str, str, bool]]:
        if self.setup:
            yield "setup.command", self.setup.command, True
        yield "run.command", self.run.command, False
        if self.score:
            yield "score.command", self.score.command, True
        for name, command in self.checks.items():
            yield f"checks.{name}", command, False

    def _mistakes_in_command(self, key: str, command: str, protected: bool) -> Iterator[str]:
        try:
            words = shlex.split(command)
        except ValueError as error:
            yield f"{key}: `{command}` is not a command line ({error})"
            return
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        if not words:
            yield f"{key}: `{command}` names no program"
            return
        if not _program_exists(words[0], self.root):
            yield f"{key}: the program `{words[0]}` of `{command}` is not on this machine's PATH"
        for word in _named_files(words, self.root):
            if not (self.root / word).is_file():
                yield f"{key}: {word} is missing in the arena"
            elif protected and self.is_editable(os.path.normpath(word)):
                yield f"editable: {word} is what {key} runs; it must stay protected"


def _regex(glob: str) -> str:
    """`*` stays within a folder, `**` crosses folders, a folder's name stands for all below it."""
    pieces = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", glob.removeprefix("./")):
        match token:
            case "**/":
                pieces.append("(?:[^/]+/)*")
            case "**":
                pieces.append(".*")
            case "*":
                pieces.append("[^/]*")
            case "?":
                pieces.append("[^/]")
            case _:
                pieces.append(re.escape(token))
    return "".join(pieces) + (".*" if glob.endswith("/") else "")


def _files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (STATE, ".git")]
        base = Path(folder).relative_to(root)
        yield from ((base / name).as_posix() for name in files)


def _program_exists(program: str, root: Path) -> bool:
    builtin = program in {"cd", "exec", "test", "[", "true", "false", "set", "export", ":", "if"}
    if builtin or program.startswith(("$", "(", "{")):
        return True
    return shutil.which(program) is not None or (root / program).is_file()


def _named_files(words: list[str], root: Path) -> Iterator[str]:
    """Files that a command names: scripts by their ending, the arena's modules after `-m`."""
    for before, word in zip(["", *words], words, strict=False):
        if re.fullmatch(r"[\w./-]+\.(py|sh|js|ts|rb|pl|lua|jl|R)", word):
            yield word
        elif before == "-m" and re.fullmatch(r"[\w.]+", word):
            module = word.replace(".", "/")
            yield from (
                f for f in (f"{module}.py", f"{module}/__main__.py") if (root / f).is_file()
            )


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that arena.toml may have in the table at this location."""
    model: type[BaseModel] = Arena
    for part in location:
        annotation = (
            model.model_fields[str(part)].annotation if part in model.model_fields else None
        )
        kinds = [annotation, *get_args(annotation)]
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if tables:
            model = tables[0]
    return [name for name in model.model_fields if name != "root"]


def _explained(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        location = item["loc"]
        key = ".".join(str(part) for part in location)
        found = item["input"]
        if item["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
            yield f"{key}: unknown key; {hint}"
        elif item["type"] in ("missing", "too_short"):
            word = "missing" if item["type"] == "missing" else "empty"
            yield f"{key}: is {word}{_MISSING.get(key, '')}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            yield f"{key}: found {found!r}; {message}" if key else message


_MISSING = {
    "metric.direction": '; write direction = "minimize" or "maximize"',
    "editable": '; list what may change, such as editable = ["train.py"]',
    "metric": '; add a [metric] table with name = "…" and direction = "minimize" or "maximize"',
    "run": '; add a [run] table with command = "…" and budget = "5m"',
    "run.budget": '; say how long one run may take, such as budget = "5m"',
}


def _listed(path: Path, mistakes: Iterator[str] | list[str]) -> str:
    lines = list(mistakes)
    if len(lines) == 1:
        return f"{path}: {lines[0]}"
    return f"{path} has {len(lines)} mistakes:\n" + "\n".join(f"  - {line}" for line in lines)
