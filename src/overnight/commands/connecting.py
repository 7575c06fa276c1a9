"""Commands that let an agent of your own take part: tools, a skill."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from overnight.commands.base import (
    HERE,
    Folder,
    NoSandbox,
    Tag,
    app,
    arena_folder,
    out,
)
from overnight.core.errors import UsageError


@app.command(epilog="Example: overnight mcp -C my-arena")
def mcp(tag: Tag = None, no_sandbox: NoSandbox = False, folder: Folder = HERE) -> None:
    """Serve the Model Context Protocol on standard input and output, for a client to start.

    Its tools: brief, try_change, results, show, note, status. The campaign is locked only while a
    change is tried. Needs the extra `mcp`.
    """
    root = arena_folder(folder)
    try:
        from overnight.connect.mcp import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "anyio"):
            raise
        words = f"overnight mcp needs the package {error.name}: pip install 'overnight[mcp]'"
        raise UsageError(words) from error
    from overnight.connect.tools import Place

    serve(Place(root, tag, "none" if no_sandbox else None))


class SkillAction(StrEnum):
    """What to do with the skill."""

    INSTALL = "install"
    SHOW = "show"


@app.command(epilog="Example: overnight skill install")
def skill(
    action: Annotated[SkillAction, typer.Argument(metavar="ACTION", help="install, or show.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Into this folder of skills instead.")
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="For all of your projects.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a skill that has another text.")
    ] = False,
    folder: Folder = HERE,
) -> None:
    """An Agent Skill that explains to an agent how to drive overnight.

    Installed as .claude/skills/overnight and .agents/skills/overnight in the arena, or with --user
    in your home, where Claude Code, Codex, Gemini CLI, opencode and others look.
    """
    from overnight.connect.skill import PLACES, install, skill_text

    if action is SkillAction.SHOW:
        out.print(skill_text(), end="", markup=False, soft_wrap=True)
        return
    if to is not None and user:
        raise UsageError("--to and --user name two places: give one of them")
    if to is not None:
        folders = [to]
    else:
        above = Path.home() if user else arena_folder(folder)
        folders = [above / place for place in PLACES]
    for installed in install(folders, force):
        out.print(f"{installed.file}: {installed.change}", markup=False, soft_wrap=True)
