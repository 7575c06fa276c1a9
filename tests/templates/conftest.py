"""What every test of a template gets: its modules, imported and forgotten."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from nanogpt import MODULES, TEMPLATE


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the template, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(TEMPLATE))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)
