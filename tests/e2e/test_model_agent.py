"""Campaigns with a model's API as the documentation shows them, by the installed command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from models.change import reply, said, searched
from models.reply import Refuse, Reply
from models.server import KEY, answering
from toy import ARENA, VALUE, make_toy, overnight

ROOT = Path(__file__).parent.parent.parent
WATCH = """import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["WATCHED"], "a") as file:
            print(event, arguments[1:] if event == "socket.connect" else arguments, file=file)
sys.addaudithook(watch)
"""


def section() -> str:
    page = (ROOT / "docs" / "agents.md").read_text()
    return page.partition("## A model's API\n")[2].partition("\n## ")[0]


def tables() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", section(), re.DOTALL)


def answers() -> list[str | Reply]:
    return [
        said(searched(VALUE.strip(), "X=5"), "five", "5"),
        reply("X=90"),
        reply("exit 3"),
        Refuse(400),
        "I would rather not.",
        "I would rather not.",
    ]


def log(toy: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(overnight(toy, "log", "--json").stdout)
    return sorted(found, key=lambda e: str(e["n"]))


def test_a_campaign_with_a_server_on_this_machine(tmp_path: Path) -> None:
    (command,) = re.findall(r"```bash\novernight (.*?)\n```", section())
    watched = tmp_path / "watched"
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(WATCH)
    with answering(*answers()) as server:
        text = tables()[1].replace("http://127.0.0.1:8080", server.address)
        toy = make_toy(tmp_path / "arena", f"{ARENA}\n{text}")
        path = os.pathsep.join([str(tmp_path / "hooks"), os.environ.get("PYTHONPATH", "")])
        env = {"PYTHONPATH": path, "WATCHED": str(watched), "OPENAI_API_KEY": KEY}
        done = overnight(toy, *command.split(), env=env, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr and "litellm" not in (done.stdout + done.stderr).lower()
    verdicts = [e["verdict"] for e in log(toy)]
    assert verdicts == ["keep", "keep", "discard", "crash", "invalid", "invalid"]
    assert len(server.asks) == 6 and KEY not in str([a.headers for a in server.asks])
    lines = [line for line in watched.read_text().splitlines() if "127.0.0.1" not in line]
    assert lines == [], "nobody else was called"


def test_a_campaign_with_a_provider(tmp_path: Path) -> None:
    with answering(reply("X=8"), reply("X=7")) as server:
        toy = make_toy(tmp_path / "arena", f"{ARENA}\n{tables()[0]}")
        env = {"ANTHROPIC_API_BASE": server.address, "ANTHROPIC_API_KEY": KEY}
        words = ("run", "--agent", "sonnet", "--experiments", "2")
        done = overnight(toy, *words, env=env, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [a.path for a in server.asks] == ["/v1/messages"] * 2
    assert server.asks[0].headers["x-api-key"] == KEY
    assert 1000 < server.asks[0].body["max_tokens"] < 0.5 / 15e-6
    assert all(e["verdict"] == "keep" for e in log(toy))
    files = [f for f in toy.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    assert files == [] and KEY not in done.stdout + done.stderr


def test_commands_that_ask_no_model_do_not_load_the_library(tmp_path: Path) -> None:
    text = tables()[1]
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n{text}")
    code = (
        "import sys; from pathlib import Path; from overnight.arena.arena import Arena; "
        "from overnight.agents.named import agent_named; "
        "agent_named('local', Arena.load(Path('.'))); print('litellm' in sys.modules)"
    )
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, cwd=toy, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_a_table_without_a_model_is_told_by_the_command(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", f'{ARENA}\n[agents.mine]\nkind = "llm"\n')
    done = overnight(toy, "run", "--agent", "mine", "--experiments", "1")
    assert done.returncode == 2 and "needs a model" in done.stderr and "Trace" not in done.stderr
