"""What a table [agents.NAME] gives its program, as the program itself finds it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from overnight.agents.named import agent_named
from overnight.arena.arena import Arena
from toy import ARENA, git, make_toy
from writer import run

PROBE = """import os, pathlib, socket, sys
def has(act):
    try:
        return act() and 1
    except (KeyError, OSError):
        return 0
found = [
    has(lambda: os.environ["MINE"]),
    has(pathlib.Path(sys.argv[1]).read_text),
    has(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5)),
    len(sys.stdin.read()),
]
pathlib.Path("value.py").write_text(f"X=9 # {found}\\n")
"""


@pytest.mark.parametrize("granted", [True, False])
def test_a_program_gets_what_its_table_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    monkeypatch.setenv("MINE", "1")
    (tmp_path / "data").mkdir()
    for name, text in (("data", "x\n"), ("probe.py", PROBE)):
        (tmp_path / "data" / name).write_text(text)
    script, data = tmp_path / "data" / "probe.py", tmp_path / "data" / "data"
    grants = f'env = ["MINE"]\ndata = ["{data}", "{script}"]\nbrief = 9000'
    limits = f'data = ["{script}"]\nnetwork = false\nbrief = 2000'
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = f"python3 {script} {data} {server.getsockname()[1]}"
        text = f'{ARENA}\n[agents.x]\ncommand = "{command}"\n{grants if granted else limits}\n'
        toy = make_toy(tmp_path / "arena", text)
        (toy / "program.md").write_text("Mind this and that.\n" * 5000)
        done = run(toy, agent_named("x", Arena.load(toy)), experiments=1)[-1]
    told = git(toy, "show", f"{done.candidate}:value.py").split("[")[1].strip("]\n").split(", ")
    assert told[:3] == ["01"[granted]] * 3
    assert (int(told[3]) > 10_000) is granted
