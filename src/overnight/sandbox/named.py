"""Finds the back end for a name from arena.toml or the command line."""

from __future__ import annotations

from overnight.core.errors import UsageError
from overnight.sandbox.base import Sandbox
from overnight.sandbox.bubblewrap import BubblewrapSandbox
from overnight.sandbox.landlock import LandlockSandbox
from overnight.sandbox.seatbelt import SeatbeltSandbox

NONE = "none"


def all_sandboxes() -> list[Sandbox]:
    """All back ends, the strongest first."""
    return [BubblewrapSandbox(), LandlockSandbox(), SeatbeltSandbox()]


def sandbox_named(name: str | None) -> Sandbox | None:
    """The back end of this name; for None the strongest that works here; None for "none".

    Raises UsageError, which says how to get one, when none works.
    """
    if name == NONE:
        return None
    known = all_sandboxes()
    wanted = [sandbox for sandbox in known if name in (None, sandbox.name)]
    if not wanted:
        names = ", ".join(sandbox.name for sandbox in known)
        raise UsageError(f"there is no sandbox {name!r}; choose one of: {names}, {NONE}")
    problems = {sandbox.name: sandbox.problem() for sandbox in wanted}
    for sandbox in wanted:
        if problems[sandbox.name] is None:
            return sandbox
    found = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    raise UsageError(
        f"no sandbox works on this machine ({found}). Without one, candidates run with your "
        f"rights. To get one: {wanted[0].install}. To go on without: overnight run --no-sandbox"
    )
