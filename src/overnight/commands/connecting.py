"""Commands for an agent that the user runs: tools over MCP, and a skill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from overnight.commands.base import HERE, Folder, NoSandbox, Tag, app, arena_folder, out
from overnight.core.errors import UsageError


@app.command(epilog="Example: overnight mcp -C my-arena")
def mcp(tag: Tag = None, no_sandbox: NoSandbox = False, folder: Folder = HERE) -> None:
    """Offer an agent in a chat tools to run experiments, over MCP.

    An MCP client starts this command and speaks the Model Context Protocol on its standard input
    and output. Tools: brief, try_change, results, show, note, status. The campaign is locked only
    while a change is tried. Requires pip install 'overnight[mcp]'.
    """
    root = arena_folder(folder)
    try:
        from overnight.connect.mcp import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "anyio"):
            raise
        message = f"overnight mcp needs the package {error.name}: pip install 'overnight[mcp]'"
        raise UsageError(message) from error
    from overnight.connect.tools import Scope

    serve(Scope(root, tag, "none" if no_sandbox else None))


@app.command(epilog="Example: overnight skill install")
def skill(
    action: Annotated[str, Argument(metavar="install|show", help="Install it, or show its text.")],
    to: Annotated[
        Path | None, Option(metavar="DIR", help="Install it in this folder of skills.")
    ] = None,
    user: Annotated[bool, Option("--user", help="Install it for all your projects.")] = False,
    force: Annotated[
        bool, Option("--force", help="Replace an installed skill that was changed.")
    ] = False,
    folder: Folder = HERE,
) -> None:
    """Install a skill that teaches a coding agent to use overnight.

    It goes to .claude/skills/overnight and .agents/skills/overnight in the arena (with --user: in
    your home folder), where Claude Code, Codex, Gemini CLI, opencode and others look.
    """
    from overnight.connect.skill import PLACES, install, skill_text
    from overnight.sandbox.runtime import home_folder

    if action not in ("install", "show"):
        raise UsageError(f"overnight skill {action}: expected `install` or `show`")
    if action == "show":
        out.print(skill_text(), end="", markup=False, soft_wrap=True)
        return
    if to is not None and user:
        raise UsageError("--to and --user cannot be combined; give one of them")
    if to is not None:
        folders = [to]
    else:
        above = home_folder() if user else arena_folder(folder)
        folders = [above / place for place in PLACES]
    for installed in install(folders, force):
        out.print(f"{installed.file}: {installed.change}", markup=False, soft_wrap=True)
