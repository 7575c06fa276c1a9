"""The installed command, as a user and as a script use it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from overnight.cli import application
from toy import ARENA, command, git, make_toy, overnight, write_patches, write_toy


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy after a campaign: a win, a discard, a crash. Tests may only look at them."""
    toy = make_toy(tmp_path_factory.mktemp("it's ein Ordner – ü") / "arena")
    folder = write_patches(toy.parent / "patches", ["X=12", "oops(", "X=5"])
    home = {"OVERNIGHT_HOME": str(toy.parent / "home")}
    finished = overnight(toy, "run", "--tag", "t", "--agent", f"patches:{folder}", env=home)
    assert finished.returncode == 0, finished.stderr
    return toy


def document(folder: Path, *words: str) -> object:
    finished = overnight(folder, *words, "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_a_run_without_a_terminal_prints_a_line_per_experiment_and_where_to_look(
    toy: Path,
) -> None:
    folder = write_patches(toy.parent / "patches", ["X=12", "X=5"])
    finished = overnight(toy, "run", "--agent", f"patches:{folder}")
    assert finished.returncode == 0
    for words in ("#0", "#1", "#2", "discard", "keep", "report.md", "overnight/", "git merge"):
        assert words in finished.stdout
    assert "\x1b" not in finished.stdout


def test_status_log_and_show_are_stable_documents(done: Path) -> None:
    status = document(done, "status")
    assert isinstance(status, dict)
    log = document(done, "log")
    guide = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    match = re.search(
        r"- `log` is(.*?): (.*?) A measurement has(.*?)\n- .*?- `status` has(.*?)\n\n", guide, re.S
    )
    assert match, "the guide says which keys there are"
    experiment, measurement, whole = (
        set(re.findall(r"`(\w+)`", part)) for part in match.groups()[1:]
    )
    assert status["experiments"] == 3 and status["running"] is None
    assert status["verdicts"]["discard"] == status["verdicts"]["crash"] == 1
    assert isinstance(log, list) and [e["n"] for e in log] == [0, 1, 2, 3]
    assert set(status) == whole and set(log[1]) == experiment
    assert set(log[1]["measurements"][0]) == measurement
    assert log[2]["verdict"] == "crash" and log[2]["score"] is None
    assert document(done, "show", "3") == log[3]


def test_every_command_that_reads_prints_words_and_leaves_the_users_repository_alone(
    done: Path,
) -> None:
    before = of_the_user(done)
    assert "5" in overnight(done, "status").stdout
    assert "crash" in overnight(done, "log").stdout
    assert "set X=5" in overnight(done, "show", "3").stdout
    assert "+X=5" in overnight(done, "diff", "3").stdout
    for page in ("plot", "report"):
        (path,) = overnight(done, page).stdout.split("\n")[:1]
        assert Path(path).stat().st_size > 100
    assert overnight(done, "steer", "slowly").returncode == 0
    assert before == of_the_user(done) == (before[0], "")


def of_the_user(toy: Path) -> tuple[str, str]:
    """The user's own part of the repository: refs, and what differs from HEAD."""
    refs = git(toy, "for-each-ref", "refs/heads/main", "refs/stash")
    return refs, git(toy, "status", "--short")


def test_a_diff_can_be_applied(done: Path, tmp_path: Path) -> None:
    patch = overnight(done, "diff", "3").stdout
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "--quiet", str(done), str(copy))
    subprocess.run(["git", "apply"], input=patch, cwd=copy, text=True, check=True)
    assert (copy / "value.py").read_text() == "X=5\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status"], 2, "no campaign yet"),
        (["run", "--agent", "nobody"], 2, "no such agent: nobody"),
        (["agents", "--check", "nobody"], 2, "overnight: no such agent: nobody"),
        (["run", "--agent", ","], 2, "name is empty; write names as in --agent claude,tuner"),
        (["run", "--agent", "patches:."], 2, "holds no diff; name a folder with *.patch"),
        (["show", "-1"], 2, "`overnight log` lists them"),
        (["skill", "foo"], 2, "expected `install` or `show`"),
        (["report", "-C", "value.py"], 2, "is not a folder; name the arena's folder with -C"),
        (["new", "nanogpt", "value.py/x"], 1, "Check its path, its permissions and the free"),
        (["run", "--tag", "../x"], 2, "cannot name a branch"),
        (["run", "--experiments", "0"], 2, "--experiments"),
        (["log", "--verdict", "good"], 2, "expected one of keep"),
        (["steer", " "], 2, "the instruction is empty"),
        (["new", "nonsense", "x"], 2, "unknown template 'nonsense'"),
        (["-C", "nowhere"], 2, "-C"),
        (["status", "-C", "nowhere"], 2, "nowhere is not a folder"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_wrong_input_is_a_sentence_and_exit_code_2(
    toy: Path, words: list[str], code: int, said: str
) -> None:
    finished = command(toy, *words)
    assert finished.returncode == code and said in finished.stderr
    assert "Traceback" not in finished.stderr


def numbers() -> Iterator[tuple[str, str, type]]:
    """Every option that takes a number: its command, its name, and whether it is an int."""
    for one in application().registered_commands:
        assert one.callback
        for name, kind in get_type_hints(one.callback).items():
            for number in {int, float} & {kind, *get_args(kind)}:
                if name != "n":
                    yield one.name or one.callback.__name__, f"--{name}", number


@pytest.mark.parametrize(("name", "option", "kind"), list(numbers()))
def test_no_number_is_infinite_undefined_or_too_large_to_be_recorded(
    done: Path, name: str, option: str, kind: type
) -> None:
    for value in ["9" * 30] if kind is int else ["nan", "inf", "-inf"]:
        needed = {"try": ["-m", "x"], "replay": ["1"]}.get(name, [])
        finished = command(done, name, *needed, option, value)
        assert finished.returncode == 2, f"{option} {value}: {finished.stdout}"
        assert option in finished.stderr


@pytest.mark.parametrize("n", ["99", str(2**63), "9" * 100])
@pytest.mark.parametrize("name", ["show", "diff", "replay"])
def test_no_such_experiment_says_which_there_are(done: Path, name: str, n: str) -> None:
    finished = command(done, name, n)
    assert finished.returncode == 2 and f"has no experiment {n}; it has 0 to 3" in finished.stderr


def test_outside_any_arena_it_says_how_to_make_one(tmp_path: Path) -> None:
    finished = overnight(tmp_path, "run")
    assert finished.returncode == 2 and "overnight new" in finished.stderr


def test_outside_any_repository_git_init_is_what_to_do(tmp_path: Path) -> None:
    finished = overnight(write_toy(tmp_path / "arena"), "run")
    assert finished.returncode == 2 and "git init" in finished.stderr


def test_a_repository_without_a_commit_says_to_commit(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "arena")
    git(toy, "init", "--quiet")
    finished = overnight(toy, "run")
    assert finished.returncode == 2 and "git commit" in finished.stderr


def test_a_detached_head_is_fine(toy: Path) -> None:
    git(toy, "checkout", "--quiet", "--detach")
    finished = overnight(toy, "run", "--experiments", "1", "--agent", "command:echo X=5 > value.py")
    assert finished.returncode == 0, finished.stderr


def test_stop_when_nothing_runs_says_so(done: Path) -> None:
    finished = overnight(done, "stop")
    assert finished.returncode == 2 and "not running, so there is nothing" in finished.stderr


def test_a_file_in_the_place_of_the_record_is_to_be_moved_away(toy: Path) -> None:
    (toy / ".overnight").write_text("")
    for words in ("run", "status", "note hi", "brief", "report", "doctor"):
        finished = command(toy, *words.split())
        assert finished.returncode == 2 and ".overnight is not a folder" in finished.stderr
        assert "move the file away" in finished.stderr


def test_without_git_it_is_to_be_installed(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("sh", "python3"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    finished = command(toy, "run")
    assert finished.returncode == 2 and "install git 2.34 or newer" in finished.stderr


KARPATHY_TRAIN = '''"""Trains, and says how well."""
from prepare import TIME_BUDGET, shard

LR = 0.5  # 0.01..10 log

if __name__ == "__main__":
    assert shard() == "text", "prepared once, read by every run"
    print("step 00001 | loss: 5.1\\rstep 00002 | loss: 4.2")
    print("---")
    print(f"val_bpb:          {1 + (LR - 0.05) ** 2:.6f}")
    print(f"training_seconds: {TIME_BUDGET}")
    print("peak_vram_mb:     45060.2")
'''


KARPATHY_PREPARE = '''"""Prepares."""
import os

TIME_BUDGET = 3
CACHE_DIR = os.path.join(os.path.expanduser("~"), ".cache", "autoresearch")

def shard():
    with open(os.path.join(CACHE_DIR, "shard")) as file:
        return file.read()

if __name__ == "__main__":
    os.makedirs(CACHE_DIR, exist_ok=True)
    with open(os.path.join(CACHE_DIR, "shard"), "w") as file:
        file.write("text")
'''
UV_PROJECT = '[project]\nname = "autoresearch"\nversion = "0.1"\nrequires-python = ">=3.11"\n'


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
def test_a_repository_of_karpathys_shape_runs_unmodified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    repo = tmp_path / "autoresearch"
    repo.mkdir()
    (repo / "program.md").write_text("# autoresearch\nLowest val_bpb wins.\n")
    (repo / "prepare.py").write_text(KARPATHY_PREPARE)
    (repo / "train.py").write_text(KARPATHY_TRAIN)
    (repo / "pyproject.toml").write_text(UV_PROJECT)
    (repo / ".gitignore").write_text(".venv\n__pycache__/\n")
    subprocess.run(["uv", "lock", "--offline", "--quiet"], cwd=repo, check=True)
    git(repo, "init", "--quiet", "--initial-branch=main")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "as it is")
    assert overnight(repo, "init").returncode == 0
    text = (repo / "arena.toml").read_text()
    assert 'budget = "6s"' in text and 'name = "val_bpb"' in text and "[score]" in text
    assert 'command = "uv run train.py"' in text
    assert 'data = [".venv", "~/.cache/autoresearch"]' in text
    assert (repo / "program.md").read_text().startswith("# autoresearch")
    (repo / "arena.toml").write_text(text.replace("[run]\n", f'[run]\nsandbox = "{sandbox}"\n'))
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "An arena")
    finished = overnight(repo, "run", "--experiments", "5", "--tag", "t")
    assert finished.returncode == 0, finished.stderr
    assert "self-reported" in finished.stdout
    log = document(repo, "log")
    assert isinstance(log, list) and len(log) == 6
    assert log[0]["score"] == 1.2025 and log[0]["measurements"][0]["reported"]["peak_vram_mb"]
    wins = [e for e in log[1:] if e["verdict"] == "keep"]
    assert wins and wins[-1]["score"] < 1.2025
    assert git(repo, "diff", "--name-only", "main", "overnight/t").split() == ["train.py"]
    log_of = repo / ".overnight" / log[1]["measurements"][0]["log"] / "run.log"
    assert "Creating virtual environment" not in log_of.read_text(), "one for all, not one each"
    assert (repo / ".venv" / "pyvenv.cfg").exists()


def test_init_says_what_it_cannot_guess_and_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('loss: 1')\n")
    finished = overnight(tmp_path, "init", "--metric", "loss")
    assert finished.returncode == 2
    assert all(word in finished.stderr for word in ("--run", "--direction", "--editable"))
    (tmp_path / "arena.toml").write_text(ARENA)
    finished = overnight(tmp_path, "init")
    assert finished.returncode == 2 and "exists already" in finished.stderr


def test_a_ledger_at_a_relative_path_is_the_arenas_wherever_the_command_is_given(
    tmp_path: Path,
) -> None:
    toy = make_toy(tmp_path / "arena", 'ledger = "sqlite:///record/all.db"\n' + ARENA)
    folder, elsewhere = write_patches(tmp_path / "patches", ["X=5"]), tmp_path / "elsewhere"
    elsewhere.mkdir()
    finished = overnight(elsewhere, "run", "-C", str(toy), "--agent", f"patches:{folder}")
    assert finished.returncode == 0, finished.stderr
    assert (toy / "record" / "all.db").exists() and not list(elsewhere.iterdir())
    status = document(toy, "status")
    assert isinstance(status, dict) and status["experiments"] == 1


def test_try_warns_of_a_hidden_path_that_is_not_there(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", ARENA.replace("[metric]", 'hidden = ["anwsers"]\n[metric]'))
    (toy / "value.py").write_text("X=6\n")
    assert "hidden: anwsers is not there" in overnight(toy, "try", "-m", "less").stderr


def test_try_warns_that_the_contract_has_changed(toy: Path) -> None:
    overnight(toy, "try", "-m", "nothing")
    text = (toy / "arena.toml").read_text()
    (toy / "arena.toml").write_text(text.replace("minimize", "maximize"))
    (toy / "value.py").write_text("X=6\n")
    done = overnight(toy, "try", "-m", "less")
    assert done.returncode == 0 and "note: arena.toml has changed" in done.stderr


def test_a_template_says_what_it_needs_and_is_not_there(tmp_path: Path) -> None:
    told = tmp_path / "site" / "overnight-9.dist-info" / "METADATA"
    told.parent.mkdir(parents=True)
    told.write_text("Name: overnight\nVersion: 9\nRequires-Dist: nonesuch>=2; extra == 'nanogpt'\n")
    env = {"PYTHONPATH": str(tmp_path / "site")}
    done = overnight(tmp_path, "new", "nanogpt", "here", env=env)
    assert done.returncode == 0 and "not installed: nonesuch; pip install" in done.stderr
    assert overnight(tmp_path, "new", "nanogpt", "there").stderr == ""


def test_a_branch_that_is_checked_out_is_not_claimed_to_hold_the_wins(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena")
    overnight(toy, "run", "--tag", "t", "--agent", "command:true", "--experiments", "1")
    git(toy, "switch", "--quiet", "overnight/t")
    folder = write_patches(tmp_path / "patches", ["X=5"])
    done = overnight(toy, "run", "--tag", "t", "--agent", f"patches:{folder}")
    kept = json.loads(overnight(toy, "status", "--json").stdout)["incumbent"]["candidate"][:10]
    assert git(toy, "rev-parse", "overnight/t") == git(toy, "rev-parse", "main")
    for said in (done.stdout, (toy / ".overnight" / "report.md").read_text()):
        assert f"git merge {kept}" in said and "git merge overnight/t" not in said
    git(toy, "merge", "--quiet", kept)
    assert (toy / "value.py").read_text() == "X=5\n"


def test_two_arenas_of_a_repository_that_start_at_once_have_a_branch_each(tmp_path: Path) -> None:
    top = make_toy(tmp_path / "arena")
    write_toy(top / "sub")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "another arena")
    folder = write_patches(tmp_path / "patches", ["X=5"])
    words = ["overnight", "run", "--experiments", "1", "--agent", f"patches:{folder}"]
    both = [
        subprocess.Popen([*words, "-C", where], cwd=top, stdout=subprocess.PIPE, text=True)
        for where in (".", "sub")
    ]
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "note:" not in said, said
    branches = git(top, "branch", "--format=%(refname:short)", "--list", "overnight/*").split()
    assert len(branches) == 2 and branches[1] == f"{branches[0]}-2"
    changed = {git(top, "diff", "--name-only", "main", branch).strip() for branch in branches}
    assert changed == {"value.py", "sub/value.py"}


def test_a_terminal_without_a_character_shows_another(done: Path) -> None:
    for words in (["status"], ["log"], ["show", "3"], ["report"]):
        shown = overnight(done, *words, env={"PYTHONIOENCODING": "ascii"})
        assert "Traceback" not in shown.stderr and shown.returncode == 0, shown.stderr


def test_two_runs_that_start_at_once_in_one_arena_are_one_campaign(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "arena", run="sleep 1\n")
    words = ["overnight", "run", "--experiments", "1", "--agent", "command:true"]
    both = [
        subprocess.Popen(words, cwd=toy, stdout=-1, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120)[1] for process in both]
    assert sum("is already running, in process" in words for words in told) == 1, told
    assert len(git(toy, "branch", "--list", "overnight/*").split()) == 1
