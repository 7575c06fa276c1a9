"""What keeps an agent from working is one answer: in the list, and before a night begins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight import Arena
from overnight.agents.base import table_of
from overnight.agents.llm.agent import LlmAgent
from overnight.agents.named import agent_named
from overnight.agents.programs.access import with_access
from overnight.agents.programs.preset import presets
from overnight.agents.roster import roster
from overnight.arena.settings import AgentTable
from overnight.core.errors import ArenaError, UsageError
from overnight.search.portfolio import portfolio_named
from toy import ARENA, make_toy, overnight, write_toy

MISSING = {
    'command = "sh mend.sh"\nenv = ["NOWHERE_KEY"]': "export NOWHERE_KEY=…",
    'command = "X=1 nonesuch --go"': "`nonesuch`, the program that its command",
    'command = "X=a:b Y= nonesuch | cat"': "`nonesuch`, the program",
    'command = "\\n/nonesuch/agent\\n"': "`/nonesuch/agent`, the program",
    'kind = "acp"\ncommand = "nonesuch --acp"': "`nonesuch`, the program",
    'kind = "acp"\ncommand = "sh a.sh"\nenv = ["NOWHERE_KEY"]': "NOWHERE_KEY=…",
    'kind = "llm"\nmodel = "openai/x"\nenv = ["NOWHERE_KEY"]': "NOWHERE_KEY=…",
    'kind = "llm"\nmodel = "anthropic/claude-sonnet-4-5"': "export ANTHROPIC_API_KEY=…",
    'kind = "llm"\nmodel = "gemini/gemini-2.5-pro"': "GOOGLE_API_KEY or GEMINI",
    'kind = "llm"\nmodel = "openai/x"\nurl = "http://localhost:1/v1"\ndollars = 1.0': (
        "price of its model is not known"
    ),
    'preset = "aider"\nmodel = "xai/x"': "not signed in",
    'preset = "aider"\nmodel = "sonnet"': "not signed in",
    'preset = "codex"\ndollars = 1.0': "codex reports no dollars, and the price of its model",
    'preset = "mini"': "mini has no default model; set model in [agents.",
    'kind = "llm"\nmodel = "openai/x"\nenv = ["MINE"]': "export MINE=…",
    'kind = "acp"': "needs `command`",
    'preset = "nonesuch"': 'preset = "nonesuch" does not exist; write `command`',
    'timeout = "5m"': "it has no `command`; write `command`, the shell line",
}
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


@pytest.fixture(scope="module", autouse=True)
def _no_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every program is there, and nobody is signed in."""
    programs = tmp_path_factory.mktemp("bin")
    with pytest.MonkeyPatch.context() as patch:
        keys = {key for preset in presets().values() for key in preset.keys}
        for name in {*keys, "GOOGLE_API_KEY", "HTTPS_PROXY"}:
            patch.delenv(name, raising=False)
        for preset in presets().values():
            (programs / preset.program).write_text("#!/bin/sh\n")
            (programs / preset.program).chmod(0o755)
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        yield


def arena_with(folder: Path, *tables: str) -> Arena:
    """The toy with tables [agents.mine0], [agents.mine1], …"""
    named = (f"\n[agents.mine{n}]\n{table}\n" for n, table in enumerate(tables))
    return Arena.load(write_toy(folder, ARENA + "".join(named)))


def test_what_is_missing_is_told_in_the_list_and_when_it_is_named(tmp_path: Path) -> None:
    arena = arena_with(tmp_path, *MISSING)
    entries = {one.name: one for one in roster(arena)}
    for n, (table, words) in enumerate(MISSING.items()):
        mine = entries[f"mine{n}"]
        assert not mine.ready and words in mine.words, table
        with pytest.raises(UsageError) as told:
            agent_named(mine.name, arena)
        assert str(told.value).endswith(mine.words)


def test_a_night_whose_agent_cannot_work_does_not_begin(tmp_path: Path) -> None:
    table = 'command = "sh mend.sh"\nenv = ["NOWHERE_KEY"]'
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.mine]\n{table}\n")
    night = overnight(toy, "run", "--agent", "mine,tuner", "--experiments", "1")
    assert night.returncode == 2 and "export NOWHERE_KEY=…" in night.stderr
    assert not list((toy / ".overnight" / "logs").glob("*/*"))


def test_what_only_the_agent_itself_can_tell_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = arena_with(tmp_path, *READY)
    for n, table in enumerate(READY):
        with monkeypatch.context() as patch:
            if '"OPENAI_API_KEY"' in table:
                patch.setenv("OPENAI_API_KEY", "a-key")
            assert agent_named(f"mine{n}", arena), table


def test_what_a_provider_without_a_key_needs_is_handed_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_API_BASE", "http://127.0.0.1:11434")
    table = with_access(AgentTable(preset="aider", model="ollama_chat/x"), presets()["aider"])
    assert "OLLAMA_API_BASE" in table.env


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ((), ("ANTHROPIC_API_KEY",)),
        (("HTTPS_PROXY",), ("HTTPS_PROXY", "ANTHROPIC_API_KEY")),
        (("HTTPS_PROXY", "MY_TOKEN"), ("HTTPS_PROXY", "MY_TOKEN")),
        (("CLAUDE_CODE_OAUTH_TOKEN",), ("CLAUDE_CODE_OAUTH_TOKEN",)),
    ],
)
def test_only_a_key_replaces_the_key_of_a_program(
    monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...], given: tuple[str, ...]
) -> None:
    for name in ("ANTHROPIC_API_KEY", *named):
        monkeypatch.setenv(name, "a-value-of-mine-1")
    access = with_access(AgentTable(preset="claude", env=named), presets()["claude"])
    assert tuple(name for name in access.env if not name.startswith("ANTHROPIC_BASE")) == given


def test_the_list_shows_no_password_of_an_address(tmp_path: Path) -> None:
    table = 'kind = "llm"\nmodel = "openai/x"\nurl = "http://me:s3cret-9@localhost:81/v1?k=s3cret"'
    (mine,) = (e for e in roster(arena_with(tmp_path, table)) if e.name == "mine0")
    assert mine.ready and "localhost:81" in mine.words and "s3cret" not in mine.words


def test_names_are_of_letters_and_digits_so_that_a_run_can_ask_for_them(tmp_path: Path) -> None:
    def named(name: str) -> Arena:
        text = f'{ARENA}\n[agents."{name}"]\ncommand = "sh mend.sh"\n'
        return Arena.load(write_toy(tmp_path, text))

    for name in ["portfolio", "a,b", "a:b", "a b", ""]:
        with pytest.raises(ArenaError, match=f'agents: "{name}" cannot be a name'):
            named(name)
    for name in ["a-b_2.c", "größe"]:
        assert agent_named(name, named(name)).name == name


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('command = "true"\npreset = "codex"', "preset"),
        ('command = "true"\ntokens = 5', "tokens"),
        ('command = "true"\nsession = "resume"', "session"),
        ('kind = "llm"\nmodel = "openai/x"\npreset = "codex"', "preset"),
    ],
)
def test_settings_of_an_agent_that_nothing_reads_are_mistakes(
    tmp_path: Path, table: str, words: str
) -> None:
    with pytest.raises(ArenaError, match=rf"agents\.mine0\.{words}: has no effect"):
        arena_with(tmp_path, table)


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
    made = portfolio_named(names, Arena.load(write_toy(tmp_path, text))).agents
    assert [agent.name for agent in made] == agents
    table = table_of(made[-1])
    assert agents[-1] != "command" or (table and table.command == names.partition("command:")[2])


BROKEN = {
    "import nonesuch_at_all": "No module named 'nonesuch_at_all'",
    "class Other: pass": "has no attribute 'Mine'",
    "class Mine:\n    def __init__(self): raise ValueError('no luck')": "no luck",
    "class Mine:\n    name = 'fine'\n": None,
}
"""The module of a package with an agent, and why that cannot be loaded."""


def test_a_package_that_does_not_work_is_told_in_the_list_and_by_a_run(tmp_path: Path) -> None:
    package = tmp_path / "site" / "my_agents-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-agents\nVersion: 1.0\n")
    points = [f"mine{n} = my_agents{n}:Mine\n" for n in range(len(BROKEN))]
    (package / "entry_points.txt").write_text("[overnight.agents]\n" + "".join(points))
    for n, module in enumerate(BROKEN):
        (tmp_path / "site" / f"my_agents{n}.py").write_text(module)
    toy = make_toy(tmp_path / "arena")
    env = {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path / 'site'}"}
    listed = json.loads(overnight(toy, "agents", "--json", env=env).stdout)
    found = {one["agent"]: one for one in listed}
    for n, words in enumerate(BROKEN.values()):
        mine = found[f"mine{n}"]
        assert "my-agents" in mine["words"] and mine["ready"] is (words is None)
        assert (words or "from the package my-agents") in mine["words"]
    done = overnight(toy, "run", "--agent", "mine2", "--experiments", "1", env=env)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "my-agents" in done.stderr and "no luck" in done.stderr


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
