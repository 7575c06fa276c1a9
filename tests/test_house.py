"""The house: layers, sizes, cycles, configuration that is read, docs that are true."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from overnight.arena import settings as tables_module
from overnight.arena.arena import Arena

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "overnight"
FILES = sorted(
    f
    for f in SOURCE.rglob("*.py")
    if not (f.parent.parent.parent.name == "templates" or "attacks" in f.parts)
    and f.parent.parent.name != "templates"
)
OTHERS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])

# Every module may import only from layers above its own, or to its left within it.
LAYERS = [
    "core.interrupts core.experiment core.errors core.quantity core.spending",
    "insights.wall_time insights.track_record core.sections",
    "arena.settings arena.commandline arena.arena record.schema record.rows record.database",
    "record.ledger",
    "judge.quantiles judge.noise judge.kalman judge.evidence judge.odds judge.trials",
    "judge.base judge.confirm",
    "judge.rules judge.prune insights.pruning_savings record.history repo.commit_message",
    "insights.failures record.lock",
    "sandbox.base sandbox.filter stage.confine sandbox.runtime sandbox.bubblewrap",
    "sandbox.landlock sandbox.seatbelt sandbox.named",
    "stage.processes stage.disk stage.log core.text stage.secrets stage.supervisor stage.stage",
    "repo.git repo.private_git repo.refs repo.user_repository repo.acceptance record.notes",
    "repo.workspace",
    "measure.gpus measure.artefacts measure.score measure.progress measure.reach",
    "measure.measurement measure.setup executors.base executors.local",
    "change.simplicity change.seeds campaign.state campaign.same_program",
    "exchange referee",
    "agents.base agents.tuner.constants agents.tuner.gaussian_process agents.tuner.tpe",
    "agents.tuner.agent",
    "agents.llm.keys agents.programs.idea_file agents.programs.stage agents.acp.files",
    "agents.acp.permits agents.acp.transcript agents.programs.conversation",
    "agents.acp.wire agents.acp.client agents.acp.session agents.acp.agent",
    "agents.programs.command agents.patches agents.person search.portfolio",
    "agents.llm.troubles agents.llm.litellm_setup agents.programs.output",
    "agents.programs.preset agents.programs.access agents.programs.usage_watch",
    "agents.programs.coding agents.llm.edits agents.llm.model agents.llm.agent",
    "agents.named agents.roster campaign.results_tsv campaign.limits campaign.opening",
    "campaign.judge_input briefing.contract briefing.brief campaign.measurements",
    "campaign.confirmation judge.head_to_head",
    "campaign.attempt campaign.exams campaign.replay campaign.ablation campaign.loop",
    "doctor.rehearsal",
    "doctor.attack doctor.doctor doctor.readiness doctor.printout",
    "templates.make",
    "insights.overfitting views.summary views.forecast views.preflight views.documents",
    "views.plots views.report views.experiment_text views.live",
    "views.reader views.power views.power_plot",
    "connect.try_change connect.skill connect.tools connect.mcp",
    "commands.base",
    "commands.agents commands.driving commands.measuring commands.looking commands.steering",
    "commands.connecting",
    "cli",
    "__main__",
]
PACKAGES = {"__version__", "campaign", "core"}
ORDER = {name: place for place, name in enumerate(" ".join(LAYERS).split())}


def module_name(file: Path) -> str:
    top = SOURCE if file.is_relative_to(SOURCE) else ROOT
    return ".".join(file.relative_to(top).with_suffix("").parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("overnight"):
            inner = (node.module or "").removeprefix("overnight").removeprefix(".")
            yield from [inner] if inner else (alias.name for alias in node.names)


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", [f for f in FILES if f.name != "__init__.py"], ids=module_name)
def test_dependencies_point_one_way(file: Path) -> None:
    name = module_name(file)
    assert name in ORDER, f"{name} has no place in the layers"
    for other in imported(file):
        if other in ORDER:
            assert ORDER[other] < ORDER[name], f"{name} imports {other}, which stands below it"
        else:
            assert other in PACKAGES, f"{name} imports {other}, which has no layer"


def test_every_layer_names_modules_that_exist() -> None:
    assert set(ORDER) == {module_name(f) for f in FILES if f.name != "__init__.py"}


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=module_name)
def test_no_file_has_more_than_400_lines_and_the_first_says_what_it_is(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400
    assert ast.get_docstring(tree(file)), f"{file} does not say what it is"


def test_functions_are_short_and_take_few_parameters() -> None:
    lengths = []
    for file in FILES:
        for function in functions(file):
            assert function.end_lineno is not None
            length = function.end_lineno - function.lineno + 1
            lengths.append(length)
            assert length <= 50, f"{file.name}: {function.name} has {length} lines"
            arguments = [*function.args.args, *function.args.kwonlyargs]
            taken = [a for a in arguments if a.arg not in ("self", "cls")]
            # A command's are its options, each with words of its own.
            most = 12 if file.parent.name == "commands" else 8
            assert len(taken) <= most, f"{file.name}: {function.name} takes {len(taken)} parameters"
    assert statistics.median(lengths) <= 10
    assert sorted(lengths)[int(len(lengths) * 0.9)] <= 30


def test_the_loop_is_readable_on_one_screen() -> None:
    (loop,) = [f for f in functions(SOURCE / "campaign" / "loop.py") if f.name == "run"]
    body = [line for line in ast.unparse(loop).splitlines() if '"""' not in line]
    assert len(body) <= 30


def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for other in vars(tables_module).values():
        if (
            isinstance(other, type)
            and issubclass(other, tables_module.Table)
            and other is not model
        ):
            yield other


def test_every_configuration_field_is_read_somewhere() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    for table in set(tables(Arena)):
        for field in table.model_fields:
            uses = re.findall(rf"\.{field}\b", text)
            assert uses, f"{table.__name__}.{field} is never read"


def test_no_broad_except_without_a_reason() -> None:
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(r"except( Exception| BaseException)?:", line):
                assert "#" in line or "raise" in file.read_text().splitlines()[number + 1], (
                    f"{file.name}:{number} catches everything and does not say why"
                )


def test_only_one_file_calls_git() -> None:
    for file in FILES:
        if file.name not in ("git.py",):
            assert not re.search(r"[\"']git[\"'],", file.read_text()), f"{file.name} calls git"


def test_importing_overnight_loads_nothing_heavy() -> None:
    code = "import sys, overnight; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"sqlalchemy", "pydantic", "matplotlib", "optuna", "typer", "rich"} & set(loaded)


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_tree_in_the_readme_is_the_tree() -> None:
    block = re.search(r"```\nsrc/overnight/\n(.*?)```", readme(), re.DOTALL)
    assert block, "the README has no tree of src/overnight"
    named = set(re.findall(r"^  ([\w./]+)", block[1], re.MULTILINE))
    have = {f.name for f in SOURCE.glob("*.py") if not f.name.startswith("__")}
    have |= {f"{f.name}/" for f in SOURCE.iterdir() if f.is_dir() and f.name != "__pycache__"}
    assert named == have


def test_the_commands_page_shows_the_help_of_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    shown = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "write_commands.py"), "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert page == shown, "docs/commands.md is old: run python docs/write_commands.py"


def test_every_command_has_an_example_in_its_help() -> None:
    from overnight.cli import application

    for command in application().registered_commands:
        assert command.epilog and command.epilog.startswith("Example: overnight ")
