"""macOS: sandbox-exec with a profile. Written from its documentation; the tests do not run it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from overnight.sandbox.base import Policy, devices, set_limits

_PROGRAM = "sandbox-exec"
_START = 'cd "$1" && shift && exec "$@"'
_RULES = (
    "(version 1)",
    "(deny default)",
    "(allow process-fork process-exec)",
    "(allow process-info* signal (target same-sandbox))",
    "(allow sysctl-read)",
    "(allow file-read-metadata)",
    '(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))',
)


class SeatbeltSandbox:
    """The process runs under a profile of Apple's sandbox; later rules override earlier ones."""

    name = "seatbelt"
    replaces_home = False
    layers = 0
    install = "use macOS, which includes it"

    def problem(self) -> str | None:
        if sys.platform != "darwin":
            return "seatbelt is part of macOS"
        return None if shutil.which(_PROGRAM) else "the program sandbox-exec is not on PATH"

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        start = ["/bin/sh", "-c", set_limits(policy) + _START, "sandbox", str(policy.cwd)]
        return [*start, _PROGRAM, "-p", _profile(policy), *command]

    def restrictions(self, policy: Policy) -> dict[str, object]:
        return {}


def _profile(policy: Policy) -> str:
    rules = [*_RULES]
    system = [Path("/System"), Path("/Library")]
    rules += [_rule("allow file-read*", path) for path in (*system, *policy.readable)]
    rules += [_rule("deny file-read*", path) for path in policy.hidden]
    rules += [_rule("allow file-read*", path) for path in policy.own]
    for path in (policy.temporary, policy.home, *policy.writable):
        rules += [_rule("allow file-read*", path), _rule("allow file-write*", path)]
    rules += [_rule("deny file-write*", path) for path in policy.protected]
    for device in devices(()):
        rules.append(f"(allow file-read* file-write-data (literal {json.dumps(device)}))")
    if policy.network:
        rules.append("(allow network* system-socket)")
    return "\n".join(rules)


def _rule(what: str, path: Path) -> str:
    real = os.path.realpath(path)
    kind = "subpath" if os.path.isdir(real) else "literal"
    return f"({what} ({kind} {json.dumps(real)}))"
