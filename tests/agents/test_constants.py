"""Constants: which are found, what they may become, and that an edit touches nothing else."""

from __future__ import annotations

import ast
import json
import statistics
import tokenize
from pathlib import Path

import pytest

from overnight.agents.tuner.constants import Constant, edit, find_constants, title_of
from overnight.core.errors import AgentError
from overnight.core.experiment import Value


def found(source: str) -> dict[str, Constant]:
    return {c.name: c for c in find_constants("f.py", source)}


def only(source: str) -> Constant:
    (constant,) = found(source).values()
    return constant


def changed(source: str, **values: Value) -> str:
    return edit("f.py", source, {f"f.py:{name}": value for name, value in values.items()})


ODD = '''\
#!/usr/bin/env python
"""Docstring with A = 1."""
A=1;  B = 2   # two: 0..9
C: float   =  1e-4\t# ünï  1e-5..1e-3 log
D = 0x10  # mask

# A = 7
E = "öl"  # one of: öl, gas, 'ho"lz'
if True:
    F = 3
G = (1, 2)
H = I = 4
def f():
    A = 5
    return A
J = -2.5  # -5..0
K = True
L = 1_000
M = "free text"
N = 0.5  # fixed
lower = 3
hinted = 3  # 1..5
SEED = 7
O = [
    1,
]
P = \\
    6
'''


def test_only_literals_at_module_level_that_are_no_text_are_found() -> None:
    assert list(found(ODD)) == ["A", "B", "C", "D", "E", "J", "K", "L", "hinted", "P"]


def test_an_edit_changes_the_literals_and_no_other_byte() -> None:
    values: dict[str, Value] = {"A": 3, "B": 4, "C": 2.5e-5, "E": 'ho"lz', "J": -1.0, "K": False}
    after = changed(ODD, **values, hinted=4, P=12)
    differing = {
        (old, new)
        for old, new in zip(ODD.split("\n"), after.split("\n"), strict=True)
        if old != new
    }
    assert differing == {
        ("A=1;  B = 2   # two: 0..9", "A=3;  B = 4   # two: 0..9"),
        (
            "C: float   =  1e-4\t# ünï  1e-5..1e-3 log",
            "C: float   =  2.5e-5\t# ünï  1e-5..1e-3 log",
        ),
        ("""E = "öl"  # one of: öl, gas, 'ho"lz'""", """E = 'ho"lz'  # one of: öl, gas, 'ho"lz'"""),
        ("J = -2.5  # -5..0", "J = -1.0  # -5..0"),
        ("K = True", "K = False"),
        ("hinted = 3  # 1..5", "hinted = 4  # 1..5"),
        ("    6", "    12"),
    }


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_survive(end: str, mark: str) -> None:
    source = mark + end.join(["X = 1  # 0..9", "Y = 2.0", ""])
    assert [c.value for c in found(source).values()] == [1, 2.0]
    assert found(source)["X"].high == 9
    assert changed(source, X=5, Y=4.0) == source.replace("1 ", "5 ").replace("2.0", "4.0")


def test_the_last_assignment_of_a_name_is_the_one_that_counts() -> None:
    assert changed("X = 1\nX = 2\n", X=3) == "X = 1\nX = 3\n"


@pytest.mark.parametrize(
    ("line", "low", "high", "log"),
    [
        ("X = 0.01  # 0.001..0.1 log", 0.001, 0.1, True),
        ("X = 5  # 1..9", 1, 9, True),
        ("X = 5  # 4..9", 4, 9, False),
        ("X = 0  # -3..3", -3, 3, False),
        ("X = 3  # 1.5..8.2", 2, 8, True),
        ("X = 50  # 1..9", 1, 50, True),
        ("X = 0.0  # 0..0.3 of the time", 0, 0.3, False),
        ("X = 5  # 9..1", 1, 9, True),
        ("X = 0.5  # of what there is", 0.05, 1.0, True),
        ("X = 8", 2, 32, True),
        ("X = 8  # 1..1e999", 2, 32, True),
        ("X = 1", 1, 4, True),
        ("X = -2.0", -6, -0.2, False),
        ("X = 3.0", 0.3, 30, True),
    ],
)
def test_ranges(line: str, low: float, high: float, log: bool) -> None:
    constant = only(line)
    assert (constant.low, constant.high) == pytest.approx((low, high))
    assert constant.log is log


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ('X = "relu"  # one of: relu, gelu, "silu"', ("relu", "gelu", "silu")),
        ("X = 8  # one of: 16, 4", (8, 16, 4)),
        ("X = 8  # one of: 8, many, 4.5, 16", (8, 16)),
        ("X = 0.5  # one of: 0.5, nan, inf, 1", (0.5, 1.0)),
        ("X = True", (False, True)),
        ("X = False  # one of: True", (False, True)),
        ("X = 4  # One of: 4,, 4,5", (4, 5)),
    ],
)
def test_choices(line: str, choices: tuple[Value, ...]) -> None:
    constant = only(line)
    assert constant.choices == choices
    assert {type(choice) for choice in constant.choices} == {type(constant.value)}


NO_SCALE = """
X = 0
X = 0.0
X = -3
X = 1e400
X = 2**8
X = "a"
X = b'a'
X = None
X = 1 + 0
X, Y = 1, 2
X[0] = 1
X += 1
X: int
X = f"{1}"
X = 3j
X = 1152921504606846976
X = 1  # Fixed: by the data
MY_SEED = 1
PATH = 1
_X = 1
x = 1
x = 1  # 1..1e999
__version__ = 1
TIME_BUDGET = 60
"""


@pytest.mark.parametrize("line", NO_SCALE.split("\n")[1:-1])
def test_what_is_no_scale_is_left_alone(line: str) -> None:
    assert found(line) == {}


SCALES = """
X = 4  # 1..8
X = 0.95  # 0.8..0.99
X = 0.02  # 0.002..0.2 log
X = 9  # 0..9
X = 0.0  # 0..0.3
X = 128  # one of: 64, 96, 128, 192
X = "a"  # one of: a, b, c
X = 0.0123456  # 0.0123456..0.02
X = True
X = 1
X = 0.0005
X = -1.0
"""


@pytest.mark.parametrize("size", [0.125, 0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("line", SCALES.split("\n")[1:-1])
def test_steps_stay_in_range_and_lead_somewhere(line: str, size: float) -> None:
    constant = only(line)
    steps = constant.steps(size)
    assert steps
    here = constant.coordinate(constant.value)
    for direction, value in steps.items():
        assert type(value) is type(constant.value) and value != constant.value
        assert not constant.choices or value in constant.choices
        there = constant.coordinate(value)
        assert {"up": there > here, "down": there < here}.get(direction, there != here)
        if not constant.choices:
            assert constant.low <= float(value) <= constant.high
        again = only(changed(line, X=value))
        assert again.value == value


def test_a_step_is_a_factor_of_two_or_a_quarter_of_the_range() -> None:
    assert only("X = 8").steps(1) == {"down": 4, "up": 16}
    assert only("X = 2.0  # 0..8").steps(1) == {"down": 0.0, "up": 4.0}
    assert only("X = 0.9").steps(1) == {"down": 0.8, "up": 0.95}


@pytest.mark.parametrize("source", ["x = (", "X = 1\n  Y = 2", "X = '\0'", "(" * 5000, "print 1"])
def test_what_is_no_python_is_said_with_the_file(source: str) -> None:
    with pytest.raises(AgentError, match=r"f\.py is not valid Python"):
        find_constants("f.py", source)


def test_words_name_the_file_only_where_a_name_occurs_twice() -> None:
    constants = find_constants("a.py", "X = 1e-5\nY = True") + find_constants("b/c.py", "X = 2")
    change: dict[str, Value] = {"a.py:X": 2e-5, "a.py:Y": False, "b/c.py:X": 2}
    assert title_of(constants, change) == "a.py:X 1e-5 → 2e-5, Y True → False"


def test_files_of_the_standard_library_survive_an_edit_of_all_they_have() -> None:
    """Real programs of many hands: after an edit they differ in the literals alone."""
    edited = 0
    for file in sorted(Path(statistics.__file__).parent.glob("*.py")):
        with tokenize.open(file) as text:
            if text.encoding not in ("utf-8", "utf-8-sig"):
                continue
            source = file.read_bytes().decode()
        constants = find_constants(file.name, source)
        if not constants:
            continue
        change = {c.key: next(iter(c.steps(1.0).values())) for c in constants if c.steps(1.0)}
        after = edit(file.name, source, change)
        assert _skeleton(after) == _skeleton(source), file
        values = {c.key: c.value for c in find_constants(file.name, after)}
        assert {key: values.get(key, change[key]) for key in change} == change, json.dumps(change)
        edited += len(change)
    assert edited > 100


def _skeleton(source: str) -> str:
    """The program without its numbers, strings and booleans."""

    class Hollow(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            return ast.Constant(None)

        def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
            return self.visit(node.operand) if isinstance(node.op, ast.USub) else node

    return ast.dump(Hollow().visit(ast.parse(source)))
