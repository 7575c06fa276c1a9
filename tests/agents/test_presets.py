"""Agent programs by name: their presets are whole, and overnight says what each of them lacks.

That they work is tested with the real programs, in tests/programs.
"""

from __future__ import annotations

import json
import os
import re
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


def stub(folder: Path, *names: str, script: str = "exit 0") -> dict[str, str]:
    """An environment with programs of these names first on PATH, and nobody signed in."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    for name in names:
        (bin_ / presets()[name].program).write_text(f"#!/bin/sh\n{script}\n")
        (bin_ / presets()[name].program).chmod(0o755)
    (folder / "home").mkdir(exist_ok=True)
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(folder / "home")}
    return {**env, **dict.fromkeys(KEYS, "")}


def roster(folder: Path, env: dict[str, str]) -> dict[str, dict[str, object]]:
    done = overnight(folder, "agents", "--json", env=env)
    assert done.returncode == 0, done.stderr
    return {str(one["agent"]): one for one in json.loads(done.stdout)}


def logged(toy: Path) -> dict[int, dict[str, object]]:
    return {e["n"]: e for e in json.loads(overnight(toy, "log", "--json").stdout)}


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
def test_failures_are_told_apart_in_sentences(name: str) -> None:
    preset = presets()[name]
    for failure in preset.failures:
        re.compile(failure.pattern)
        assert failure.sentence.endswith(".")
    known = {failure.trouble for failure in preset.failures}
    assert {Trouble.SIGN_IN, Trouble.RATE, Trouble.OVERLOAD, Trouble.NETWORK} <= known
    assert preset.failure("I lowered LR to 0.401 and 429 tests pass, 500 more to go.") is None


def test_the_list_says_what_is_missing_and_the_page_says_the_same(tmp_path: Path) -> None:
    """With nothing installed, nobody signed in, and a key for each."""
    tables, keys = "", {}
    for name, preset in presets().items():
        page = section(name)
        (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
        tables += f"\n{table}"
        keys[name] = re.findall(r"export (\w+)=", page)[0]
        assert keys[name] in preset.keys and f"\n{preset.install}\n" in page
    toy = make_toy(tmp_path / "arena", ARENA + tables)
    # The machine may have some of the programs.
    (tmp_path / "few").mkdir()
    for program in ("git", "sh", "env"):
        (tmp_path / "few" / program).symlink_to(Path("/usr/bin") / program)
    nothing = {**stub(tmp_path), "PATH": f"{overnight_folder()}:{tmp_path / 'few'}"}
    missing = roster(toy, nothing)
    unknown = roster(toy, stub(tmp_path, *presets()))
    secrets = {key: "secret-of-the-user" for key in keys.values()}
    known = roster(toy, {**stub(tmp_path, *presets()), **secrets})
    for name, preset in presets().items():
        words = f"{preset.program} is not on PATH; install it: {preset.install}"
        assert missing[name] == {"agent": name, "ready": False, "words": words}
        assert not unknown[name]["ready"] and "signed in" in str(unknown[name]["words"])
        assert known[name]["ready"] and keys[name] in str(known[name]["words"])
        assert "secret-of" not in str(known[name])


def overnight_folder() -> Path:
    import shutil

    found = shutil.which("overnight")
    assert found
    return Path(found).parent


CODEX = r"""case $OVERNIGHT_EXPERIMENT in
1)  env | cut -d= -f1 > got
    cat "$HOME/.codex/auth.json" > auth
    ls -A "$HOME" > home
    cat > told
    sed -i "s/X=10/X=4/" value.py ;;
2)  sed -i s/X=4/X=3.5/ value.py
    printf '%s\n' '{"type":"thread.started","thread_id":"\ud83d"}'
    printf '%s\n' '{"type":"turn.completed","usage":{"input_tokens":9,"output_tokens":5}}' ;;
3)  python3 - <<'END'
print('"turn.failed" ' * 300000)
print('{' + chr(10) + '{', end=chr(10))
print(chr(10).join(['{'] * 1000000))
print('{"type":"turn.completed","usage":{"input_tokens":' + '9' * 400 + ',"output_tokens":-5}}')
END
esac"""
"""What the program sees; a conversation's name that cannot be written down; output that a pattern
would take hours for, with a number that is none, and brackets without end."""


def test_a_program_gets_its_own_key_and_its_output_is_not_trusted(tmp_path: Path) -> None:
    env = stub(tmp_path, "codex", script=CODEX)
    (tmp_path / "home" / ".codex").mkdir()
    (tmp_path / "home" / ".codex" / "auth.json").write_text("a sign-in")
    (tmp_path / "home" / "diary").write_text("private")
    arena = ARENA.replace('"value.py"', '"value.py", "got", "auth", "home", "told"')
    table = '\n[judge]\nrule = "greedy"\n[agents.codex]\nsession = "resume"\ntokens = 100000\n'
    toy = make_toy(tmp_path / "arena", arena + table)
    env |= {"CODEX_API_KEY": "k1-its-own", "ANTHROPIC_API_KEY": "k2-not-its", "AWS_SECRET": "k3"}
    words = ("run", "--agent", "codex", "--experiments", "3")
    done = overnight(toy, *words, env=env)
    told = logged(toy)
    assert [told[n]["verdict"] for n in (1, 2, 3)] == ["keep", "keep", "invalid"], done.stdout
    names = ("got", "auth", "home", "told")
    got, auth, home, brief = (git(toy, "show", f"{told[1]['candidate']}:{one}") for one in names)
    assert "CODEX_API_KEY" in got.split()
    assert not {"ANTHROPIC_API_KEY", "AWS_SECRET"} & {*got.split()}
    assert auth == "a sign-in" and "diary" not in home.split()
    assert "## Strategy" in brief, "the brief came on standard input"
    assert told[2]["tokens_in"] == 9
    assert told[2]["description"] == "value.py: X=4 → X=3.5", "a change without a title"
    subject = git(toy, "log", "-1", "--format=%s", str(told[2]["candidate"]))
    assert subject == "value.py: X=4 → X=3.5\n"
    assert "changed no editable file" in str(told[3]["reason"])


LAYOUTS = [
    ("aider", "cpython-3", "../.local/bin", "HOME/.local/share/uv/tools/aider-chat"),
    ("command:aider", "cpython-3", "../.local/bin", "../share/uv/tools/aider-chat"),
    ("aider", "cpython-3.12.1", "", "HOME/.local/share/uv/tools/aider-chat"),
    ("aider", "cpython-3.12", "HOME/.local/bin", "../share/uv/tools/aider-chat"),
]


@pytest.mark.parametrize(
    ("sandbox", "agent", "python", "further", "tool"),
    [
        pytest.param(sandbox, *layout, marks=() if quick else pytest.mark.slow)
        for sandbox in ("bubblewrap", "landlock")
        for layout in LAYOUTS
        for quick in [layout is LAYOUTS[sandbox == "landlock"]]
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
    told = {n: e["verdict"] for n, e in logged(toy).items()}
    assert told == {0: "keep", 1: "keep"}, done.stdout


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


def test_a_rehearsal_says_whether_an_agent_works_and_leaves_nothing(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = overnight(tmp_path, "agents", "--check", "command:sed -i s/1/2/ answer.py", env=env)
    assert done.returncode == 0 and "works" in done.stdout, done.stdout + done.stderr
    wrong = overnight(tmp_path, "agents", "--check", "command:sed -i s/1/77/ answer.py", env=env)
    assert wrong.returncode == 1 and "works" not in wrong.stdout
    assert "changed the file, but not as asked: expected X = 2" in wrong.stdout
    assert "found `X = 77" in wrong.stdout
    failed = overnight(tmp_path, "agents", "--check", "command:echo of no use; exit 3", env=env)
    assert failed.returncode == 1 and "of no use" in failed.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    two = overnight(tmp_path, "agents", "--check", "tuner", "--stats")
    assert two.returncode == 2 and "give one of them" in two.stderr
