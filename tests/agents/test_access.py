"""What keeps an agent from working is one answer: in the list, and before a night begins."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from overnight import Arena
from overnight.agents.base import table_of
from overnight.agents.llm.agent import LlmAgent
from overnight.agents.named import agent_named
from overnight.agents.programs.access import reaching
from overnight.agents.programs.preset import presets
from overnight.agents.roster import roster
from overnight.arena.settings import AgentTable
from overnight.core.errors import UsageError
from overnight.search.portfolio import portfolio_named
from toy import ARENA, make_toy, overnight

MISSING = [
    pytest.param('command = "sh mend.sh"\nenv = ["NOWHERE_KEY"]', "export NOWHERE_KEY=…", id="env"),
    pytest.param('command = "X=1 nonesuch --go"', "`nonesuch`, which its command", id="program"),
    pytest.param('command = "X=a:b Y= nonesuch | cat"', "`nonesuch`, which its", id="variables"),
    pytest.param('command = "\\n/nonesuch/agent\\n"', "`/nonesuch/agent`, which", id="absolute"),
    pytest.param('kind = "acp"\ncommand = "nonesuch --acp"', "`nonesuch`, which", id="acp"),
    pytest.param(
        'kind = "acp"\ncommand = "sh a.sh"\nenv = ["NOWHERE_KEY"]', "NOWHERE_KEY=…", id="acp env"
    ),
    pytest.param(
        'kind = "llm"\nmodel = "openai/x"\nenv = ["NOWHERE_KEY"]', "NOWHERE_KEY=…", id="llm env"
    ),
    pytest.param(
        'kind = "llm"\nmodel = "anthropic/claude-sonnet-4-5"',
        "export ANTHROPIC_API_KEY=…",
        id="key",
    ),
    pytest.param(
        'kind = "llm"\nmodel = "gemini/gemini-2.5-pro"', "GOOGLE_API_KEY or GEMINI", id="keys"
    ),
    pytest.param(
        'kind = "llm"\nmodel = "openai/x"\nurl = "http://localhost:1/v1"\ndollars = 1.0',
        "no price is known",
        id="price",
    ),
    pytest.param('preset = "aider"\nmodel = "xai/x"', "not signed in", id="provider"),
    pytest.param('preset = "aider"\nmodel = "sonnet"', "not signed in", id="no provider"),
    pytest.param(
        'kind = "llm"\nmodel = "openai/x"\nenv = ["MINE"]', "export MINE=…", id="only env"
    ),
    pytest.param('kind = "acp"', "needs `command`", id="no command"),
    pytest.param('preset = "nonesuch"', 'preset = "nonesuch" is none', id="preset"),
]
READY = [
    'command = "cd . && sh mend.sh"',
    'command = "while false; do :; done; sh mend.sh | cat"',
    'command = "sh -c \'left open"',
    'command = "(sh mend.sh; true) 2>&1"',
    'command = "f () { sh mend.sh; }; f"',
    'command = "f() { sh mend.sh\\n}\\nf"',
    'command = "PATH=$HOME/tools:$PATH my-agent"',
    'command = "PATH=/x:$PATH\\nmy-agent"',
    'command = "X=1 PATH=/x:/y my-agent"',
    'command = "X=$(git rev-parse HEAD) sh a.sh"',
    'command = "X=$((1 + 2)) sh a.sh"',
    'command = "X=`cat y` sh a.sh"',
    'command = "./agent.sh --go"',
    'command = "tools/agent"',
    'command = "2>/dev/null sh a.sh"',
    'command = "my-agent || sh a.sh"',
    'command = "module load my-agent; sh a.sh"',
    'command = "my-\\\\\\nagent"',
    'kind = "acp"\ncommand = "X=$(date +%s) ./agent --acp"',
    'kind = "llm"\nmodel = "openai/x"\nurl = "http://localhost:1/v1"',
    'kind = "llm"\nmodel = "ollama/x"',
    'kind = "llm"\nmodel = "bedrock/x"',
    'kind = "llm"\nmodel = "huggingface/x"',
    'kind = "llm"\nmodel = "together_ai/x"',
    'kind = "llm"\nmodel = "perplexity/x"',
    'kind = "llm"\nmodel = "openrouter/openai/x"',
    'kind = "llm"\nmodel = "github_copilot/x"',
    'command = "sh mend.sh"\nenv = ["HTTPS_PROXY", "MY_SETTINGS"]',
    'kind = "acp"\ncommand = "sh a.sh"\nenv = ["HTTPS_PROXY"]',
    'kind = "llm"\nmodel = "openai/x"\nenv = ["HTTPS_PROXY", "OPENAI_API_KEY"]',
    'preset = "aider"\nmodel = "ollama_chat/x"',
    'preset = "mini"\nmodel = "bedrock/x"',
    'preset = "opencode"\nmodel = "lmstudio/x"',
]


@pytest.fixture(autouse=True)
def _no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program is there, and nobody is signed in."""
    keys = {key for preset in presets().values() for key in preset.keys}
    for name in {*keys, "GOOGLE_API_KEY", "HTTPS_PROXY"}:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    for preset in presets().values():
        (tmp_path / "bin" / preset.program).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / preset.program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize(("table", "words"), MISSING)
def test_what_is_missing_is_told_in_the_list_and_when_it_is_named(
    tmp_path: Path, table: str, words: str
) -> None:
    arena = Arena.load(make_toy(tmp_path / "arena", f"{ARENA}\n[agents.mine]\n{table}\n"))
    mine = next(one for one in roster(arena) if one.name == "mine")
    assert not mine.ready and words in mine.words
    with pytest.raises(UsageError) as told:
        agent_named("mine", arena)
    assert str(told.value).endswith(mine.words)


def test_a_night_whose_agent_cannot_work_does_not_begin(tmp_path: Path) -> None:
    table = 'command = "sh mend.sh"\nenv = ["NOWHERE_KEY"]'
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.mine]\n{table}\n")
    night = overnight(toy, "run", "--agent", "mine,tuner", "--experiments", "1")
    assert night.returncode == 2 and "export NOWHERE_KEY=…" in night.stderr
    assert not list((toy / ".overnight" / "logs").glob("*/*"))


@pytest.mark.parametrize("table", READY)
def test_what_only_the_agent_itself_can_tell_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    if '"OPENAI_API_KEY"' in table:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.mine]\n{table}\n")
    assert agent_named("mine", Arena.load(toy)).name == "mine"


def test_what_a_provider_without_a_key_needs_is_handed_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_API_BASE", "http://127.0.0.1:11434")
    table = reaching(AgentTable(preset="aider", model="ollama_chat/x"), presets()["aider"])
    assert "OLLAMA_API_BASE" in table.env


@pytest.mark.parametrize("name", ["portfolio", "a,b", "a:b", "a b", ""])
def test_a_name_that_no_run_could_ask_for_is_a_mistake(tmp_path: Path, name: str) -> None:
    text = f'{ARENA}\n[agents."{name}"]\ncommand = "sh mend.sh"\n'
    toy = make_toy(tmp_path / "arena", text)
    done = overnight(toy, "agents")
    assert done.returncode == 2 and f'agents: "{name}" cannot be a name' in done.stderr


@pytest.mark.parametrize("name", ["a-b_2.c", "größe"])
def test_a_name_of_letters_and_digits_is_none(tmp_path: Path, name: str) -> None:
    text = f'{ARENA}\n[agents."{name}"]\ncommand = "sh mend.sh"\n'
    toy = make_toy(tmp_path / "arena", text)
    assert name in {one.name for one in roster(Arena.load(toy)) if one.ready}


@pytest.mark.parametrize(
    ("names", "agents"),
    [
        ("command:awk 'BEGIN{print 1,2}' value.py", ["command"]),
        ("mine, tuner,mine", ["mine", "tuner"]),
        ("mine , command:cut -d, -f1,2 x", ["mine", "command"]),
    ],
)
def test_commas_belong_to_the_shell_line_that_has_them(
    tmp_path: Path, names: str, agents: list[str]
) -> None:
    text = f'{ARENA}\n[agents.mine]\ncommand = "sh mend.sh"\n[portfolio]\ntuner = false\n'
    made = portfolio_named(names, Arena.load(make_toy(tmp_path / "arena", text))).agents
    assert [agent.name for agent in made] == agents
    table = table_of(made[-1])
    assert agents[-1] != "command" or (table and table.command == names.partition("command:")[2])


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import nonesuch_at_all", "No module named 'nonesuch_at_all'"),
        ("class Other: pass", "has no attribute 'Mine'"),
        ("class Mine:\n    def __init__(self): raise ValueError('no luck')", "no luck"),
    ],
)
def test_a_package_that_does_not_work_is_told_in_the_list_and_by_a_run(
    tmp_path: Path, module: str, words: str
) -> None:
    package = tmp_path / "site" / "my_agents-1.0.dist-info"
    package.mkdir(parents=True)
    (tmp_path / "site" / "my_agents.py").write_text(module)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-agents\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[overnight.agents]\nmine = my_agents:Mine\n")
    toy = make_toy(tmp_path / "arena")
    env = {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path / 'site'}"}
    found = json.loads(overnight(toy, "agents", "--json", env=env).stdout)
    (mine,) = [one for one in found if one["agent"] == "mine"]
    assert not mine["ready"] and "my-agents" in mine["words"] and words in mine["words"]
    done = overnight(toy, "run", "--agent", "mine", "--experiments", "1", env=env)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "my-agents" in done.stderr and words in done.stderr
    (tmp_path / "site" / "my_agents.py").write_text("class Mine:\n    name = 'mine'\n")
    found = json.loads(overnight(toy, "agents", "--json", env=env).stdout)
    assert {"agent": "mine", "ready": True, "words": "of the package my-agents"} in found


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "needs a model"),
        ({"model": "openai/x", "command": "x"}, "command has no effect"),
        ({"model": "openai/x", "session": "resume"}, "session has no effect"),
        ({"model": "openai/x", "network": False}, "network has no effect"),
    ],
)
def test_a_table_that_cannot_be_meant_so_is_told(table: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LlmAgent("mine", AgentTable.model_validate({"kind": "llm", **table}))


def test_without_the_library_it_is_said_how_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'overnight\[llm\]'"):
        LlmAgent("mine", AgentTable(kind="llm", model="openai/x"))
