"""The real agent programs, each on a scripted model, run as their presets say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.ask import Ask
from models.programs import PROGRAMS, install, installed
from models.reply import Edit, Refuse, Reply, Say
from models.running import Place, Ran, preset, run
from models.server import ScriptedModels
from toy import git

pytestmark = pytest.mark.agents

PROMPT = 'Raise LR in train.py.\nIt\'s "quoted", `ticked`, $HOME – ü 夜'


@pytest.fixture(params=PROGRAMS)
def name(request: pytest.FixtureRequest) -> str:
    """One of the programs; skipped where it is not installed."""
    found: str = request.param
    if os.environ.get("CI_AGENTS") == "1":
        install(found)
    elif installed(found) is None:
        pytest.skip(f"{found} is not installed; `python tests/models/programs.py {found}` does it")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A worktree of a repository with one file, and an empty home."""
    origin, home = tmp_path / "origin", tmp_path / "home"
    origin.mkdir()
    home.mkdir()
    (origin / "train.py").write_text("LR = 0.1\nprint(LR)\n")
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "start")
    git(origin, "worktree", "add", "-q", str(tmp_path / "tree"))
    yield Place(tmp_path / "tree", home)


def started(
    name: str,
    models: ScriptedModels,
    place: Place,
    prompt: str = PROMPT,
    *,
    session: str = "",
    limit: float = 100,
) -> Ran:
    program = installed(name)
    assert program
    address, files = models.address, ["train.py"]
    return run(name, program, address, place, prompt, files=files, limit=limit, session=session)


def edits(ask: Ask) -> Reply:
    return Say("Done.") if ask.turns else Edit("train.py", "LR = 0.1", "LR = 0.2")


def test_it_edits_and_tells_what_it_took(name: str, place: Place) -> None:
    with ScriptedModels(edits) as models:
        ran = started(name, models, place)
    print(f"{name}: {ran.seconds:.1f} s, {ran.megabytes:.0f} MB, {ran.counts}")
    assert (place.folder / "train.py").read_text() == "LR = 0.2\nprint(LR)\n", ran.errors
    assert ran.code == 0 and ran.kind == ""
    assert PROMPT in models.asks[0].prompt
    assert git(place.folder, "status", "--short") == " M train.py\n"
    assert git(place.folder, "log", "--oneline").count("\n") == 1
    expected = {"tokens_in": 1000, "tokens_cached": 800, "tokens_out": 50}
    told = {key: value for key, value in ran.counts.items() if key != "dollars"}
    assert told == {key: expected[key] * len(models.asks) for key in told}
    assert {"tokens_in", "tokens_out"} <= set(told)


@pytest.mark.parametrize(("status", "kind"), [(401, "sign-in"), (429, "rate"), (500, "overload")])
def test_a_refusal_is_recognised(name: str, place: Place, status: int, kind: str) -> None:
    with ScriptedModels(lambda _: Refuse(status)) as models:
        ran = started(name, models, place, limit=60)  # some go on asking for much longer
    print(
        f"{name}: {status} {ran.seconds:.1f} s, exit code {ran.code}, {len(models.asks)} requests"
    )
    assert ran.kind == kind, ran.said[-2000:] + ran.errors[-2000:]


def test_words_without_an_edit_are_no_failure(name: str, place: Place) -> None:
    with ScriptedModels(lambda _: Say("I change nothing, for fear of a 401 or 429.")) as models:
        ran = started(name, models, place)
    assert ran.code == 0 and ran.kind == "", ran.said[-2000:]
    assert git(place.folder, "status", "--short") == ""


def test_a_session_goes_on(name: str, place: Place) -> None:
    if not preset(name)["options"].get("resume"):
        pytest.skip(f"{name} keeps no sessions")
    with ScriptedModels(lambda _: Say("Fine.")) as models:
        first = started(name, models, place, "The first task")
        started(name, models, place, "The second task", session=first.session)
    assert first.session
    assert [part in models.asks[-1].prompts[n] for n, part in enumerate(("first", "second"))]
