"""The tunable constants of Python files: found, described, edited in place."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass

from overnight.core.errors import AgentError
from overnight.core.experiment import Value

NewValues = dict[str, Value]
"""Keys of constants → their new values."""

_NEVER = re.compile(r"SEED|VERSION|DEBUG|VERBOSE|PORT$|URL|PATH|DIR$|FILE|NAME$|^_|^(TIME_)?BUDGET")
_FIXED = re.compile(r"\s*(fixed|not tuned)\b", re.IGNORECASE)
_ONE_OF = re.compile(r"\s*one of:\s*(.+)", re.IGNORECASE)
_BOM = "\ufeff"
"""A byte order mark: not part of the program, and kept in the file."""
_FAR = 100.0
"""Steps between two names."""
_LARGEST_INT = 2**53
"""A larger number is a bit mask or an identifier."""
_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})(\s+log\b)?")


@dataclass(frozen=True)
class Constant:
    """A module-level literal, and the values that it may take."""

    key: str
    """`train.py:DEPTH`."""
    value: Value
    choices: tuple[Value, ...] = ()
    """All allowed values, where the constant is not on a continuous scale."""
    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    """Whether steps are factors rather than differences."""

    @property
    def name(self) -> str:
        return self.key.partition(":")[2]

    def steps(self, size: float) -> dict[str, Value]:
        """The values one step away: `down` and `up`, or by a choice's name. `size` 1 is a factor of
        two or a quarter of the range."""
        if self.choices and not self._named:
            scale = sorted(self.choices, key=float)
            at = scale.index(self.value)
            near = {"down": scale[:at][-1:], "up": scale[at + 1 :][:1]}
            return {direction: found[0] for direction, found in near.items() if found}
        if self.choices:
            return {str(choice): choice for choice in self.choices if choice != self.value}
        assert not isinstance(self.value, str)
        found = {}
        for direction, sign in (("down", -1), ("up", 1)):
            value = self._moved(sign * size)
            if value != self.value:
                found[direction] = value
        return found

    def coordinate(self, value: Value) -> float:
        """A value's position, in steps of size 1; names are far from each other."""
        if self._named or isinstance(value, str):
            known = [*self.choices, value]
            return _FAR * known.index(value)
        if self.choices:
            return float(sum(float(choice) < value for choice in self.choices))
        if self._nears_one:
            return -math.log2(max(1 - value, 1e-12))
        if self.log:
            return math.log2(max(value, 1e-300))
        return 4 * value / ((self.high - self.low) or 1)

    @property
    def _named(self) -> bool:
        return any(isinstance(choice, bool | str) for choice in self.choices)

    @property
    def _nears_one(self) -> bool:
        """For constants such as 0.9, 0.95, 0.975 the distance to one counts."""
        return isinstance(self.value, float) and 0.5 < self.value < 1 and self.high <= 1

    def _moved(self, size: float) -> Value:
        value = float(self.value)
        if self._nears_one:
            moved = 1 - (1 - value) * 2.0**-size
        elif self.log:
            moved = value * 2.0**size
        else:
            moved = value + size * (self.high - self.low) / 4
        moved = min(max(moved, self.low), self.high)
        if isinstance(self.value, int):
            whole = round(moved)
            if whole == self.value:
                whole += 1 if size > 0 else -1
            return int(min(max(whole, self.low), self.high))
        return self.rounded(moved)

    def rounded(self, value: float) -> float:
        """Rounded to three significant digits, within the range."""
        return min(max(float(f"{value:.3g}"), self.low), self.high)


def find_constants(path: str, source: str) -> list[Constant]:
    """The tunable constants of one file. Raises AgentError when it is not valid Python."""
    try:
        module = _parsed(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise AgentError(f"{path} is not valid Python: {error}; correct and commit it") from error
    comments = _comments(source)
    found = []
    for name, node in _assignments(module):
        hint = comments.get(node.end_lineno or node.lineno, "")
        value = _literal(node)
        if value is None or _FIXED.match(hint):
            continue
        hinted = _ONE_OF.match(hint) or _range(hint)
        if (hinted or name.isupper()) and (hinted or not _NEVER.search(name)):
            constant = _described(f"{path}:{name}", value, hint)
            if constant is not None:
                found.append(constant)
    return found


def edit(path: str, source: str, values: NewValues) -> str:
    """The source with the literals of these keys replaced, every other byte unchanged."""
    mark = _BOM if source.startswith(_BOM) else ""
    lines = source.removeprefix(mark).encode().splitlines(keepends=True)
    literals = [
        (node, values[f"{path}:{name}"])
        for name, node in _assignments(_parsed(source))
        if f"{path}:{name}" in values
    ]
    for node, value in sorted(literals, key=lambda one: (-one[0].lineno, -one[0].col_offset)):
        line = lines[node.lineno - 1]
        before, after = line[: node.col_offset], line[node.end_col_offset :]
        old = line[node.col_offset : node.end_col_offset].decode()
        lines[node.lineno - 1] = before + _written(value, old).encode() + after
    return mark + b"".join(lines).decode()


def _parsed(source: str) -> ast.Module:
    return ast.parse(source.removeprefix(_BOM))


def _written(value: Value, before: str) -> str:
    if isinstance(value, str):
        text = repr(value)
        plain = text[0] == "'" and not set(text[1:-1]) & set('"\\')
        return f'"{value}"' if plain and not before.startswith("'") else text
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return repr(value)


def _assignments(module: ast.Module) -> list[tuple[str, ast.expr]]:
    """Module-level `NAME = …` and `NAME: type = …` on one line; the last one of each name."""
    found: dict[str, ast.expr] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and value.lineno == value.end_lineno:
            found[target.id] = value
    return list(found.items())


def _literal(node: ast.expr) -> Value | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def _comments(source: str) -> dict[int, str]:
    """Line number → the text of its comment."""
    text = io.StringIO(source.removeprefix(_BOM), newline=None)
    tokens = tokenize.generate_tokens(text.readline)
    return {t.start[0]: t.string.lstrip("#") for t in tokens if t.type == tokenize.COMMENT}


def _described(key: str, value: Value, hint: str) -> Constant | None:
    if match := _ONE_OF.match(hint):
        choices = [choice for text in match[1].split(",") for choice in _choice(text, value)]
        known = choices if value in choices else [value, *choices]
        return Constant(key, value, tuple(dict.fromkeys(known)))
    if isinstance(value, bool):
        return Constant(key, value, (False, True))
    if isinstance(value, str) or abs(value) > _LARGEST_INT:
        return None
    if (match := _range(hint)) is not None:
        low, high = sorted((float(match[1]), float(match[2])))
        # An integer range of several octaves is logarithmic even without `log`.
        octaves = low > 0 and high / low >= 4 and isinstance(value, int)
        log = (bool(match[3]) or octaves) and low > 0 and value > 0
        if isinstance(value, int):
            low, high = math.ceil(low), math.floor(high)
        return Constant(key, value, (), min(low, value), max(high, value), log)
    return _unhinted(key, value)


def _range(hint: str) -> re.Match[str] | None:
    """A range of finite numbers that the hint gives, if it does."""
    match = _RANGE.match(hint)
    return match if match and all(math.isfinite(float(match[n])) for n in (1, 2)) else None


def _unhinted(key: str, value: int | float) -> Constant | None:
    if value == 0:
        return None  # its scale is unknown
    if isinstance(value, int):
        if value < 0:
            return None
        return Constant(key, value, (), max(1, math.ceil(value / 4)), value * 4, True)
    if value < 0:
        return Constant(key, value, (), value * 3, value / 10)
    high = 1.0 if value <= 1 and value > 0.1 else value * 10
    return Constant(key, value, (), value / 10, high, True)


def _choice(text: str, like: Value) -> list[Value]:
    """A list of the one value that a text in a hint stands for; empty when the type differs."""
    text = text.strip().strip("'\"")
    if isinstance(like, bool):
        return [text == "True"] if text in ("True", "False") else []
    try:
        value = type(like)(text)
    except ValueError:
        return []
    return [] if value == "" or value in (math.inf, -math.inf) or value != value else [value]


def title_of(constants: Sequence[Constant], values: NewValues) -> str:
    """`MATRIX_LR 0.04 → 0.025, DEPTH 4 → 5`; with the file where a name occurs twice."""
    names = [c.name for c in constants]
    changes = []
    for c in constants:
        if c.key in values and values[c.key] != c.value:
            label = c.key if names.count(c.name) > 1 else c.name
            changes.append(f"{label} {_shown(c.value)} → {_shown(values[c.key])}")
    return ", ".join(changes)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else _written(value, "")
