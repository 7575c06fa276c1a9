"""The house: layers, sizes, cycles, configuration that is read, docs that are true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from overnight.arena import settings
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

FLOORS = [
    *("core", "arena", "sandbox", "repo", "record", "stage", "judge", "change", "measure"),
    *("executors", "insights", "agents", "templates", "search", "briefing", "campaign"),
    *("doctor", "views", "connect", "commands"),
]
"""The rooms from the ground up: none imports one above it."""
PUBLIC = {"__init__", "__main__", "cli", "exchange", "referee"}
"""Files that stand beside the rooms: the front door, and two addresses that arenas import."""


def module_name(file: Path) -> str:
    top = SOURCE if file.is_relative_to(SOURCE) else ROOT
    return ".".join(file.relative_to(top).with_suffix("").parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> set[str]:
    """The modules of overnight that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("overnight."):
            inner = (node.module or "").removeprefix("overnight.")
            folder = SOURCE.joinpath(*inner.split("."))
            names = (f"{inner}.{a.name}" for a in node.names) if folder.is_dir() else ()
            found |= {*names} or {inner}
    return found


@pytest.mark.parametrize("room", FLOORS)
def test_no_room_imports_one_above_it(room: str) -> None:
    for file in (f for f in FILES if f.relative_to(SOURCE).parts[0] == room):
        for other in imported(file):
            above = other.split(".")[0]
            assert above in FLOORS, f"{module_name(file)} imports {other}, which is no room"
            assert FLOORS.index(above) <= FLOORS.index(room), (
                f"{module_name(file)} imports {other}, which is on a floor above"
            )


def test_every_room_has_a_floor_and_says_what_it_is_for() -> None:
    rooms = {f.name for f in SOURCE.iterdir() if f.is_dir() and f.name != "__pycache__"}
    assert rooms == set(FLOORS)
    assert {f.stem for f in SOURCE.glob("*.py")} == PUBLIC
    for room in rooms:
        words = ast.get_docstring(tree(SOURCE / room / "__init__.py")) or ""
        assert re.search(r"\bimports?\b", words), f"{room} does not say what it may import"


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_name(file): imported(file) for file in FILES}
    for _ in range(len(modules)):
        free = {name for name, others in modules.items() if not others & modules.keys()}
        modules = {name: others for name, others in modules.items() if name not in free}
        if not free:
            break
    assert not modules, f"these are in a circle, or above one: {', '.join(sorted(modules))}"


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=module_name)
def test_the_first_line_of_a_file_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(tree(file)), f"{file} does not say what it is"


def test_the_loop_is_readable_on_one_screen() -> None:
    (loop,) = [f for f in functions(SOURCE / "campaign" / "loop.py") if f.name == "run"]
    body = [line for line in ast.unparse(loop).splitlines() if '"""' not in line]
    assert len(body) <= 25


TESTED = {
    "agents/test_acp.py": {
        "test_a_table_leads_to_the_agent_or_says_what_is_missing": "AgentTable.kind",
        "test_the_model_is_chosen_where_the_agent_offers_it": "AgentTable.model",
        "test_a_conversation_continues_until_a_failure": "AgentTable.session",
        "test_an_agent_is_ended_at_its_limits_and_at_those_of_the_campaign": (
            "AgentTable.tokens AgentTable.dollars"
        ),
    },
    "agents/test_agent_table.py": {
        "test_a_program_gets_what_its_table_grants": (
            "Arena.agents AgentTable.command AgentTable.brief AgentTable.network "
            "AgentTable.env AgentTable.data"
        ),
    },
    "agents/test_llm.py": {
        "test_a_server_of_ones_own_gets_plain_text_and_no_providers_key": "AgentTable.url",
    },
    "agents/test_access.py": {
        "test_what_is_missing_is_told_in_the_list_and_when_it_is_named": "AgentTable.preset",
    },
    "arena/test_arena.py": {
        "test_globs_match_as_people_expect": "Arena.editable",
    },
    "arena/test_settings.py": {
        "test_arenas_share_a_ledger_and_are_told_apart_by_their_names": "Arena.name Arena.ledger",
        "test_soft_bounds_cost_in_the_units_of_the_metric": (
            "Arena.constraints Metric.direction Constraint.soft Constraint.cost"
        ),
        "test_a_campaign_asks_for_as_many_cards_as_a_run_needs": "Run.gpus",
        "test_hard_bounds_are_broken_by_numbers_beyond_them": "Constraint.min Constraint.max",
    },
    "campaign/test_campaign_agents.py": {
        "test_a_command_agent_that_hangs_is_ended_by_its_time_limit": "AgentTable.timeout",
    },
    "campaign/test_campaign_arenas.py": {
        "test_a_failing_check_and_a_broken_constraint_make_a_would_be_win_invalid": "Arena.checks",
    },
    "campaign/test_holdout.py": {
        "test_the_baseline_every_kth_keep_and_the_end_sit_it": "Holdout.every",
    },
    "campaign/test_pruning.py": {
        "test_switched_off_nothing_is_ended": "Run.prune",
    },
    "campaign/test_reviews.py": {
        "test_an_arena_may_allow_changes_of_seeds_and_those_from_before_may_stay": (
            "JudgeTable.fixed_seeds"
        ),
    },
    "change/test_programs.py": {
        "test_an_arena_may_want_the_same_program_measured_again": "JudgeTable.same_programs",
    },
    "judge/test_confirm.py": {
        "test_simpler_code_is_kept_when_it_is_as_good_and_the_rule_can_be_switched_off": (
            "JudgeTable.simplify"
        ),
        "test_exact_simplifications_lose_no_more_than_the_margin_either": "JudgeTable.margin",
    },
    "judge/test_confirm_settings.py": {
        "test_a_keep_costs_more_where_fewer_false_ones_are_allowed": "JudgeTable.false_keep",
        "test_a_trial_ends_with_its_last_pair": "JudgeTable.max_repeats",
        "test_the_baseline_is_measured_as_often_as_the_table_says": "JudgeTable.baseline",
    },
    "judge/test_judge.py": {
        "test_threshold_decides_within_its_repeats_and_keeps_only_by_its_gain": (
            "Arena.judge JudgeTable.rule JudgeTable.gain JudgeTable.repeats"
        ),
        "test_a_gain_below_the_arenas_least_is_not_kept_and_the_reason_says_so": "Metric.min_gain",
    },
    "measure/test_measurement.py": {
        "test_a_run_reaches_what_the_arena_grants_and_no_more": (
            "Arena.hidden Arena.data Run.network Run.env Holdout.hidden"
        ),
        "test_the_score_is_the_referees_the_exams_or_the_runs_own": (
            "Arena.metric Arena.run Arena.score Arena.holdout Metric.name Run.command "
            "Score.command Holdout.command"
        ),
        "test_a_setup_that_fails_or_takes_too_long_is_told_with_its_log": (
            "Arena.setup Setup.command Setup.timeout"
        ),
        "test_a_run_is_held_to_its_limits": (
            "Metric.best_possible Run.budget Run.clock Run.memory Run.processes Run.disk"
        ),
        "test_a_referee_is_held_to_its_limits": (
            "Score.timeout Score.memory Holdout.timeout Holdout.memory"
        ),
    },
    "sandbox/test_sandboxes.py": {
        "test_the_arena_can_choose_one_and_undeclared_data_is_named": "Run.sandbox",
    },
    "search/test_portfolio_table.py": {
        "test_its_agents_take_turns_and_the_tuner_joins": (
            "Arena.portfolio PortfolioTable.agents PortfolioTable.tuner"
        ),
        "test_turns_go_by_its_shares": "PortfolioTable.shares",
        "test_an_hour_of_the_machine_costs_what_it_says": "PortfolioTable.dollars_per_hour",
        "test_an_agent_leaves_when_its_caps_of_a_campaign_are_used_up": (
            "CampaignCaps.dollars CampaignCaps.tokens CampaignCaps.time AgentTable.campaign"
        ),
    },
    "views/test_live.py": {
        "test_it_shows_where_the_campaign_stands_and_what_is_tried": "Metric.unit",
    },
}
"""Test file → test → the settings of arena.toml without which it fails."""


def test_every_setting_has_a_test_that_fails_when_it_is_ignored() -> None:
    known = [t for t in settings.Table.__subclasses__() if t.__module__ == settings.__name__]
    tables = [Arena, *known, settings.Holdout]
    have = {f"{t.__name__}.{field}" for t in tables for field in t.model_fields} - {"Arena.root"}
    tested = [
        field for tests in TESTED.values() for text in tests.values() for field in text.split()
    ]
    assert sorted(tested) == sorted(have)
    for file, tests in TESTED.items():
        missing = tests.keys() - {f.name for f in functions(ROOT / "tests" / file)}
        assert not missing, f"{file} has no test {', '.join(missing)}"


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
        assert (command.epilog or "").removeprefix("\b\n").startswith("Example: overnight ")
