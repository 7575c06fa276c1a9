"""What keeps an agent from working is one answer: in the list, and before a night begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight import Arena
from overnight.agents.llm import LlmAgent
from overnight.agents.named import agent_named
from overnight.agents.roster import roster
from overnight.errors import UsageError
from overnight.tables import AgentTable
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
]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


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
def test_what_only_the_agent_itself_can_tell_is_left_to_it(tmp_path: Path, table: str) -> None:
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.mine]\n{table}\n")
    assert agent_named("mine", Arena.load(toy)).name == "mine"


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
