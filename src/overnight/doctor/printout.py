"""Runs the doctor on an arena, and prints what it found or makes a document of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from overnight.arena.arena import Arena
from overnight.doctor.attack import attacks
from overnight.doctor.doctor import AttackResult, Doctor, sandboxes
from overnight.doctor.readiness import Trait, readiness
from overnight.measure.reach import unhidden
from overnight.repo.base_arena import base_arena
from overnight.repo.workspace import Workspace

_COLOURS = {
    "blocked": "green", "allowed": "yellow", "untried": "yellow", "through": "bold red",
    "good": "green", "fair": "yellow", "poor": "bold red",
}  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """The result of every attack in every sandbox, and the five traits."""

    rows: Sequence[AttackResult]
    traits: Sequence[Trait]
    warnings: Sequence[str]

    @property
    def open(self) -> list[AttackResult]:
        """What needs attention before the night: attacks that got through or could not be tried."""
        return [row for row in self.rows if row.verdict in ("through", "untried")]

    def document(self) -> dict[str, object]:
        """The document for `--json`."""
        return {
            "attacks": [asdict(row) for row in self.rows],
            "traits": [asdict(trait) for trait in self.traits],
            "warnings": list(self.warnings),
            "through": sum(row.verdict == "through" for row in self.rows),
            "untried": sum(row.verdict == "untried" for row in self.rows),
        }


def run_doctor(root: Path, progress: Console | None) -> Findings:
    """Examine the arena in this folder; print progress to `progress`."""
    arena = Arena.load(root)
    workspace = Workspace.open(arena.root, arena.state)
    base = workspace.head()
    arena, tried = base_arena(arena, workspace, base), attacks(workspace, base)
    with Doctor(arena, workspace) as doctor:
        doctor.prepare()
        found = [*workspace.warnings, *workspace.left_out(base), *unhidden(arena)]
        warnings = _say(found, progress)
        rows = []
        names = [arena.run.sandbox] if arena.run.sandbox else sandboxes()
        for sandbox in names:
            for attack in tried:
                if progress:
                    progress.print(f"{sandbox}: {attack.name} …", style="dim", markup=False)
                rows.append(doctor.run(attack, sandbox))
        if progress:
            progress.print("measuring the unchanged arena …", style="dim")
        traits = readiness(doctor, names[0], rows)
        said = _say(arena.uncharged([doctor.baseline(names[0], 0)]), progress)
        return Findings(rows, traits, [*warnings, *said])


def _say(warnings: list[str], progress: Console | None) -> list[str]:
    for warning in warnings:
        if progress:
            progress.print(f"note: {warning}", style="yellow", markup=False, soft_wrap=True)
    return warnings


def print_findings(findings: Findings, out: Console) -> None:
    """Print one row per attack, then the traits, then what to do."""
    table = Table(box=None, pad_edge=False)
    for name in ("sandbox", "attack", "verdict", "what happened"):
        table.add_column(name, overflow="fold")
    for row in findings.rows:
        verdict = Text(row.verdict, style=_COLOURS[row.verdict])
        table.add_row(row.sandbox, Text(row.attack), verdict, Text(row.happened))
    out.print(table)
    out.print()
    traits = Table(box=None, pad_edge=False, show_header=False)
    for trait in findings.traits:
        grade = Text(trait.grade, style=_COLOURS[trait.grade])
        traits.add_row(trait.name, grade, Text(trait.found))
    out.print(traits)
    out.print()
    for close, rows in groupby(sorted(findings.open, key=_close), key=_close):
        names = dict.fromkeys(f"{row.attack} ({row.sandbox})" for row in rows)
        out.print(f"{', '.join(names)}: {close}", style="red", markup=False)
    if not findings.open:
        out.print("Nothing got through.", style="green")


def _close(row: AttackResult) -> str:
    return row.close
