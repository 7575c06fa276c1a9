"""The real agent programs on a scripted model: whole campaigns, and how each fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models.ask import Ask
from models.programs import PROGRAMS, install, installed
from models.reply import Edit, Refuse, Reply, Say
from models.server import ScriptedModels
from overnight.agents.preset import presets
from toy import ARENA, git, make_toy, overnight

pytestmark = pytest.mark.agents

CRASH = "X=666"
RUN = """. ./value.py
test "$X" != 666 || exit 3
cp value.py "$OVERNIGHT_OUT/value"
"""
TABLE = """
[agents.{name}]
url = "{url}"
timeout = "{timeout}"
session = "{session}"
"""


@pytest.fixture(params=PROGRAMS)
def name(request: pytest.FixtureRequest) -> str:
    """One of the programs; skipped where it is not installed."""
    found: str = request.param
    if found in os.environ.get("OVERNIGHT_TEST_PROGRAMS", "").split(","):
        install(found)
    elif installed(found) is None:
        pytest.skip(f"{found} is not installed; `python tests/models/programs.py {found}` does it")
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
        assert program
        (folder / "home").mkdir()
        self.env = {"HOME": str(folder / "home"), "PATH": f"{program.parent}:{os.environ['PATH']}"}
        given = {"timeout": "100s", "session": "fresh", **table}
        text = ARENA + TABLE.format(name=name, url=models.address, **given)
        self.toy = make_toy(folder / "arena", text, run=RUN)

    def run(self, experiments: int) -> list[Mapping[str, object]]:
        """What the ledger says after the campaign, the baseline first."""
        words = ("run", "--agent", self.name, "--experiments", str(experiments))
        done = overnight(self.toy, *words, env=self.env, timeout=500)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        logs = [*self.toy.glob(".overnight/logs/*/*/agent.log")]
        print(done.stdout[-3000:], done.stderr[-2000:], *(log.read_text()[-1500:] for log in logs))
        listed = json.loads(overnight(self.toy, "log", "--json").stdout)
        return sorted(listed, key=lambda e: int(e["n"]))


def test_a_campaign_with_a_keep_a_discard_and_a_crash(
    name: str, models: ScriptedModels, tmp_path: Path
) -> None:
    edits = iter([("X=10", "X=5"), ("X=5", "X=90"), ("X=5", CRASH)])

    def script(ask: Ask) -> Reply:
        return Say("Done.") if ask.turns else Edit("value.py", *next(edits))

    models.script = script
    night = Night(name, models, tmp_path)
    told = night.run(3)
    assert [e["verdict"] for e in told] == ["keep", "keep", "discard", "crash"]
    assert [e["agent"] for e in told[1:]] == [name] * 3
    branch = git(night.toy, "for-each-ref", "--format=%(refname:short)", "refs/heads/overnight")
    assert git(night.toy, "show", f"{branch.strip()}:value.py") == "X=5\n"
    assert git(night.toy, "status", "--short") == "", "the person's own checkout"
    for e in told[1:]:
        assert e["tokens_in"] and e["tokens_out"], e
    asked = models.asks[0]
    assert "program.md" in asked.prompt or "Strategy" in asked.prompt


@pytest.mark.parametrize(
    ("status", "trouble"), [(401, "sign-in"), (429, "rate limit"), (500, "overload")]
)
def test_a_refusal_is_told_for_what_it_is(
    name: str, models: ScriptedModels, tmp_path: Path, status: int, trouble: str
) -> None:
    models.script = lambda _: Refuse(status)
    night = Night(name, models, tmp_path, timeout="60s")  # some go on asking for much longer
    words = ("run", "--agent", name, "--experiments", "1", "--hours", "0.02")
    done = overnight(night.toy, *words, env=night.env, timeout=500)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    words = {f.words for f in presets()[name].failures if f.trouble.value == trouble}.pop()
    events = overnight(night.toy, "events", "--json")
    assert words in done.stdout + events.stdout, done.stdout
