"""The tunable constants of Python files: found, described, edited in place."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overnight.errors import AgentError
from overnight.experiment import Value

_NEVER = re.compile(r"SEED|VERSION|DEBUG|VERBOSE|PORT$|URL|PATH|DIR$|FILE|NAME$|^_|^(TIME_)?BUDGET")
_FIXED = re.compile(r"\s*(fixed|not tuned)\b", re.IGNORECASE)
_ONE_OF = re.compile(r"\s*one of:\s*(.+)", re.IGNORECASE)
_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})(\s+log\b)?")


@dataclass(frozen=True)
class Constant:
    """A module-level literal and what it may become."""

    key: str
    """`train.py:DEPTH`."""
    value: Value
    choices: tuple[Value, ...] = ()
    """All allowed values, for a constant that is no number on a scale."""
    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    """Steps are factors rather than differences."""

    @property
    def name(self) -> str:
        return self.key.partition(":")[2]

    def steps(self, size: float) -> dict[str, Value]:
        """Where one step leads: `down` and `up`, or a choice's own name. `size` 1 is a factor of
        two or a quarter of the range; smaller is finer."""
        if self.choices and not any(isinstance(choice, bool | str) for choice in self.choices):
            scale = sorted(self.choices, key=float)
            place = scale.index(self.value)
            near = {"down": scale[:place][-1:], "up": scale[place + 1 :][:1]}
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

    def _moved(self, size: float) -> Value:
        value = float(self.value)
        if 0.5 < value < 1 and self.high <= 1 and not isinstance(self.value, int):
            moved = 1 - (1 - value) * 2.0**-size  # 0.9, 0.95, 0.975: what is left to one counts
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
        return float(f"{moved:.3g}")


def find_constants(path: str, source: str) -> list[Constant]:
    """The tunable constants of one file. Raises AgentError when it is no Python."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise AgentError(f"{path} is not valid Python: {error}") from error
    comments = _comments(source)
    found = []
    for name, node in _assignments(module):
        hint = comments.get(node.end_lineno or node.lineno, "")
        value = _literal(node)
        if value is None or _FIXED.match(hint):
            continue
        hinted = _ONE_OF.match(hint) or _RANGE.match(hint)
        if (hinted or name.isupper()) and (hinted or not _NEVER.search(name)):
            constant = _described(f"{path}:{name}", value, hint)
            if constant is not None:
                found.append(constant)
    return found


def edit(path: str, source: str, values: Mapping[str, Value]) -> str:
    """The source with the literals of these keys replaced, every other byte as it was."""
    lines = source.encode().splitlines(keepends=True)
    places = [
        (node, values[f"{path}:{name}"])
        for name, node in _assignments(ast.parse(source))
        if f"{path}:{name}" in values
    ]
    for node, value in sorted(places, key=lambda place: -place[0].lineno):
        row = node.lineno - 1
        line = lines[row]
        text = _written(value, _text(line[node.col_offset : node.end_col_offset])).encode()
        lines[row] = line[: node.col_offset] + text + line[node.end_col_offset :]
    return b"".join(lines).decode()


def _text(raw: bytes) -> str:
    return raw.decode()


def _written(value: Value, before: str) -> str:
    if isinstance(value, str):
        quote = before[0] if before[:1] in "'\"" else '"'
        return f"{quote}{value}{quote}"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return repr(value)


def _assignments(module: ast.Module) -> list[tuple[str, ast.expr]]:
    """Module-level `NAME = …` and `NAME: type = …` on one line, the last of each name."""
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
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("#") for t in tokens if t.type == tokenize.COMMENT}


def _described(key: str, value: Value, hint: str) -> Constant | None:
    if match := _ONE_OF.match(hint):
        choices = tuple(_choice(word.strip(), value) for word in match[1].split(","))
        known = choices if value in choices else (value, *choices)
        return Constant(key, value, tuple(dict.fromkeys(known)))
    if isinstance(value, bool):
        return Constant(key, value, (False, True))
    if isinstance(value, str):
        return None
    if match := _RANGE.match(hint):
        low, high = sorted((float(match[1]), float(match[2])))
        # An integer on a range of several octaves is stepped by factors without being told.
        octaves = low > 0 and high / low >= 4 and isinstance(value, int)
        log = (bool(match[3]) or octaves) and low > 0 and value > 0
        return Constant(key, value, (), min(low, value), max(high, value), log)
    return _unhinted(key, value)


def _unhinted(key: str, value: int | float) -> Constant | None:
    if value == 0:
        return None  # nothing says on which scale it lives
    if isinstance(value, int):
        if value < 0:
            return None
        return Constant(key, value, (), max(1, value / 4), value * 4, True)
    if value < 0:
        return Constant(key, value, (), value * 3, 0.0)
    high = 1.0 if value <= 1 and value > 0.1 else value * 10
    return Constant(key, value, (), value / 10, high, True)


def _choice(word: str, like: Value) -> Value:
    word = word.strip("'\"")
    try:
        if isinstance(like, bool):
            return word == "True"
        return type(like)(word)
    except ValueError:
        return word


def changes_in_words(before: Sequence[Constant], values: Mapping[str, Value]) -> str:
    """`MATRIX_LR 0.04 → 0.025, DEPTH 4 → 5`; the file too where a name occurs twice."""
    names = [c.name for c in before]
    words = []
    for c in before:
        if c.key in values and values[c.key] != c.value:
            label = c.key if names.count(c.name) > 1 else c.name
            words.append(f"{label} {_shown(c.value)} → {_shown(values[c.key])}")
    return ", ".join(words)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else _written(value, "")
