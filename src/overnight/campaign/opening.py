"""Begins a campaign, or finds one and repairs what a dead driver left unfinished."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from overnight.agents.named import access_of_name
from overnight.arena.arena import FILE, Arena
from overnight.core.errors import UsageError, WorkspaceError
from overnight.core.experiment import CampaignRecord, Proposal
from overnight.measure.job import places
from overnight.record.ledger import Ledger
from overnight.record.lock import DOCTOR, CampaignLock, family_of, lock_path
from overnight.record.log_folders import file_logs, proposal_logs
from overnight.record.notes import NAME, note_writer, take_note
from overnight.repo.base_arena import base_arena
from overnight.repo.workspace import Workspace
from overnight.stage.secrets import Secrets
from overnight.stage.stage import end_strays

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}", re.IGNORECASE)
_BEGINNING = "beginning"
"""A file in the state folder with the tag of a campaign whose branch is being made."""


def begin_or_find(
    arena: Arena, workspace: Workspace, ledger: Ledger, tag: str | None
) -> tuple[CampaignRecord, CampaignLock, list[str]]:
    """The campaign's record, its lock, and warnings for the user."""
    with workspace.alone():
        known = ledger.campaigns()
        if tag is None:
            today = datetime.now().strftime("%b%d").lower()
            tag = known[-1].tag if known else _begun(arena) or _free_tag(workspace, today)
        return _begin_or_find(arena, workspace, ledger, tag)


def _begun(arena: Arena) -> str | None:
    """The tag whose branch a driver of this arena made, or was about to make, when it died."""
    file = arena.state / _BEGINNING
    return file.read_text() if file.is_file() else None


def _free_tag(workspace: Workspace, tag: str) -> str:
    """The tag, or with -2, -3, … the first whose branch no other arena of the repository has."""
    tags = chain([tag], (f"{tag}-{n}" for n in count(2)))
    return next(free for free in tags if not workspace.refs.branch(free))


def _begin_or_find(
    arena: Arena, workspace: Workspace, ledger: Ledger, tag: str
) -> tuple[CampaignRecord, CampaignLock, list[str]]:
    if not _TAG.fullmatch(tag) or tag.endswith((".", ".lock")) or ".." in tag:
        raise UsageError(f"--tag {tag!r} cannot name a branch: use letters, digits, - and _")
    if tag == DOCTOR:
        raise UsageError(f"--tag {tag}: `overnight doctor` uses that name; use another")
    lock = CampaignLock(lock_path(arena, tag))
    try:
        record = ledger.campaign(tag)
        if record is None:
            return _begin(arena, workspace, ledger, tag, lock)
        if (mended := _mended(workspace, ledger, record)) is not None:
            return mended, lock, [*workspace.warnings, *workspace.left_out(mended.base)]
        return record, lock, _changes_since(arena, workspace, record)
    except BaseException:  # nobody else will release it
        lock.release()
        raise


def _begin(
    arena: Arena, workspace: Workspace, ledger: Ledger, tag: str, lock: CampaignLock
) -> tuple[CampaignRecord, CampaignLock, list[str]]:
    branch = f"overnight/{tag}"
    tip = workspace.refs.branch(tag)
    if tip and tag != _begun(arena):
        raise WorkspaceError(
            f"branch {branch} exists already (at {tip[:10]}), but the ledger of {arena.root} knows "
            f"no campaign {tag}: it was perhaps lost, or the branch is another arena's. It may "
            "hold wins, so it is left as it is. If you have a copy of the ledger, put it back; "
            f"else begin another campaign with --tag {_free_tag(workspace, tag)}"
        )
    base = workspace.head()
    record = CampaignRecord(tag, arena.name, branch, base, datetime.now(UTC))
    base_arena(arena, workspace, record.base)
    mark = arena.state / _BEGINNING
    mark.write_text(tag)
    if not tip:  # before the campaign is recorded, so that no other arena takes it
        try:
            workspace.refs.move_branch(tag, base, None)
        except WorkspaceError:
            mark.unlink()
            raise
    ledger.add_campaign(record)
    mark.unlink()
    return record, lock, [*workspace.warnings, *workspace.left_out(base)]


def _mended(workspace: Workspace, ledger: Ledger, record: CampaignRecord) -> CampaignRecord | None:
    """If the campaign has no score yet and there is a newer commit, let it start from that one, in
    which the user has repaired the arena; else None."""
    newest, baseline = workspace.head(), ledger.experiment(record.tag, 0)
    if newest == record.base or (baseline is not None and baseline.scores):
        return None
    if workspace.refs.branch(record.tag) == record.base:
        workspace.refs.move_branch(record.tag, newest, record.base)
    return ledger.restart_campaign(record.tag, newest)


def _changes_since(arena: Arena, workspace: Workspace, record: CampaignRecord) -> list[str]:
    if base_arena(arena, workspace, record.base) == arena:
        return []
    return [
        f"{FILE} has changed since campaign {record.tag} began; the campaign goes on under its own "
        "contract, since other scores would not compare. Start another with --tag for the new one."
    ]


def repair(arena: Arena, workspace: Workspace, ledger: Ledger, record: CampaignRecord) -> None:
    """End stray processes, and make folders, rows, refs and the branch agree with the ledger."""
    tag = record.tag
    end_strays(family_of(arena, tag))
    ledger.drop_running(tag)
    for proposal in ledger.open_proposals(tag):
        _end_lost(arena, workspace, ledger, tag, proposal)
    for e in ledger.experiments(tag, last=1):
        if e.proposal:
            file_logs(arena, tag, e.proposal)
    workspace.remove(places(arena, tag))
    baseline = ledger.experiment(tag, 0)
    if baseline is not None and baseline.verdict is not None and not baseline.kept:
        ledger.restart_campaign(tag, record.base)
    _repair_refs(workspace, ledger, record)


def _end_lost(
    arena: Arena, workspace: Workspace, ledger: Ledger, tag: str, proposal: Proposal
) -> None:
    """End a proposal whose driver died while the agent was thinking; keep its notes and time."""
    logs = proposal_logs(arena, tag, proposal.id)
    thought = _thought(proposal, [*logs.glob("agent*.log")])  # before its logs are touched
    table = access_of_name(proposal.agent, arena)
    secrets = Secrets.of_agent(table)
    if table:
        folder = places(arena, tag) / "agent" / "tree" / workspace.prefix
        newest = ledger.experiments(tag, last=1)
        who = note_writer(tag, newest[-1].n + 1 if newest else 0, proposal.agent)
        take_note(folder, arena.state / NAME, who, secrets.redacted)
    for log in logs.glob("agent*.log"):
        secrets.redact_file(log)
    ledger.end_proposal(tag, replace(proposal, outcome="lost", thought=thought))


def _thought(proposal: Proposal, logs: list[Path]) -> float | None:
    """Seconds from the start of the proposal to the last line that the agent printed; None if it
    printed nothing."""
    began, now = proposal.started.timestamp(), datetime.now(UTC).timestamp()
    # An agent without a sandbox can date its logs ahead.
    said = [min(at, now) - began for log in logs if (at := log.lstat().st_mtime) >= began]
    return max(said, default=None)


def _repair_refs(workspace: Workspace, ledger: Ledger, record: CampaignRecord) -> None:
    tag = record.tag
    newest = ledger.experiments(tag, last=1)
    for n in workspace.refs.recorded(tag):
        if not newest or n > newest[-1].n:
            workspace.refs.forget(tag, n)
    incumbent = ledger.incumbent(tag)
    wanted = incumbent.candidate if incumbent and incumbent.candidate else record.base
    tip = workspace.refs.branch(tag)
    if tip == wanted:
        return
    if tip is not None and not workspace.is_ancestor(tip, wanted):
        raise WorkspaceError(
            f"branch {record.branch} is at {tip[:10]}, which the campaign did not put there; it "
            f"expected {wanted[:10]}. Save it under another name with "
            f"`git branch -m {record.branch} my-{tag}` and run again."
        )
    workspace.refs.move_branch(tag, wanted, tip)
