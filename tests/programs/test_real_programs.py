"""The real agent programs on a scripted model: whole campaigns, and how each fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models.ask import Ask
from models.programs import PROGRAMS, installed
from models.reply import Edit, Hang, Refuse, Reply, Say
from models.server import ScriptedModels
from overnight.agents.programs.preset import filled, presets
from toy import ARENA, git, make_toy, overnight

pytestmark = pytest.mark.agents

CHOSEN = os.environ.get("AGENTS", "").split() or [one for one in PROGRAMS if installed(one)]
"""By `make test-agents AGENTS="claude codex"`; else whatever is installed."""
CRASH = "X=666"
RUN = """. ./value.py
test "$X" != 666 || exit 3
cp value.py "$OVERNIGHT_OUT/value"
"""
CAPPED = 'timeout = "60s"\ntokens = 4000'
TABLE = """{page}
url = "{url}"
timeout = "{timeout}"
session = "{session}"
"""


OVER_ACP = {
    "gemini": (
        {"GEMINI_API_KEY": "no-key", "GOOGLE_GEMINI_BASE_URL": "{server}"},
        "gemini --acp",
    ),
    "opencode": (
        {
            **presets()["opencode"].env,
            "OPENCODE_CONFIG_CONTENT": presets()["opencode"].server.env["OPENCODE_CONFIG_CONTENT"],
        },
        "opencode acp",
    ),
}
"""Programs that speak the Agent Client Protocol themselves: their variables, what starts them."""


def page_of(name: str) -> tuple[str, list[str]]:
    """The table of arena.toml that this program's page shows, and the words of its command."""
    text = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
    section = text.partition(f"\n### {name}\n")[2].partition("\n##")[0]
    (table,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (command,) = re.findall(r"^overnight (run .*)$", section, re.MULTILINE)
    return str(table), str(command).split()


@pytest.fixture(params=[name for name in PROGRAMS if name in CHOSEN])
def name(request: pytest.FixtureRequest) -> str:
    """One of the programs. That it is installed was asked for, so a missing one fails."""
    found: str = request.param
    return found


@pytest.fixture
def models() -> Iterator[ScriptedModels]:
    with ScriptedModels(lambda _: Say("Fine.")) as server:
        yield server


class Night:
    """A toy arena with one agent program, in a clean home."""

    def __init__(self, name: str, models: ScriptedModels, folder: Path, **table: str) -> None:
        self.name, self.models = name, models
        program = installed(name)
        assert program, f"{name} is not installed: python tests/models/programs.py {name}"
        (folder / "home").mkdir()
        self.env = {"HOME": str(folder / "home"), "PATH": f"{program.parent}:{os.environ['PATH']}"}
        given = {"timeout": "100s", "session": "fresh", **table}
        page, self.command = page_of(name)
        text = table.get("text") or TABLE.format(page=page, url=models.address, **given)
        self.toy = make_toy(folder / "arena", ARENA + text, run=RUN)

    def rehearsed(self) -> subprocess.CompletedProcess[str]:
        """What a check of the agent says."""
        done = overnight(self.toy, "agents", "--check", self.name, env=self.env, timeout=200)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self, experiments: int) -> list[Mapping[str, object]]:
        """What the ledger says after the campaign, the baseline first."""
        words = (*self.command, "--experiments", str(experiments))
        done = overnight(self.toy, *words, env=self.env, timeout=500)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        logs = [*self.toy.glob(".overnight/logs/*/*/agent.log")]
        print(done.stdout[-3000:], done.stderr[-2000:], *(log.read_text()[-1500:] for log in logs))
        listed = json.loads(overnight(self.toy, "log", "--json").stdout)
        return sorted(listed, key=lambda e: int(e["n"]))


def three_edits(models: ScriptedModels) -> None:
    """A script of a better change, a worse one, and one that crashes."""
    edits = iter([("X=10", "X=5"), ("X=5", "X=90"), ("X=5", CRASH)])

    def script(ask: Ask) -> Reply:
        return Say("Done.") if ask.steps else Edit("value.py", *next(edits))

    models.script = script


def check_the_campaign(night: Night) -> list[Mapping[str, object]]:
    """Three experiments: a keep, a discard and a crash, and nothing of the person's is touched."""
    told = night.run(3)
    assert [e["verdict"] for e in told] == ["keep", "keep", "discard", "crash"]
    assert [e["agent"] for e in told[1:]] == [night.name] * 3
    branch = git(night.toy, "for-each-ref", "--format=%(refname:short)", "refs/heads/overnight")
    assert git(night.toy, "show", f"{branch.strip()}:value.py") == "X=5\n"
    assert git(night.toy, "status", "--short") == "", "the person's own checkout"
    assert "## Strategy" in night.models.asks[0].prompt
    return told


@pytest.mark.parametrize(
    ("name", "over_acp"),
    [(one, False) for one in CHOSEN] + [(one, True) for one in OVER_ACP if one in CHOSEN],
)
def test_a_campaign_with_a_keep_a_discard_and_a_crash(
    name: str, over_acp: bool, models: ScriptedModels, tmp_path: Path
) -> None:
    three_edits(models)
    if not over_acp:
        for e in check_the_campaign(Night(name, models, tmp_path))[1:]:
            assert e["tokens_in"] and e["tokens_out"], e
        return
    variables, command = OVER_ACP[name]
    words = {"server": models.address, "key": "no-key", "model": "local"}
    text = f'[agents.{name}]\nkind = "acp"\ncommand = "{command}"\nenv = {[*variables]}\n'
    night = Night(name, models, tmp_path, text=text)
    night.env |= {key: filled(value, words) for key, value in variables.items()}
    check_the_campaign(night)
    log = next(night.toy.glob(".overnight/logs/*/1/agent.log")).read_text()
    assert "--- says ---" in log and "value.py" in log, "what it did can be read"


@pytest.mark.parametrize(
    ("status", "trouble"), [(401, "sign-in"), (429, "rate limit"), (500, "overload")]
)
def test_a_refusal_is_told_for_what_it_is(
    name: str, models: ScriptedModels, tmp_path: Path, status: int, trouble: str
) -> None:
    models.script = lambda _: Refuse(status)
    night = Night(name, models, tmp_path, timeout="60s")  # some go on asking for much longer
    done = night.rehearsed()
    known = {f.sentence for f in presets()[name].failures if f.trouble.value == trouble}
    assert done.returncode == 1 and any(words in done.stdout for words in known), done.stdout


def test_words_without_an_edit_are_told_and_no_failure_is_read_into_them(
    name: str, models: ScriptedModels, tmp_path: Path
) -> None:
    models.script = lambda _: Say("Which of the two? A 401 or 429 would be bad.")
    done = Night(name, models, tmp_path).rehearsed()
    assert done.returncode == 1 and "changed no editable file" in done.stdout, done.stdout
    assert "Which of the two?" in done.stdout


def test_a_model_that_hangs_is_ended_at_its_time(
    name: str, models: ScriptedModels, tmp_path: Path
) -> None:
    models.script = lambda _: Hang(300)
    done = Night(name, models, tmp_path, timeout="12s").rehearsed()
    assert done.returncode == 1 and "still working after 12 s" in done.stdout, done.stdout


def test_a_conversation_goes_on_where_the_program_keeps_one(
    name: str, models: ScriptedModels, tmp_path: Path
) -> None:
    edits = iter([("X=10", "X=5"), ("X=5", "X=4")])

    def script(ask: Ask) -> Reply:
        return Say("Done.") if ask.steps else Edit("value.py", *next(edits))

    models.script = script
    told = Night(name, models, tmp_path, session="resume").run(2)
    assert [e["verdict"] for e in told] == ["keep"] * 3
    goes_on = len(models.asks[-1].prompts) == 2
    assert goes_on == (presets()[name].session is not None)
    first, second = (int(str(e["tokens_in"])) for e in told[1:])
    assert second <= first, "what the conversation used before is not counted again"


def test_a_cap_on_tokens_ends_it(name: str, models: ScriptedModels, tmp_path: Path) -> None:
    def script(_: Ask) -> Reply:
        time.sleep(1)
        return Edit("answer.py", "X = 3", "X = 4")  # which is not there: it is asked again

    models.script = script
    night = Night(name, models, tmp_path)
    text = re.sub(r"tokens = .*\n", "", (night.toy / "arena.toml").read_text())
    (night.toy / "arena.toml").write_text(text.replace('timeout = "100s"', CAPPED))
    done = night.rehearsed()
    print(done.stdout[:300], len(models.asks), "requests")
    assert done.returncode == 1, done.stdout
    if name != "aider":  # which asks once
        assert "reached its limit for one proposal" in done.stdout, done.stdout
        assert len(models.asks) <= 40, "a request takes 1,050 tokens; every 2 s it is looked at"
