"""The keeper: commits keeps and records verdicts, always in the same order, once.

The candidate's commit exists, then its ref, then the ledger's row is durable, then the branch
moves, then results.tsv says so. If the process dies in between, the next one repairs it from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from overnight.campaign import results_tsv
from overnight.core.errors import WorkspaceError
from overnight.core.experiment import Closing, Experiment, Verdict
from overnight.insights.pruning_savings import counted_pruning
from overnight.record.book import Book
from overnight.repo.commit_message import kept_message
from overnight.repo.workspace import Workspace


class Keeper:
    """Publishes what a campaign has decided: commits, refs, rows, the branch, results.tsv."""

    def __init__(self, book: Book, workspace: Workspace, warn: Callable[[str], None]) -> None:
        self._book = book
        self._workspace = workspace
        self._refs = workspace.refs
        self._warn = warn
        self.results = book.arena.state / "results.tsv"

    def add(self, e: Experiment) -> Experiment:
        """Record a new experiment; git keeps its candidate, if it has one, from now on."""
        if e.candidate is not None:
            self._refs.record(self._book.tag, e.n, e.candidate)
        added = self._book.add(e)
        if added.verdict is not None:
            self.show(added)
        return added

    def publish(self, closings: Mapping[int, Closing]) -> list[Experiment]:
        """Make verdicts stand. Returns the experiments that have them, by number."""
        experiments = {n: self._book.find(n) for n in closings}
        notes = [
            note
            for n, e in experiments.items()
            if e is not None
            for note in counted_pruning(self._book, e, closings[n].verdict)
        ]
        closed = self._book.conclude(self._committed(experiments, closings), *notes)
        self.move_branch()
        for e in closed:
            self.show(e)
        return closed

    def show(self, e: Experiment) -> None:
        """Bring results.tsv up to date: a new line, or another one in the place of an old."""
        if not results_tsv.write(self.results, e, self._book.arena.metric):
            self.rewrite()

    def rewrite(self) -> None:
        """Write results.tsv anew, from the ledger."""
        results_tsv.rewrite(self.results, self._book)

    def move_branch(self) -> None:
        """To the incumbent. Where the branch is checked out it stays, and the next run moves it."""
        if not self._book.begun:
            return
        commit, tip = self._book.incumbent.candidate, self._refs.branch(self._book.tag)
        assert commit is not None
        if tip == commit:
            return
        try:
            self._refs.move_branch(self._book.tag, commit, tip)
        except WorkspaceError as error:
            self._warn(str(error))

    def _committed(
        self, experiments: Mapping[int, Experiment | None], closings: Mapping[int, Closing]
    ) -> Mapping[int, Closing]:
        """The closings with the final commit of each keep: the same tree, on the keep before it,
        under a message that says what was gained."""
        parent = self._book.incumbent.candidate if self._book.begun else None
        found = dict(closings)
        for n, closing in sorted(closings.items()):
            e = experiments[n]
            if closing.verdict is Verdict.KEEP and n and e and e.candidate:
                message = kept_message(self._book.tag, closing.of(e), self._book.arena.metric)
                parent = self._workspace.reword(e.candidate, message, parent)
                self._refs.record(self._book.tag, n, parent)
                found[n] = replace(closing, candidate=parent)
        return found


def results_path(book: Book) -> Path:
    """results.tsv of the campaign that was driven last."""
    return book.arena.state / "results.tsv"
