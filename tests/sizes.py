"""Sizes of the source, printed at the end of a test run: a reason to look again, never to split."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "overnight"
LONG_FILE, LONG_FUNCTION = 400, 50


def sizes() -> str:
    """Files, lines, length of functions in lines; the longest by name."""
    files, functions = {}, {}
    for file in sorted(SOURCE.rglob("*.py")):
        if not {"attacks", "proofs"} & set(file.parts):
            text, name = file.read_text(), str(file.relative_to(SOURCE))
            files[name] = len(text.splitlines())
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    functions[f"{name}: {node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    lengths = sorted(functions.values())
    long = [f"{name} {lines}" for name, lines in files.items() if lines > LONG_FILE]
    long += [f"{name} {lines}" for name, lines in functions.items() if lines > LONG_FUNCTION]
    return (
        f"{len(files)} files, {sum(files.values()):,} lines; functions: median "
        f"{statistics.median(lengths):g} lines, p90 {lengths[len(lengths) * 9 // 10]}; "
        f"long: {', '.join(long) or 'none'}"
    )
