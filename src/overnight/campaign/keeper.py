"""The keeper: commits keeps and records verdicts, always in the same order.

First the candidate's commit, then its ref, then the row in the ledger, then the branch, then
results.tsv. If the process dies in between, the next one repairs the rest from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from overnight.campaign import results_tsv
from overnight.core.errors import WorkspaceError
from overnight.core.experiment import Closing, Experiment, Verdict
from overnight.insights.pruning_savings import counted_pruning
from overnight.record.book import Book
from overnight.repo.commit_message import kept_message
from overnight.repo.workspace import Workspace


class Keeper:
    """Publishes verdicts: commits, refs, rows, the branch, results.tsv."""

    def __init__(self, book: Book, workspace: Workspace, warn: Callable[[str], None]) -> None:
        self._book = book
        self._workspace = workspace
        self._refs = workspace.refs
        self.warn = warn
        """Tells the user."""
        self._tip = self._refs.branch(book.tag)
        """The commit to which the branch was moved last."""
        self._unreached = self._tip
        """The newest commit to which it could not be moved."""
        self.results = book.arena.state / "results.tsv"

    def add(self, e: Experiment) -> Experiment:
        """Record a new experiment, with a ref to its candidate, if it has one."""
        if e.candidate is not None:
            self._refs.record(self._book.tag, e.n, e.candidate)
        added = self._book.add(e)
        if added.verdict is not None:
            self.update_results(added)
        return added

    def publish(self, closings: Mapping[int, Closing]) -> list[Experiment]:
        """Publish these verdicts. Returns their experiments, by number."""
        experiments = {n: self._book.find(n) for n in closings}
        pruning_events = [
            event
            for n, e in experiments.items()
            if e is not None
            for event in counted_pruning(self._book, e, closings[n].verdict)
        ]
        closed = self._book.conclude(self._commit_keeps(experiments, closings), *pruning_events)
        self._move_branch()
        for e in closed:
            self.update_results(e)
        return closed

    def update_results(self, e: Experiment) -> None:
        """Append the experiment's line to results.tsv, or replace its old one."""
        if not results_tsv.write(self.results, e, self._book.arena.metric):
            self.rewrite()

    def rewrite(self) -> None:
        """Rewrite results.tsv from the ledger."""
        results_tsv.rewrite(self.results, self._book)

    def _move_branch(self) -> None:
        """Move the branch to the incumbent. If the branch is checked out, or somebody else moved
        it, the user is warned, once, and the next verdict tries again."""
        if not self._book.begun:
            return
        commit = self._book.incumbent.candidate
        if commit is None or commit == self._tip:
            return
        try:
            self._refs.move_branch(self._book.tag, commit, self._tip)
            self._tip = commit
        except WorkspaceError as error:
            if commit != self._unreached:
                self.warn(str(error))
            self._unreached = commit

    def _commit_keeps(
        self, experiments: Mapping[int, Experiment | None], closings: Mapping[int, Closing]
    ) -> Mapping[int, Closing]:
        """The closings with the final commit of each keep: the candidate's tree, on top of the keep
        before it, with a message that says what was gained."""
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
