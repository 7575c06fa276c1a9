"""Refuses a candidate whose program was tried before in the same campaign."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from overnight.change.digest import file_digest, program_digest
from overnight.core.experiment import Experiment, Verdict
from overnight.core.text import one_line
from overnight.insights.failures import deciding_line
from overnight.record.book import Book
from overnight.repo.acceptance import MOST_FILE_BYTES
from overnight.repo.workspace import Workspace

_REMEMBERED = 4096  # files
_MACHINE = re.compile(
    r"its supervisor was killed|killed by signal (?:1|2|7|9|15)\b|exit code 1(?:29|30|35|37|43)\b"
    r"|the referee failed: ended by |No space left on device|Input/output error|Stale file handle"
    r"|uncorrectable ECC"
)
"""Failures that are likely the machine's fault, not the program's."""
_CHANCES = 2
"""How often a program may be tried that only timed out or failed through the machine."""
_MOST = 160  # characters of a reason that is quoted
_SAID = {
    Verdict.KEEP: "was kept",
    Verdict.PROVISIONAL: "is provisional",
    Verdict.DISCARD: "was discarded",
    Verdict.CRASH: "crashed",
    Verdict.TIMEOUT: "timed out",
    Verdict.INVALID: "was invalid",
}


class Programs:
    """Digests of the programs of one campaign, and which of them were tried before."""

    def __init__(self, book: Book, workspace: Workspace) -> None:
        self._book = book
        self._workspace = workspace
        self._of_file = lru_cache(_REMEMBERED)(self._file_digest)

    def digest(self, commit: str) -> str:
        """The digest of a committed candidate."""
        files = self._workspace.files(commit, self._book.arena.is_editable)
        return program_digest({path: self._of_file(path, blob) for path, blob in files.items()})

    def digest_in(self, folder: Path) -> str:
        """The digest of the candidate that a checkout would make now; `folder`: the arena's."""
        found = {}
        for path in self._book.arena.editable_files(folder):
            place = folder / path
            if place.is_symlink():
                found[path] = file_digest(path, os.fsencode(os.readlink(place)))
            elif place.is_file() and place.stat().st_size <= MOST_FILE_BYTES:
                found[path] = file_digest(path, place.read_bytes())
        return program_digest(found)

    def refusal(self, program: str, parent: Experiment) -> str | None:
        """Why a candidate of `parent` with this digest is not measured, in a sentence that names
        the earlier experiment; None if the program is new or the arena allows repeats.

        A program that timed out or failed through the machine may be tried once more.
        """
        if self._book.arena.judge.same_programs:
            return None
        if program == parent.program:
            which = f"#{parent.n}" if parent.n else "#0, the baseline"
            return (
                f"the same program as {which}, which it was made from: "
                "only comments or layout differ; change what it does"
            )
        found = self._book.ledger.experiments(self._book.tag, program=program)
        earlier = [experiment for experiment in found if not _was_withdrawn(experiment)]
        settled = [experiment for experiment in earlier if not _of_the_machine(experiment)]
        if not settled and len(earlier) < _CHANCES:
            return None
        return _sentence(settled[0] if settled else earlier[-1])

    def _file_digest(self, path: str, blob: str) -> str:
        return file_digest(path, self._workspace.content(blob))


def _sentence(earlier: Experiment) -> str:
    which = f"#{earlier.n}" if earlier.n else "#0, the baseline"
    verdict = earlier.verdict
    said = _SAID.get(verdict, "was tried") if verdict else "is under way"
    if earlier.claim is not None:
        said += f" ({earlier.claim:+.4g})"
    elif earlier.n and earlier.reason and not earlier.kept:
        said += f": {one_line(deciding_line(earlier.reason), _MOST)}"
    return f"the same program as {which}, which {said}: try something else"


def _of_the_machine(experiment: Experiment) -> bool:
    """Whether the failure may be the machine's fault."""
    crashed = experiment.verdict is Verdict.CRASH
    died = crashed and _MACHINE.search(experiment.reason) is not None
    return died or experiment.verdict is Verdict.TIMEOUT


def _was_withdrawn(experiment: Experiment) -> bool:
    """Whether it was withdrawn before it was judged, so that it says nothing about its program."""
    judged = experiment.candidate is None or experiment.score is not None
    return experiment.verdict is Verdict.INVALID and not judged
