"""A template's files in this process: to import them takes longer than most of what they do."""

from __future__ import annotations

import importlib
import io
import json
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Modules of this folder can be imported; they are forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]


@contextmanager
def imported(folder: Path, name: str) -> Iterator[ModuleType]:
    """A module of this folder."""
    with importable(folder):
        yield importlib.import_module(name)


def run_here(folder: Path, script: str, **variables: object) -> str:
    """Run a script as its stage does, but in this process. Returns what it prints."""
    said = io.StringIO()
    with importable(folder), pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script])
        for name, value in variables.items():
            patch.setenv(f"OVERNIGHT_{name}", str(value))
        runpy.run_path(script, run_name="__main__")
    return said.getvalue()


def scored(arena: Path, candidate: Path, **variables: object) -> dict[str, Any]:
    """What the arena's referee says of a candidate, which has a process and a sandbox of its own
    as ever."""
    said = run_here(arena, "score.py", CANDIDATE=candidate, **variables)
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer
