"""Groups failed experiments by cause, with the line of the log that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from overnight.core.experiment import FAILED, Experiment, Verdict
from overnight.core.text import one_line

_MOST = 240  # characters of a line
_MUTE = re.compile(r"(?:exit code \d+|killed by signal \d+)$")
"""Matches a first line that does not say why; the log's last lines may."""
_TELLING = re.compile(r"error|exception|fail|abort|denied|not found|invalid|killed|panic", re.I)
_QUOTED = re.compile(r"`[^`]*`|'[^']{20,}'|\"[^\"]{20,}\"")
_PATH = re.compile(r"(?:/[\w.@+-]+)+/")
_NUMBER = re.compile(r"0x[0-9a-f]+|[-+]?\d[\d,_.]*(?:e[-+]?\d+)?", re.I)


@dataclass(frozen=True)
class Cause:
    """The failures that share a verdict and a cause."""

    verdict: Verdict
    line: str
    """The line that names the cause in the newest of them."""
    numbers: Sequence[int]
    """Numbers of the experiments, newest first."""


def causes(experiments: Iterable[Experiment]) -> list[Cause]:
    """The causes of the failures among these experiments, the most frequent first; of equally
    frequent ones, the newest first."""
    found: dict[tuple[Verdict, str], tuple[str, list[int]]] = {}
    for e in sorted(experiments, key=lambda e: -e.n):
        if e.verdict is not None and e.verdict in FAILED:
            line = deciding_line(e.reason)
            key = e.verdict, _normal(line)
            found.setdefault(key, (line, []))[1].append(e.n)
    groups = [Cause(verdict, line, ns) for (verdict, _), (line, ns) in found.items()]
    return sorted(groups, key=lambda group: (-len(group.numbers), -group.numbers[0]))


def deciding_line(reason: str) -> str:
    """The first line of a reason, which names the exception if there was one. If it gives only an
    exit code or a signal, the last line of the log that mentions an error is appended."""
    reason = reason.removeprefix("crashed: ").removeprefix("timeout: ")
    first, *log = (one_line(line, 2 * _MOST) for line in reason.splitlines() or [""])
    printed = [line for line in log if line]
    if printed and _MUTE.search(first):
        telling = [line for line in printed if _TELLING.search(line)]
        first = f"{first}: {(telling or printed)[-1]}"
    return one_line(first, _MOST)


def _normal(line: str) -> str:
    """The line with numbers, folders and long quotes replaced, which differ between failures."""
    for pattern, sign in ((_QUOTED, "'…'"), (_PATH, "…/"), (_NUMBER, "N")):
        line = pattern.sub(sign, line)
    return line.casefold()
