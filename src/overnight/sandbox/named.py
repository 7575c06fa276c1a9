"""Names of sandboxes: from the command line or arena.toml to a back end."""

from __future__ import annotations

from overnight.core.errors import UsageError
from overnight.sandbox.base import Sandbox
from overnight.sandbox.bubblewrap import BubblewrapSandbox
from overnight.sandbox.landlock import LandlockSandbox
from overnight.sandbox.seatbelt import SeatbeltSandbox

NONE = "none"


def all_sandboxes() -> list[Sandbox]:
    """Every back end, the strongest first."""
    return [BubblewrapSandbox(), LandlockSandbox(), SeatbeltSandbox()]


def sandbox_named(name: str | None) -> Sandbox | None:
    """The back end of this name, or the strongest that works here; None for "none".

    Raises UsageError, with how to get one, when there is none.
    """
    if name == NONE:
        return None
    known = all_sandboxes()
    wanted = [sandbox for sandbox in known if name in (None, sandbox.name)]
    if not wanted:
        names = ", ".join(sandbox.name for sandbox in known)
        raise UsageError(f"there is no sandbox {name!r}; there is: {names}, {NONE}")
    problems = {sandbox.name: sandbox.problem() for sandbox in wanted}
    for sandbox in wanted:
        if problems[sandbox.name] is None:
            return sandbox
    found = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    raise UsageError(
        f"no sandbox works on this machine ({found}). A candidate would run with your rights. "
        f"Get one: {wanted[0].install}. Or go on without: overnight run --no-sandbox"
    )
