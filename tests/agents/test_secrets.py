"""The user's keys and sign-ins: whatever an agent does with one, it is written nowhere."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from test_presets import stub

from overnight.stage.log import Log
from overnight.stage.secrets import Secrets
from stages import eventually
from toy import ARENA, command, make_toy, overnight

KEY = "sk-ant-api03-QQ/WWEE+RRTTYY0123456789"
LOGIN = "Open.Sesame.7"
PIN = "pw4tests9"
GIVEN = {"ANTHROPIC_API_KEY": KEY, "ACME_LOGIN": LOGIN, "ACME_KEY": PIN}
EDITABLE = ARENA.replace('["value.py"]', '["value.py", "ed/*"]')

SAYS = """
echo "Use $CODEX_API_KEY" > .overnight-idea.md
echo "- the key is $CODEX_API_KEY" > .overnight-notes.md
echo "$CODEX_API_KEY"
test $OVERNIGHT_EXPERIMENT = 1 || exit 3
sed -i "s/X=10/X=4/" value.py
"""


def told(toy: Path) -> list[dict[str, Any]]:
    """The experiments after the baseline, as `overnight log` has them."""
    return list(json.loads(command(toy, "log", "--json").stdout)[1:])


@pytest.mark.parametrize("agent", ["codex", "mine"])
def test_a_key_that_an_agent_prints_is_written_nowhere(tmp_path: Path, agent: str) -> None:
    """It is in no commit, note or page, and not in the brief of the next agent."""
    env = stub(tmp_path, "codex", script=SAYS)
    table = '\n[agents.mine]\ncommand = "codex"\nenv = ["CODEX_API_KEY"]\n'
    toy = make_toy(tmp_path / "arena", ARENA + table)
    key = "sk-0123456789abcdef"
    env |= {"CODEX_API_KEY": key}
    done = overnight(toy, "run", "--agent", agent, "--experiments", "2", env=env)
    assert [e["verdict"] for e in told(toy)] == ["keep", "invalid"], done.stdout
    overnight(toy, "report", env=env)
    brief = overnight(toy, "brief", env=env).stdout
    everything = written(toy)
    assert key not in done.stdout + done.stderr + brief and key.encode() not in everything
    assert "[CODEX_API_KEY]" in brief, "that something stood there can be seen"


def written(toy: Path, but: str = "") -> bytes:
    """All that is kept of a campaign: files (but those of this name), and every object of the
    repository."""
    found = [f for f in (toy / ".overnight").rglob("*") if f.is_file() and f.name != but]
    files = [f.read_bytes() for f in found]
    words = ["git", "cat-file", "--batch-all-objects", "--batch"]
    objects = subprocess.run(words, cwd=toy, capture_output=True, check=True).stdout
    names = "\n".join(str(f) for f in (toy / ".overnight").rglob("*"))
    return b"".join(files) + objects + names.encode()


DEEDS = {
    "a title in the middle of which it is cut": (
        """echo "$(printf %0180d 7)$ANTHROPIC_API_KEY" > .overnight-idea.md
        echo X=9.1 > value.py""",
        "keep",
    ),
    "as part of an address": (f"echo '- {quote(KEY, safe='')}' > .overnight-notes.md", "invalid"),
    "behind a byte that no text has": (
        """mkdir -p ed; printf 'a\\0b %s' "$ANTHROPIC_API_KEY" > ed/blob""",
        "invalid",
    ),
    "the name of a file": (
        """mkdir -p ed; echo > "ed/${ANTHROPIC_API_KEY%%/*}$ACME_KEY" """,
        "invalid",
    ),
    "the name of a file that is dropped": (
        """echo > "not-editable-$ACME_KEY"; echo X=9 > value.py""",
        "keep",
    ),
    "the name of a pipe": ("""mkdir -p ed; mkfifo "ed/$ACME_KEY" """, "invalid"),
    "another variable, in a title": (
        """echo "by $ACME_LOGIN" > .overnight-idea.md; echo X=8.9 > value.py""",
        "keep",
    ),
    "in base64": (
        """echo "X=1 # $(printf %s "$ANTHROPIC_API_KEY" | base64)" > value.py""",
        "invalid",
    ),
    "a short one": ("""echo "X=1 # $ACME_KEY" > value.py""", "invalid"),
    "in the target of a link": ("""mkdir -p ed; ln -s "$ACME_KEY" ed/link""", "invalid"),
    "in two pieces": (
        """printf %s "${ANTHROPIC_API_KEY%%EE*}"; sleep 0.3; echo "EE${ANTHROPIC_API_KEY#*EE}" """,
        "invalid",
    ),
    "in JSON that escapes": ("""echo "$ANTHROPIC_API_KEY" | sed 's#/#\\\\/#'""", "invalid"),
    "in an error": ("""echo "RuntimeError: $ANTHROPIC_API_KEY"; exit 3""", "invalid"),
}


def test_a_key_is_written_nowhere_whatever_an_agent_does_with_it(tmp_path: Path) -> None:
    cases = "\n".join(f"{n}) {deed} ;;" for n, (deed, _) in enumerate(DEEDS.values(), 1))
    (tmp_path / "rogue.sh").write_text(f"case $OVERNIGHT_EXPERIMENT in\n{cases}\nesac\n")
    table = f"""
[judge]
rule = "greedy"
[agents.rogue]
command = "sh {tmp_path}/rogue.sh"
env = {json.dumps([*GIVEN])}
data = ["{tmp_path}/rogue.sh"]
"""
    toy = make_toy(tmp_path / "arena", EDITABLE + table)
    words = ("run", "--agent", "rogue", "--experiments", str(len(DEEDS)))
    done = overnight(toy, *words, env=GIVEN)
    found = told(toy)
    assert [e["verdict"] for e in found] == [verdict for _, verdict in DEEDS.values()], found
    assert sum("do not commit it" in e["reason"] for e in found) == 5
    everything = written(toy) + (done.stdout + done.stderr).encode()
    forms = [KEY, KEY[:20], quote(KEY, safe=""), KEY.replace("/", r"\/"), LOGIN, PIN]
    forms.append(base64.b64encode(KEY.encode()).decode().rstrip("="))
    assert [form for form in forms if form.encode() in everything] == []
    assert all(f"[{name}]".encode() in everything for name in GIVEN)


def test_a_key_of_an_agent_at_work_is_shown_to_nobody_and_taken_over_by_nobody(
    tmp_path: Path,
) -> None:
    """Another process, which does not know the key, shows its log meanwhile, and finds its notes
    when its driver was killed."""
    script = """echo "my key is $ACME_KEY"; echo "- log in with $ACME_KEY" > .overnight-notes.md
touch told; sleep 60"""
    table = f"\n[agents.slow]\ncommand = '''{script}'''\nenv = [\"ACME_KEY\"]\n"
    toy = make_toy(tmp_path / "arena", ARENA + table)
    words = ["overnight", "run", "--agent", "slow", "--experiments", "1", "--tag", "t"]
    env = {**os.environ, **GIVEN}
    driver = subprocess.Popen(words, cwd=toy, env=env, stdout=subprocess.DEVNULL)
    try:
        said = "slow thinks: my key is [ACME_KEY]"
        assert eventually(lambda: said in command(toy, "status").stdout, 60)
        assert eventually(lambda: list(toy.glob(".overnight/worktrees/t/agent/tree/told")))
        assert PIN.encode() not in written(toy, but=".overnight-notes.md")
    finally:
        driver.kill()
        driver.wait()
    command(toy, "run", "--agent", "command:echo X=4 > value.py", "--experiments", "1")
    assert PIN.encode() not in written(toy)


def test_the_tokens_of_a_sign_in_are_kept_as_keys_are(tmp_path: Path) -> None:
    token = "sk-ant-oat01-ABCDEFGH0123456789"
    script = """token=$(sed 's/.*"accessToken": "\\([^"]*\\)".*/\\1/' ~/.claude/.credentials.json)
echo "$token"; echo "by $token" > .overnight-idea.md; echo "- $token" > .overnight-notes.md
test $OVERNIGHT_EXPERIMENT = 1 || echo "X=5 # $token" > value.py
echo X=$((7 - OVERNIGHT_EXPERIMENT)) >> value.py"""
    env = stub(tmp_path, "claude", script=script)
    (tmp_path / "home" / ".claude").mkdir()
    sign_in = {"claudeAiOauth": {"accessToken": token, "scopes": ["user:inference"]}}
    (tmp_path / "home" / ".claude" / ".credentials.json").write_text(json.dumps(sign_in))
    toy = make_toy(tmp_path / "arena", ARENA)
    done = overnight(toy, "run", "--agent", "claude", "--experiments", "2", env=env)
    first, second = told(toy)
    assert first["description"] == "by [~/.claude/.credentials.json]", done.stdout
    assert "holds the value of ~/.claude/.credentials.json" in second["reason"]
    assert token.encode() not in written(toy)


SEVERAL = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
Bg5kqZ0s7ZkUXhS8cJ4rTYw2Lm1QvNp3
-----END PRIVATE KEY-----"""
ACCOUNT = json.dumps(
    {"type": "service_account", "private_key": SEVERAL, "id": "0123456789abcdef-x"}
)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('say "friend"! 7', json.dumps('say "friend"! 7')),
        ("Grüße, Jürgen!", json.dumps("Grüße, Jürgen!")),
        (SEVERAL, SEVERAL),
        (SEVERAL, " ".join(SEVERAL.split())),
        (SEVERAL, SEVERAL.splitlines()[1]),
        (ACCOUNT, SEVERAL.splitlines()[2]),
        ("Bearer 0123456789abcdefXYZW", "0123456789abcdefXYZW"),
        ("postgres://user:pa55word@host/db", "pa55word"),
        (KEY * 3, base64.encodebytes((KEY * 3).encode()).decode().splitlines()[0]),
        (KEY, base64.b64encode(f"user:{KEY}".encode()).decode()),
        ("correct-horse!", "correct-horse!"),
        ("/" + "a1" * 150, "/" + "a1" * 150),
        ("\udcff\udcfe-not-UTF-8-7", "\udcff\udcfe-not-UTF-8-7"),
    ],
)
def test_a_secret_is_found_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    monkeypatch.setenv("ACME_SECRET", value)
    secrets = Secrets.of()
    assert "[ACME_SECRET]" in secrets.redacted(f"it is {told}, and no more")
    assert secrets.found_in(os.fsencode(f"x = {told}")) == "ACME_SECRET"


@pytest.mark.parametrize("name", ["PGPASSWORD", "DB_PASSWORD", "OPENAI_API_KEY", "APIKEY"])
def test_a_variable_named_as_a_key_is_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, LOGIN)
    assert Secrets.of().redacted(f"it is {LOGIN}.") == f"it is [{name}]."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "development"),
        ("MAX_TOKENS", "4096000000"),
        ("SORT_KEY", "outputTokens"),
        ("MONKEY", "gorilla42"),
        ("TOKENIZERS_PARALLELISM", "false123"),
        ("DEPLOY_KEY", "/home/x/.ssh/id_7"),
        ("TOKEN_URL", "https://api.acme.example/v7"),
        ("GITHUB_TOKEN", ""),
    ],
)
def test_an_ordinary_environment_has_no_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = f"a {value} b /home/x/y https://api.acme.example/"
    assert Secrets.of().redacted(text) == text


def test_a_key_that_a_run_was_given_is_in_no_log_and_no_reason(tmp_path: Path) -> None:
    arena = EDITABLE.replace("[run]\n", '[run]\nenv = ["ACME_KEY", "ACME_LOGIN"]\n')
    shows = (
        '. ./value.py\necho "my key is $ACME_KEY"\ntest $X != 4 || { echo $ACME_LOGIN; exit 3; }\n'
    )
    toy = make_toy(tmp_path / "arena", arena, run=shows + 'cp value.py "$OVERNIGHT_OUT/value"\n')
    words = ("run", "--agent", "command:echo X=4 > value.py", "--experiments", "1")
    overnight(toy, *words, env=GIVEN)
    (crashed,) = told(toy)
    assert crashed["verdict"] == "crash" and "[ACME_LOGIN]" in command(toy, "show", "1").stdout
    everything = written(toy)
    assert b"my key is [ACME_KEY]" in everything
    assert PIN.encode() not in everything and LOGIN.encode() not in everything


def test_what_the_parent_has_already_and_what_is_no_secret_may_stay(tmp_path: Path) -> None:
    words = ["the training went well", "go to https://example.org/long-path-1"]
    script = f"""test $OVERNIGHT_EXPERIMENT = 1 && words="{words[0]}" || words="{words[1]}"
echo "$words" > .overnight-idea.md; echo "# $words" >> value.py; sed -i s/X=9/X=4/ value.py
sed -i s/X=10/X=9/ value.py"""
    table = f'\n[agents.mine]\ncommand = {json.dumps(script)}\nenv = ["MODE_KEY", "PAGE"]\n'
    toy = make_toy(tmp_path / "arena", ARENA + table, value=f"X=10  # {PIN}\n")
    env = {**GIVEN, "MODE_KEY": "train", "PAGE": "https://example.org/long-path-1"}
    done = overnight(toy, "run", "--agent", "mine", "--experiments", "2", env=env)
    found = [(e["verdict"], e["description"]) for e in told(toy)]
    assert found == [("keep", one) for one in words], done.stdout


def test_a_try_and_a_note_that_hold_one_leave_nothing_of_it(toy: Path) -> None:
    (toy / "value.py").write_text(f"X=4  # {PIN}\n")
    done = overnight(toy, "try", "-m", f"log in with {PIN}", env=GIVEN)
    assert done.returncode == 13 and "value.py holds the value of ACME_KEY" in done.stdout
    said = overnight(toy, "note", f"I logged in with {PIN}", env=GIVEN)
    assert "I logged in with [ACME_KEY]" in said.stdout
    assert PIN.encode() not in written(toy)


def test_a_log_has_all_bytes_but_the_secrets_however_they_arrive(tmp_path: Path) -> None:
    """This holds for secrets that overlap, too."""
    source, secrets = random.Random(7), [b"aab-aab", b"aab-aab:tail", b"ab-aa", b"tail7"]
    named = [(secret, b"[%d]" % n) for n, secret in enumerate(sorted(secrets, key=len)[::-1])]
    whole = 0
    for _ in range(1000):
        pieces = source.choices([*secrets, b"aab", b"-", b"\r\n", b"\xff", b":t", b"xyz"], k=6)
        text = b"".join(pieces)
        cuts = sorted(source.choices(range(len(text) + 1), k=5))
        log = Log(str(tmp_path / "log"), 1000, named)
        for begin, end in itertools.pairwise([0, *cuts, len(text)]):
            log.add(memoryview(text[begin:end]))
        log.close()
        got = (tmp_path / "log").read_bytes()
        assert not any(secret in got for secret in secrets), (text, cuts)
        if not any(secret in text for secret in secrets):
            whole += 1
            assert got == text
    assert whole > 20
