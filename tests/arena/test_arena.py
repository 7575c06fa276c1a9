"""arena.toml: what is accepted, and what every mistake is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overnight.arena.arena import Arena
from overnight.core.errors import ArenaError

GOOD = """
name = "toy"
editable = ["train.py", "src/**/*.py"]

[metric]
name = "loss"
direction = "minimize"

[run]
command = "python train.py"
budget = "1m30s"

[score]
command = "python score.py"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "ein Ordner – ü"
    root.mkdir()
    (root / "arena.toml").write_text(GOOD)
    for name in ("program.md", "train.py", "score.py"):
        (root / name).write_text("")
    return root


def mistakes(folder: Path, text: str) -> str:
    (folder / "arena.toml").write_text(text)
    with pytest.raises(ArenaError) as caught:
        Arena.load(folder)
    return str(caught.value)


def test_a_good_arena_is_read_with_its_units_and_defaults(folder: Path) -> None:
    arena = Arena.load(folder)
    assert arena.run.budget == 90.0
    assert arena.score is not None and arena.score.timeout == 120.0
    assert arena.judge.rule == "confirm" and arena.judge.false_keep == 0.05
    assert arena.metric.orient(2.0) == -2.0


@pytest.mark.parametrize(
    "command",
    [
        "f () { python train.py; }; f",
        "PATH=$HOME/tools:$PATH my-trainer",
        "PATH=/x:$PATH\\nmy-trainer",
        "X=$(git rev-parse HEAD) python train.py",
        "X=$((1 + 2)) python train.py",
        "my-trainer || python train.py",
        "./train.py --fast",
        "cd src && python bowl.py",
        "python train.py > out.py",
        "python train.py --dump result.py",
        "python train.py gen.py && python gen.py",
    ],
)
def test_what_the_shell_alone_can_tell_is_left_to_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "arena.toml").write_text(GOOD.replace("python train.py", command))
    assert Arena.load(folder).run.command == command.replace("\\n", "\n")


def test_a_program_that_path_finds_from_the_folder_is_left_to_the_shell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"node_modules/.bin:{os.environ['PATH']}")
    (folder / "arena.toml").write_text(GOOD.replace("python train.py", "my-trainer"))
    assert Arena.load(folder).run.command == "my-trainer"


def test_a_file_may_have_a_bracket_in_its_name(folder: Path) -> None:
    (folder / "[id].py").write_text("")
    (folder / "arena.toml").write_text(GOOD.replace('"train.py"', '"[id].py"'))
    assert list(Arena.load(folder).editable_files()) == ["[id].py"]


def test_an_arena_is_frozen(folder: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        Arena.load(folder).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('direction = "minimize"', "", ["metric.direction", "missing", "maximize"]),
        ('direction = "minimize"', 'direction = "down"', ["found 'down'; expected 'minimize' or"]),
        ('budget = "1m30s"', 'budget = "90"', ["run.budget", "'90'", "5m"]),
        ('budget = "1m30s"', "budget = 90", ["run.budget", "90", "unit"]),
        ('budget = "1m30s"', 'budget = "1m 30 parsecs"', ["run.budget", "parsecs"]),
        ('budget = "1m30s"', 'budget = "0s"', ["run.budget", "above zero"]),
        ('budget = "1m30s"', 'budgte = "5m"', ["run.budgte", "did you mean `budget`"]),
        ('budget = "1m30s"', "", ["run.budget", "missing"]),
        ('name = "toy"', 'name = "../toy"', ["name", "'../toy'"]),
        ('["train.py", "src/**/*.py"]', "[]", ["editable: is empty", "train.py"]),
        ('["train.py", "src/**/*.py"]', '["../train.py"]', ["editable", "leaves the arena"]),
        ('["train.py", "src/**/*.py"]', '["/etc/*"]', ["editable", "leaves the arena"]),
        ('["train.py", "src/**/*.py"]', '["a/../../b"]', ["editable", "leaves the arena"]),
        ('["train.py", "src/**/*.py"]', '["."]', ['"." names no file', "such as"]),
        ('["train.py", "src/**/*.py"]', '["./"]', ['"./" names no file', "such as"]),
        ('["train.py", "src/**/*.py"]', '[""]', ['"" names no file', "such as"]),
        ('["train.py", "src/**/*.py"]', '["train.{py,c}"]', ['"train.{py,c}" matches no', "know"]),
        ('["train.py", "src/**/*.py"]', '["*.py", "[ab].py"]', ['"[ab].py" matches no', "know"]),
        ('["train.py", "src/**/*.py"]', '["**"]', ["arena.toml", "protected"]),
        ('["train.py", "src/**/*.py"]', '["*.md", "train.py"]', ["program.md", "protected"]),
        ('["train.py", "src/**/*.py"]', '["*.py"]', ["score.py", "score.command", "protected"]),
        ('["train.py", "src/**/*.py"]', '[".overnight/*"]', ["reaches into .overnight"]),
        ('["train.py", "src/**/*.py"]', '["x/.git/hooks/*"]', ["no experiment may touch"]),
        ('["train.py", "src/**/*.py"]', '["nothing.py"]', ["no file of the arena matches"]),
        ('"python train.py"', '"pythn0 train.py"', ["run.command", "pythn0", "PATH"]),
        ('"python train.py"', '"X=1 pythn0 train.py"', ["run.command", "`pythn0`", "PATH"]),
        ('"python train.py"', '"./train"', ["run.command", "`./train`, which is not a file"]),
        ('"python train.py"', '"X=1"', ["run.command", "names no program"]),
        ('"python train.py"', '"python tarin.py"', ["run.command", "tarin.py", "missing"]),
        ('"python score.py"', '"python score.py \'"', ["score.command", "not a command line"]),
        ("[run]", '[judge]\nrule = "luck"\n[run]', ["judge.rule", "luck", "greedy"]),
        ("[run]", '[run]\nmemory = "8 apples"', ["run.memory", "8 apples", "8GB"]),
        ("[run]", '[run]\nnetwork = "yes"', ["run.network", "'yes'"]),
        ("[run]", "[constraints]\nx = { mx = 1 }\n[run]", ["constraints.x.mx", "max"]),
        ("[run]", "[metrics]\n[run]", ["metrics", "did you mean `metric`"]),
        ("[run]", "[run", ["not valid TOML", "line", "; correct that place"]),
        ("[score]", "[run]", ["twice (at ", "; correct that place"]),
        ('score.py"', "score.py", ["not valid TOML", "; correct that place"]),
        ('"python score.py"', '"""', ["end of document); correct", "what an earlier line opens"]),
        (
            '["train.py", "src/**/*.py"]',
            "[3]",
            ["toml: editable.0: found 3; expected text in"],
        ),
        ('["train.py", "src/**/*.py"]', '"*.py"', ["found '*.py'; expected a list, such as"]),
        ("[metric]", 'hidden = ["src/x.py"]\n[metric]', ["hidden", "src/x.py", "is editable"]),
        ("[run]", '[run]\nsandbox = "jail"', ["run.sandbox", "jail", "landlock"]),
        ("[run]", "[run]\ngpus = -1", ["run.gpus: found -1; expected a number gr"]),
        ("[run]", "[run]\nprocesses = 0", ["run.processes", "0"]),
        ("[metric]", "[metric]\nbest_possible = nan", ["metric.best_possible", "nan"]),
        ("[metric]", "[metric]\nmin_gain = nan", ["metric.min_gain"]),
        ("[metric]", "[metric]\nmin_gain = -1.0", ["metric.min_gain"]),
        (
            "editable",
            "judge = 3\neditable",
            ["judge: found 3", "a table: [judge]", "some of: rule"],
        ),
        ("editable", "checks = 3\neditable", ["checks: found 3", "a table: [checks]", "a name on"]),
        ("[run]", '[checks]\n"unit/fast" = "true"\n[run]', ['checks: "unit/fast"', "letters"]),
        ("[run]", '[checks]\n"../../x" = "true"\n[run]', ['checks: "../../x" cannot', "letters"]),
        ("[run]", "[agents]\nx = 3\n[run]", ["agents.x: found 3", "[agents.x]", "command"]),
    ],
)
def test_every_mistake_names_the_file_the_key_and_what_to_do(
    folder: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in GOOD
    message = mistakes(folder, GOOD.replace(old, new, 1))
    for word in [str(folder / "arena.toml"), *words]:
        assert word in message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("judge]\ngain = 0.5", ["judge.gain", '"confirm"', '"threshold"', "metric.min_gain"]),
        ("judge]\nrepeats = 1", ["judge.repeats", '"confirm"', "remove it"]),
        ('judge]\nrule = "greedy"\ngain = 0.1', ["judge.gain", '"greedy"', "metric.min_gain"]),
        ('judge]\nrule = "greedy"\nrepeats = 3', ["judge.repeats", '"greedy"', '"threshold"']),
        ('judge]\nrule = "greedy"\nfalse_keep = 0.05', ["judge.false_keep", 'only with "confirm"']),
        ('judge]\nrule = "threshold"\nmax_repeats = 9', ["judge.max_repeats", '"threshold"']),
        ('judge]\nrule = "threshold"\nbaseline = 5', ["judge.baseline", 'only with "confirm"']),
        ('judge]\nrule = "threshold"\nmargin = 1.0', ["judge.margin", 'only with "confirm"']),
        ('judge]\nrule = "greedy"\nsimplify = true', ["judge.simplify", 'only with "confirm"']),
        ("judge]\nsimplify = false\nmargin = 1.0", ["judge.margin", "simplify = false"]),
        ("constraints]\nx = {}", ["constraints.x", "bounds nothing", "min, max or soft"]),
        ("constraints]\nx = { max = 1, cost = 2 }", ["constraints.x", "cost", "without soft"]),
        ("constraints]\nx = { soft = 3, max = 3 }", ["constraints.x", "never costs", "max = 3"]),
        ("constraints]\nx = { min = 3, max = 2 }", ["constraints.x", "min = 3", "max = 2"]),
    ],
)
def test_a_setting_that_could_have_no_effect_is_a_mistake(
    folder: Path, table: str, words: list[str]
) -> None:
    message = mistakes(folder, f"{GOOD}\n[{table}\n")
    for word in [str(folder / "arena.toml"), *words]:
        assert word in message


def test_a_threshold_below_the_least_gain_of_every_rule_is_a_mistake(folder: Path) -> None:
    least = GOOD.replace("[metric]", "[metric]\nmin_gain = 0.5", 1)
    message = mistakes(folder, f'{least}\n[judge]\nrule = "threshold"\ngain = 0.1\n')
    assert "judge.gain: 0.1 has no effect below metric.min_gain = 0.5" in message


@pytest.mark.parametrize(
    "table",
    [
        "judge]\nfalse_keep = 0.1\nmax_repeats = 9\nbaseline = 3\nsimplify = true\nmargin = 1.0",
        'judge]\nrule = "threshold"\ngain = 0.5\nrepeats = 2\nfixed_seeds = true',
        "constraints]\nx = { min = 2, max = 2 }\ny = { soft = 1, cost = 2, max = 2 }",
    ],
)
def test_a_setting_that_its_rule_reads_is_none(folder: Path, table: str) -> None:
    (folder / "arena.toml").write_text(f"{GOOD}\n[{table}\n")
    Arena.load(folder)


def test_text_in_another_encoding_is_told_with_its_line(folder: Path) -> None:
    (folder / "arena.toml").write_bytes(GOOD.encode() + "# Größe".encode("latin-1"))
    with pytest.raises(ArenaError, match=r"byte 0xf6 in line 15; .* save the file as UTF-8"):
        Arena.load(folder)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = GOOD.replace('"1m30s"', '"soon"').replace('direction = "minimize"', "")
    message = mistakes(folder, text)
    assert "2 mistakes" in message and "run.budget" in message and "metric.direction" in message


def test_a_missing_program_md_is_told(folder: Path) -> None:
    (folder / "program.md").unlink()
    assert "program.md is missing" in mistakes(folder, GOOD)


def test_an_arena_is_found_from_a_folder_below_it(folder: Path) -> None:
    below = folder / "src" / "deep"
    below.mkdir(parents=True)
    assert Arena.find(below) == folder


def test_no_arena_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=r"overnight init.*overnight new"):
        Arena.find(tmp_path)


@pytest.mark.parametrize(
    ("path", "editable"),
    [
        ("train.py", True),
        ("src/a.py", True),
        ("src/deep/er/a.py", True),
        ("src/a.txt", False),
        ("xtrain.py", False),
        ("train.py/x", False),
        ("train.py\n", False),
        ("other/train.py", False),
        ("arena.toml", False),
    ],
)
def test_globs_match_as_people_expect(folder: Path, path: str, editable: bool) -> None:
    assert Arena.load(folder).is_editable(path) is editable


def test_a_module_run_by_the_scorer_is_protected_too(folder: Path) -> None:
    (folder / "referee").mkdir()
    (folder / "referee" / "__main__.py").write_text("")
    text = GOOD.replace("python score.py", "python -m referee").replace(
        '"src/**/*.py"', '"referee/**"'
    )
    assert "referee/__main__.py, which score.command runs" in mistakes(folder, text)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("python '{folder}/train.py'", "train.py"),
        ("python src/../train.py", "train.py"),
        ("cd src && python ../train.py", "train.py"),
        ("cd src; python a.py", "src/a.py"),
        ("(cd src && python -m a)", "src/a.py"),
        ("python linked.py", "train.py"),
        ("python 'src/a b.py'", "src/a b.py"),
        ("true && python train.py", "train.py"),
        ("cd data && python train.py", None),
        ("python score.py --dump new.py", None),
    ],
)
def test_an_editable_file_prepares_and_scores_nothing_however_it_is_named(
    folder: Path, command: str, told: str | None
) -> None:
    for name in ("src", "data"):
        (folder / name).mkdir()
    for path in ("src/a.py", "src/a b.py", "data/train.py"):
        (folder / path).write_text("")
    (folder / "linked.py").symlink_to("train.py")
    text = GOOD.replace("src/**/*.py", "src/**", 1)
    text = text.replace("python score.py", command.format(folder=folder))
    if told:
        message = mistakes(folder, text)
        assert f"match {told}, which score.command runs; it must stay protected" in message
    else:
        (folder / "arena.toml").write_text(text)
        Arena.load(folder)
