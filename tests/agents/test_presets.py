"""Agent programs by name: their presets are whole, and overnight says what each of them lacks.

That they work is tested with the real programs, in tests/programs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from models.programs import PROGRAMS
from overnight.agents.programs.preset import presets
from overnight.core.errors import Trouble
from overnight.sandbox.runtime import program_paths
from toy import ARENA, git, make_toy, overnight

ROOT = Path(__file__).parent.parent.parent
OPTIONS = {"model", "answers", "dollars", "resume", "server", "files"}
VALUES = {"prompt", "folder", "home", "key", "session", "server", "model", "answers", "dollars"}
KEYS = {key for preset in presets().values() for key in (*preset.keys, *preset.passes)}


def section(name: str) -> str:
    """The page of an agent program."""
    page = (ROOT / "docs" / "agents.md").read_text()
    return page.partition(f"\n### {name}\n")[2].partition("\n##")[0]


def stub(folder: Path, name: str, script: str = "exit 0") -> dict[str, str]:
    """An environment in which a program of this name is first on PATH, and nobody is signed in."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / presets()[name].program).write_text(f"#!/bin/sh\n{script}\n")
    (bin_ / presets()[name].program).chmod(0o755)
    (folder / "home").mkdir(exist_ok=True)
    env = {"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(folder / "home")}
    return {**env, **dict.fromkeys(KEYS, "")}


def roster(folder: Path, env: dict[str, str]) -> dict[str, dict[str, object]]:
    bare = {**env, "PATH": f"{env['PATH']}:{Path(os.__file__).parents[1]}"}
    done = subprocess.run(
        [str(overnight_program()), "agents", "--json"],
        cwd=folder,
        env=bare,
        capture_output=True,
        text=True,
        check=True,
    )
    return {str(one["agent"]): one for one in json.loads(done.stdout)}


def overnight_program() -> str:
    import shutil

    found = shutil.which("overnight")
    assert found
    return found


def test_every_program_that_is_tested_has_a_preset() -> None:
    assert set(presets()) == set(PROGRAMS)


@pytest.mark.parametrize("name", presets())
def test_every_name_in_braces_stands_for_something(name: str) -> None:
    preset = presets()[name]
    alone = {word.strip("{}") for word in preset.command if re.fullmatch(r"\{\w+\}", word)}
    assert set(preset.options) <= alone
    assert ("{prompt}" in preset.command) == (preset.prompt == "argument")
    assert ("resume" in preset.options) == (preset.session is not None)
    texts = [*preset.command, *preset.server.arguments, *preset.env.values()]
    texts += [*preset.home.values(), *preset.server.env.values(), preset.server.wire]
    texts += [part for parts in preset.options.values() for part in parts]
    found = {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}
    assert found <= OPTIONS | VALUES
    assert preset.output.tokens_in and preset.output.tokens_out


@pytest.mark.parametrize("name", presets())
def test_failures_are_told_apart_in_words_for_a_person(name: str) -> None:
    preset = presets()[name]
    for failure in preset.failures:
        re.compile(failure.pattern)
        assert failure.sentence.endswith(".")
    known = {failure.trouble for failure in preset.failures}
    assert {Trouble.SIGN_IN, Trouble.RATE, Trouble.OVERLOAD, Trouble.NETWORK} <= known
    assert preset.failure("I lowered LR to 0.401 and 429 tests pass, 500 more to go.") is None


@pytest.mark.parametrize("name", presets())
def test_the_list_says_what_is_missing_and_the_page_says_the_same(
    name: str, tmp_path: Path
) -> None:
    preset, page = presets()[name], section(name)
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    toy = make_toy(tmp_path / "arena", ARENA + table)
    env = {**stub(tmp_path, name), "OVERNIGHT_HOME": str(tmp_path / "cache")}
    (tmp_path / "bin" / preset.program).rename(tmp_path / "bin" / "elsewhere")
    words = f"{preset.program} is not on PATH; install it: {preset.install}"
    assert roster(toy, env)[name] == {"agent": name, "ready": False, "words": words}
    assert f"\n{preset.install}\n" in page
    (tmp_path / "bin" / "elsewhere").rename(tmp_path / "bin" / preset.program)
    unknown = roster(toy, env)[name]
    assert not unknown["ready"] and "signed in" in str(unknown["words"])
    key = re.findall(r"export (\w+)=", page)[0]
    assert key in preset.keys
    known = roster(toy, {**env, key: "secret-of-the-person"})[name]
    assert known["ready"] and key in str(known["words"]) and "secret-of" not in str(known)


def test_a_program_gets_its_own_key_its_sign_in_and_nothing_else(tmp_path: Path) -> None:
    script = """env | cut -d= -f1 > got
cat "$HOME/.codex/auth.json" > auth
ls -A "$HOME" > home
cat > told
sed -i "s/X=10/X=4/" value.py"""
    env = stub(tmp_path, "codex", script)
    (tmp_path / "home" / ".codex").mkdir()
    (tmp_path / "home" / ".codex" / "auth.json").write_text("a sign-in")
    (tmp_path / "home" / "diary").write_text("private")
    arena = ARENA.replace('"value.py"', '"value.py", "got", "auth", "home", "told"')
    toy = make_toy(tmp_path / "arena", arena)
    given = {"CODEX_API_KEY": "k1-its-own", "ANTHROPIC_API_KEY": "k2-not-its", "AWS_SECRET": "k3"}
    env |= {**given, "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
    done = overnight(toy, "run", "--agent", "codex", "--experiments", "1", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = [e for e in json.loads(overnight(toy, "log", "--json").stdout) if e["n"] == 1]
    assert kept["verdict"] == "keep"
    names = ("got", "auth", "home", "told")
    got, auth, home, told = (git(toy, "show", f"{kept['candidate']}:{one}") for one in names)
    assert "CODEX_API_KEY" in got.split() and not {"ANTHROPIC_API_KEY", "AWS_SECRET"} & {
        *got.split()
    }
    assert auth == "a sign-in" and "diary" not in home.split()
    assert "# Brief" in told or "## Strategy" in told, "the brief came on standard input"


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
@pytest.mark.parametrize(
    ("agent", "python", "further", "tool"),
    [
        ("aider", "cpython-3.12.1", "", "HOME/.local/share/uv/tools/aider-chat"),
        ("aider", "cpython-3.12", "HOME/.local/bin", "../share/uv/tools/aider-chat"),
        ("aider", "cpython-3", "../.local/bin", "HOME/.local/share/uv/tools/aider-chat"),
        ("command:aider", "cpython-3", "../.local/bin", "../share/uv/tools/aider-chat"),
    ],
)
def test_a_program_in_an_environment_of_its_own_starts_confined(
    tmp_path: Path, agent: str, python: str, further: str, tool: str, sandbox: str
) -> None:
    """As `uv tool install` leaves it: a link in ~/.local/bin to a script whose interpreter is a
    link into a third folder, by the name of a version that is a link to that of a newer one; and,
    where PATH has ~/bin alone, a link from there."""
    home = tmp_path / "home"
    tools, pythons = home / ".local/share/uv/tools/aider-chat/bin", home / ".local/share/uv/python"
    for folder in (tools, pythons / "cpython-3.12.1/bin", home / ".local/bin", home / "bin"):
        folder.mkdir(parents=True)
    (pythons / "cpython-3.12").symlink_to("cpython-3.12.1")
    (pythons / "cpython-3").symlink_to(pythons / "cpython-3.12")
    # It finds its library by the name that its environment has for it.
    (pythons / "cpython-3.12.1/library").write_text("s/X=10/X=4/")
    (pythons / "cpython-3.12.1/bin/python3.12").write_text(
        f"#!/bin/sh\nsed -i -f {pythons / python}/library value.py\n"
    )
    (pythons / "cpython-3.12.1/bin/python3.12").chmod(0o755)
    (tools / "python").symlink_to(pythons / python / "bin/python3.12")
    (tools / "aider").write_text(f"#!{tools}/python\n")
    (tools / "aider").chmod(0o755)
    (home / ".local/bin/aider").symlink_to(f"{tool}/bin/aider".replace("HOME", str(home)))
    if further:
        (home / "bin/aider").symlink_to(f"{further}/aider".replace("HOME", str(home)))
    toy = make_toy(tmp_path / "arena", ARENA.replace("[run]", f'[run]\nsandbox = "{sandbox}"'))
    env = {"HOME": str(home), "OPENAI_API_KEY": "sk-0123456789abcdef"}
    env["PATH"] = f"{home}/{'bin' if further else '.local/bin'}:{os.environ['PATH']}"
    done = overnight(toy, "run", "--agent", agent, "--experiments", "1", env=env)
    told = json.loads(overnight(toy, "log", "--json").stdout)
    assert {e["n"]: e["verdict"] for e in told} == {0: "keep", 1: "keep"}, done.stdout + str(told)


def test_no_link_opens_a_home_folder_to_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the home folder's own name is a link."""
    (tmp_path / "disk/me/bin").mkdir(parents=True)
    (tmp_path / "disk/me/bin/mini").write_text("#!/bin/sh\n")
    (tmp_path / "home").symlink_to(tmp_path / "disk/me")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = program_paths(tmp_path / "home/bin/mini")
    assert found == [tmp_path / "disk/me/bin/mini", tmp_path / "home/bin/mini"]


def test_what_a_program_prints_holds_up_no_night(tmp_path: Path) -> None:
    """A line that a pattern would take hours for, a number that is none, brackets without end."""
    script = """python3 - <<'END'
print('"turn.failed" ' * 300000)
print('{' + chr(10) + '{', end=chr(10))
print(chr(10).join(['{'] * 1000000))
print('{"type":"turn.completed","usage":{"input_tokens":' + '9' * 400 + ',"output_tokens":-5}}')
END"""
    env = stub(tmp_path, "codex", script)
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.codex]\ntokens = 100000\n")
    env |= {"CODEX_API_KEY": "k", "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
    words = ("run", "--agent", "codex", "--experiments", "1")
    done = overnight(toy, *words, env=env, timeout=60)
    (told,) = [e for e in json.loads(overnight(toy, "log", "--json").stdout) if e["n"] == 1]
    assert "changed no editable file" in str(told["reason"]), done.stdout


def test_a_conversation_whose_name_cannot_be_written_down_costs_no_change(tmp_path: Path) -> None:
    script = r"""sed -i s/X=10/X=4/ value.py
printf '%s\n' '{"type":"thread.started","thread_id":"\ud83d"}'
printf '%s\n' '{"type":"turn.completed","usage":{"input_tokens":9,"output_tokens":5}}'"""
    env = stub(tmp_path, "codex", script)
    toy = make_toy(tmp_path / "arena", ARENA + '\n[agents.codex]\nsession = "resume"\n')
    env |= {"CODEX_API_KEY": "k", "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
    overnight(toy, "run", "--agent", "codex", "--experiments", "1", env=env)
    told = {e["n"]: e for e in json.loads(overnight(toy, "log", "--json").stdout)}
    assert (told[1]["verdict"], told[1]["tokens_in"]) == ("keep", 9)


def test_a_change_without_a_word_is_called_after_its_lines(tmp_path: Path) -> None:
    env = stub(tmp_path, "codex", "sed -i s/X=10/X=4/ value.py")
    toy = make_toy(tmp_path / "arena", ARENA)
    env |= {"CODEX_API_KEY": "k", "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
    overnight(toy, "run", "--agent", "codex", "--experiments", "1", env=env)
    told = {e["n"]: e for e in json.loads(overnight(toy, "log", "--json").stdout)}
    assert told[1]["description"] == "value.py: X=10 → X=4"
    assert (
        git(toy, "log", "-1", "--format=%s", str(told[1]["candidate"])) == "value.py: X=10 → X=4\n"
    )


def test_shares_are_of_those_that_the_table_names(tmp_path: Path) -> None:
    env = stub(tmp_path, "codex", 'echo "X=$((9 - $OVERNIGHT_EXPERIMENT))" > value.py')
    table = '\n[portfolio]\nagents = ["c"]\ntuner = false\nshares = { c = 1 }\n'
    tables = "".join(f'\n[agents.{name}]\ncommand = "codex"\n' for name in "cde")
    toy = make_toy(tmp_path / "arena", ARENA + table + tables)
    env["PATH"] += f":{os.environ['PATH']}"
    overnight(toy, "run", "--agent", "d,e", "--experiments", "8", env=env)
    told = json.loads(overnight(toy, "log", "--json").stdout)
    assert {e["agent"] for e in told} == {"baseline", "d", "e"}


def test_a_key_that_an_agent_puts_into_its_change_is_committed_nowhere(tmp_path: Path) -> None:
    env = stub(tmp_path, "codex", 'echo "X=4 # $CODEX_API_KEY" > value.py; echo "$CODEX_API_KEY"')
    toy = make_toy(tmp_path / "arena", ARENA)
    key = "sk-0123456789abcdef"
    env |= {"CODEX_API_KEY": key, "PATH": f"{env['PATH']}:{os.environ['PATH']}"}
    done = overnight(toy, "run", "--agent", "codex", "--experiments", "1", env=env)
    (told,) = [e for e in json.loads(overnight(toy, "log", "--json").stdout) if e["n"] == 1]
    assert told["verdict"] == "invalid" and "CODEX_API_KEY" in str(told["reason"]), done.stdout
    logs = "".join(f.read_text() for f in toy.glob(".overnight/logs/**/*") if f.is_file())
    assert "[CODEX_API_KEY]" in logs and key not in logs + done.stdout
    assert not [line for line in git(toy, "for-each-ref").splitlines() if line.endswith("/1")]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('preset = "cloude"', ["[agents.x]", '"cloude"', "claude, codex"]),
        ('timeout = "5m"', ["[agents.x]", "command", "preset"]),
        ('preset = "codex"\ndollars = 1.0', ["reports no dollars", "tokens"]),
        ('preset = "mini"', ["no default model", "[agents.x]"]),
    ],
)
def test_a_table_that_leads_nowhere_is_told_before_anything_runs(
    tmp_path: Path, table: str, words: list[str]
) -> None:
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.x]\n{table}\n")
    env = stub(tmp_path, "codex") | {"CODEX_API_KEY": "k", "OPENAI_API_KEY": "k"}
    stub(tmp_path, "mini")
    env["PATH"] += f":{os.environ['PATH']}"
    done = overnight(toy, "run", "--agent", "x", "--experiments", "1", env=env)
    assert done.returncode == 2 and not list(toy.glob(".overnight/worktrees/*")), done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('command = "true"\npreset = "codex"', "agents.x.preset"),
        ('command = "true"\ntokens = 5', "agents.x.tokens"),
        ('command = "true"\nsession = "resume"', "agents.x.session"),
        ('kind = "llm"\nmodel = "openai/x"\npreset = "codex"', "agents.x.preset"),
    ],
)
def test_settings_of_an_agent_that_nothing_reads_are_mistakes(
    tmp_path: Path, table: str, words: str
) -> None:
    toy = make_toy(tmp_path / "arena", f"{ARENA}\n[agents.x]\n{table}\n")
    done = overnight(toy, "run", "--experiments", "1")
    assert done.returncode == 2 and f"{words}: has no effect" in done.stderr


def test_a_rehearsal_says_whether_an_agent_works_and_leaves_nothing(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = overnight(tmp_path, "agents", "--check", "command:sed -i s/1/2/ answer.py", env=env)
    assert done.returncode == 0 and "works" in done.stdout, done.stdout + done.stderr
    failed = overnight(tmp_path, "agents", "--check", "command:echo of no use; exit 3", env=env)
    assert failed.returncode == 1 and "of no use" in failed.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    two = overnight(tmp_path, "agents", "--check", "tuner", "--stats")
    assert two.returncode == 2 and "ask one" in two.stderr
