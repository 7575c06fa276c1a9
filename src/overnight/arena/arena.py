"""The arena: arena.toml as a validated, frozen model.

Every mistake in it is reported, all at once, before anything runs.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from overnight.arena.commandline import files_named, is_unknown, program_of, script_of, words_of
from overnight.arena.settings import (
    AgentTable,
    Constraint,
    Holdout,
    JudgeTable,
    Metric,
    PortfolioTable,
    Run,
    Score,
    Setup,
    Table,
)
from overnight.core.errors import ArenaError
from overnight.core.experiment import Measurement

FILE = "arena.toml"
PROGRAM = "program.md"
STATE = ".overnight"
PORTFOLIO = "portfolio"
"""The name by which `--agent` takes the agents of [portfolio]."""
_PLAIN_NAME = r"[\w.-]+"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Arena(Table):
    """A problem with a score: what may change, how it runs, how it is measured."""

    root: Path = Field(exclude=True)
    name: str = Field(pattern=_NAME)
    editable: tuple[str, ...] = Field(min_length=1, strict=False)
    """Globs, relative to the arena's folder: the only paths that an experiment may change."""
    hidden: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that only the referee may read; `~` and `$OVERNIGHT_HOME` are expanded. `@FILE` stands
    for the paths that FILE lists, one a line."""
    data: tuple[str, ...] = Field(default=(), strict=False)
    """Paths that the run may read besides its checkout. A relative one, such as `data/`, which git
    does not track, appears at the same place in every checkout."""
    ledger: str | None = None
    """URL of the ledger's database; default: SQLite in the state folder."""
    metric: Metric
    setup: Setup | None = None
    run: Run
    score: Score | None = None
    holdout: Holdout | None = None
    checks: Mapping[str, str] = Field(default_factory=dict)
    constraints: Mapping[str, Constraint] = Field(default_factory=dict)
    judge: JudgeTable = JudgeTable()
    agents: Mapping[str, AgentTable] = Field(default_factory=dict)
    portfolio: PortfolioTable = PortfolioTable()

    @classmethod
    def find(cls, start: Path) -> Path:
        """The arena's folder: `start` or the nearest folder above it with an arena.toml."""
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / FILE).is_file():
                return folder
        raise ArenaError(
            f"no arena here: {start} and the folders above it have no {FILE}. "
            "Make one of the program in this folder with `overnight init`, or a ready-made one "
            "with `overnight new nanogpt my-arena`; or name an arena's folder with -C."
        )

    @classmethod
    def load(cls, root: Path) -> Arena:
        """The arena in this folder, checked. Raises ArenaError, which lists every mistake."""
        path = root / FILE
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ArenaError(
                f"{path} cannot be read: {error.strerror}; check its permissions"
            ) from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ArenaError(
                f"{path} is not UTF-8 text: found byte 0x{error.object[error.start]:02x} in line "
                f"{line}; correct that line, or save the file as UTF-8"
            ) from error
        arena = cls.parse(text, root)
        mistakes = [*arena._mistakes_in_settings(), *arena._mistakes_in_files()]
        if mistakes:
            raise ArenaError(_listed(path, mistakes))
        return arena

    @classmethod
    def parse(cls, text: str, root: Path) -> Arena:
        """The arena of this arena.toml; its other files are not checked. Raises ArenaError."""
        path = root / FILE
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            also = ", or close what an earlier line opens" if "end of doc" in str(error) else ""
            raise ArenaError(
                f"{path} is not valid TOML: {error}; correct that place{also}"
            ) from error
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
            if not parts:
                raise ValueError(
                    f'"{glob}" names no file; expected a glob relative to the arena, such as '
                    '"train.py" or "src/**"'
                )
            if glob.startswith(("/", "~")) or ".." in parts or "\\" in glob:
                raise ValueError(
                    f'"{glob}" leaves the arena; expected a glob relative to its folder'
                )
            if parts[0] == STATE or ".git" in parts:
                inner = STATE if parts[0] == STATE else ".git"
                raise ValueError(f'"{glob}" reaches into {inner}, which no experiment may touch')
        return globs

    @model_validator(mode="after")
    def _contract_is_protected(self) -> Arena:
        for path in (FILE, PROGRAM):
            if self.is_editable(path):
                raise ValueError(
                    f'editable: the globs match "{path}", which must stay protected; narrow them'
                )
        for path in filter(self.is_editable, self.secrets):
            raise ValueError(
                f'hidden: "{path}" is editable, so agents can read it; remove it from one of them'
            )
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """Paths that no run and no agent may read: those hidden for the referee or the exam."""
        return self.hidden + (self.holdout.hidden if self.holdout else ())

    @cached_property
    def _editable_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(_regex(glob) for glob in self.editable))

    def is_editable(self, path: str) -> bool:
        """Whether an experiment may change this path (relative to the arena, POSIX)."""
        return self._editable_pattern.fullmatch(path) is not None

    def editable_files(self, folder: Path | None = None) -> Iterator[str]:
        """Files that an experiment may change, in the working copy or in another checkout of the
        arena (`folder`), relative to it."""
        return filter(self.is_editable, _files(folder or self.root))

    def worth(self, measurement: Measurement) -> float:
        """The score that the judge compares: oriented so that larger is better, less the penalties
        of the soft constraints."""
        assert measurement.score is not None
        return self.metric.orient(measurement.score) - sum(self.charges(measurement).values())

    def charges(self, measurement: Measurement) -> dict[str, float]:
        """Penalties of a finished measurement by constraint, in units of the metric, without those
        that are zero."""
        assert measurement.score is not None
        numbers, score = measurement.numbers, measurement.score
        found = {name: c.charge(numbers.get(name), score) for name, c in self.constraints.items()}
        return {name: cost for name, cost in found.items() if cost}

    def uncharged(self, measurements: Sequence[Measurement]) -> list[str]:
        """A sentence for each soft constraint without effect because none of these measurements of
        the baseline has its number. With a hard bound the baseline is invalid instead."""
        scored = [measurement for measurement in measurements if measurement.score is not None]
        there = {number for measurement in scored for number in measurement.numbers}
        known = ", ".join(sorted(there)) or "none"
        return [
            f"constraints.{name}: no such number was measured, so its soft bound has no effect; "
            f"found {known}. Correct its name, or print it in the referee's last line"
            for name, bounds in self.constraints.items()
            if scored and bounds.soft and not bounds.broken_by(None) and name not in there
        ]

    @property
    def state(self) -> Path:
        """Folder of everything that overnight writes; git ignores it."""
        return self.root / STATE

    @property
    def ledger_place(self) -> Path | str:
        """The ledger's URL, or its file; a relative one is below the arena's folder."""
        if self.ledger is None:
            return self.state / "ledger.db"
        path = self.ledger.removeprefix("sqlite:///")
        return self.ledger if "://" in path else self.root / path

    @property
    def budget_text(self) -> str:
        """The budget in words: `60 s of processor time`."""
        kind = "processor time" if self.run.clock == "cpu" else "wall time"
        return f"{self.run.budget:g} s of {kind}"

    @cached_property
    def scoring_programs(self) -> frozenset[str]:
        """The arena's files that setup, referee or exam run, and neither the run nor a check."""
        run, others = set[str](), set[str]()
        for _, command, protected in self._commands():
            with suppress(ValueError):  # not a command line
                (others if protected else run).update(files_named(words_of(command), self.root))
        return frozenset(others - run)

    def linked_data(self) -> dict[str, Path]:
        """The relative paths of `data` → their place in the arena's folder."""
        return {
            path: self.root / path for path in self.data if not path.startswith(("/", "~", "$"))
        }

    def _mistakes_in_settings(self) -> Iterator[str]:
        yield from (f"judge.{words}" for words in self.judge.mistakes())
        yield from (f"portfolio.{words}" for words in self.portfolio.mistakes())
        for name, agent in self.agents.items():
            if name == PORTFOLIO or not re.fullmatch(_PLAIN_NAME, name):
                yield (
                    f'agents: "{name}" cannot be a name; expected letters, digits, `.`, `_` and '
                    f"`-`, and not `{PORTFOLIO}`, which stands for all agents of [portfolio]"
                )
            yield from (f"agents.{name}.{words}" for words in agent.mistakes())
        for name in self.checks:
            if not re.fullmatch(_PLAIN_NAME, name):
                yield (
                    f'checks: "{name}" cannot be a name; expected letters, digits, `.`, `_` and '
                    "`-`, since its log file is named after it"
                )
        if 0 < self.judge.gain < self.metric.min_gain:
            yield (
                f"judge.gain: {self.judge.gain:g} has no effect below metric.min_gain = "
                f"{self.metric.min_gain:g}; remove one of them"
            )
        for name, bounds in self.constraints.items():
            yield from (f"constraints.{name}: {words}" for words in bounds.mistakes())

    def _mistakes_in_files(self) -> Iterator[str]:
        if os.path.lexists(self.state) and not self.state.is_dir():
            yield (
                f"{STATE} is not a folder; overnight keeps its record in a folder of that name: "
                "move the file away"
            )
        for path in sorted({*self.secrets} & {*self.data}):
            yield f'hidden: "{path}" is in data too, so the run can read it; remove one of them'
        if not (self.root / PROGRAM).is_file():
            yield f"{PROGRAM} is missing; write the strategy into it, if only one line"
        yield from self._mistakes_in_editable()
        yield from self._mistakes_in_holdout()
        for key, command, protected in self._commands():
            yield from self._mistakes_in_command(key, command, protected)

    def _mistakes_in_editable(self) -> Iterator[str]:
        useless = [
            glob
            for glob in self.editable
            if re.search(r"[\[{]", glob)
            and not any(re.fullmatch(_regex(glob), path) for path in _files(self.root))
        ]
        for glob in useless:
            yield (
                f'editable: "{glob}" matches no file; globs know `*`, `**` and `?`, but neither '
                "`[…]` nor `{…}`: write one glob for each name"
            )
        if not useless and not any(self.editable_files()):
            yield f"editable: no file of the arena matches {list(self.editable)}; name one"

    def _mistakes_in_holdout(self) -> Iterator[str]:
        if self.holdout is None:
            return
        if self.score and self.holdout.command == self.score.command:
            yield (
                f"holdout.command: `{self.holdout.command}` is score.command too; the final exam "
                "needs other data, so name another program or add an option"
            )
        if self.ledger and urlsplit(self.ledger).password:
            yield (
                "ledger: its URL has a password, which every agent can read in arena.toml, and "
                "with it the results of [holdout]; remove it and set PGPASSWORD or ~/.pgpass"
            )

    def _commands(self) -> Iterator[tuple[str, str, bool]]:
        if self.setup:
            yield "setup.command", self.setup.command, True
        yield "run.command", self.run.command, False
        if self.score:
            yield "score.command", self.score.command, True
        if self.holdout:
            yield "holdout.command", self.holdout.command, True
        for name, command in self.checks.items():
            yield f"checks.{name}", command, False

    def _mistakes_in_command(self, key: str, command: str, protected: bool) -> Iterator[str]:
        try:
            words = words_of(command)
        except ValueError as error:
            yield f"{key}: found `{command}`, which is not a command line ({error})"
            return
        if not words:
            yield f"{key}: found `{command}`, which names no program"
            return
        program = program_of(command)
        if program and is_unknown(program, self.root):
            where = (
                "is not a file; correct its path, or add it"
                if "/" in program
                else "is not on this machine's PATH; install it, or write its path"
            )
            yield f"{key}: `{command}` runs `{program}`, which {where}"
        script = script_of(words)
        if script and not (self.root / script).is_file():
            yield f"{key}: {script} is missing in the arena; correct its name, or add it"
        for path in files_named(words, self.root) if protected else ():
            if self.is_editable(path):
                yield f"editable: the globs match {path}, which {key} runs; it must stay protected"


def _regex(glob: str) -> str:
    """`*` stays within a folder, `**` crosses folders, `folder/` stands for all below it."""
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


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys of the table at this location of arena.toml."""
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
    locations = [item["loc"] for item in error.errors()]
    for item in error.errors():
        location = item["loc"]
        if item["type"] == "too_short" and any(location == loc[:-1] for loc in locations):
            continue  # empty only for the lack of its wrong entries
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
        elif item["type"] in ("model_type", "dict_type"):
            table = item["type"] == "model_type"
            below = (
                f"some of: {', '.join(_known_keys(location))}" if table else "a name on each line"
            )
            yield f"{key}: found {found!r}; expected a table: [{key}], and below it {below}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            for theirs, ours in _EXPECTED:
                message = re.sub(theirs, ours, message)
            yield f"{key}: found {found!r}; {message}" if key else message


_EXPECTED = (
    ("^Input should be a valid string", "expected text in quotes"),
    ("^Input should be a valid tuple", 'expected a list, such as ["one", "two"]'),
    ("^Input should be (greater|less)", r"expected a number \1"),
    ("^Input should be", "expected"),
    ("^String should match", "expected a text that matches"),
    ("^String should have", "expected a text with"),
)
"""pydantic's words, and ours."""
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
