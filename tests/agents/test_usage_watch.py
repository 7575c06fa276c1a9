"""What a coding-agent program used, by its own report, while it works and at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from desk import Desk, program
from overnight.core.errors import Trouble, WorkspaceError
from overnight.core.usage import Usage

NOISE = "{ printf '{\"x\":\"'; head -c %d /dev/zero | tr '\\0' x; echo '\"}'; }"
COUNT = {"type": "token_count", "info": {"total_token_usage": {"input_tokens": 900}}}
ROLLOUT = json.dumps({"payload": COUNT})
MESSAGE = json.dumps({"type": "assistant", "message": {"id": "m", "usage": {"input_tokens": 900}}})
CHAT = json.dumps({"type": "gemini", "id": "g", "tokens": {"input": 900, "output": 0}})
REPORTS = {
    "at the end of a long file": (
        "codex",
        f"""d=$HOME/.codex/sessions/2026/01/01; mkdir -p $d
{NOISE % 11_000_000} > $d/rollout-1.jsonl; echo '{ROLLOUT}' >> $d/rollout-1.jsonl""",
    ),
    "at the end of a long output": ("claude", f"{NOISE % 6_000_000}; echo '{MESSAGE}'"),
    "in the newest of many files, one of which is a link to itself": (
        "gemini",
        f"""d=$HOME/.gemini/tmp/a/chats; mkdir -p $d; cd $d
for n in $(seq 25); do touch -d 2026-01-01 b$n.jsonl; done
ln -s loop.jsonl loop.jsonl; echo '{CHAT}' > a.jsonl""",
    ),
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("where", REPORTS)
def test_a_program_is_ended_at_its_limit_wherever_it_reports_what_it_used(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    name, script = REPORTS[where]
    agent = program(tmp_path, monkeypatch, name, f"{script}; sleep 40; touch late", tokens=800)
    error = desk.refused(agent, edited=lambda: False)
    assert error.trouble is Trouble.LIMIT and not (desk.tree / "late").exists(), error
    assert "900 of 800 tokens" in str(error) and error.usage and error.usage.tokens_in == 900


def test_a_result_whose_text_has_any_kind_of_line_break_is_read(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"modelUsage": {"m": {"inputTokens": 5, "outputTokens": 7}}, "total_cost_usd": 3.5}
    result = {"type": "result", "result": "done\u2028it\u2029is\u0085so", **used}
    (tmp_path / "result").write_text(json.dumps(result, ensure_ascii=False) + "\n")
    agent = program(tmp_path, monkeypatch, "claude", f"cat {tmp_path}/result")
    idea = desk.ask(agent)
    assert idea and idea.usage == Usage(5, None, 7, 3.5) and idea.hypothesis == "done it is so"


def test_thoughts_are_counted_where_only_the_total_has_them(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = {"total_tokens": 130, "input_tokens": 100, "output_tokens": 2, "cached": 40}
    result = json.dumps({"type": "result", "status": "success", "stats": stats})
    idea = desk.ask(program(tmp_path, monkeypatch, "gemini", f"echo '{result}'"))
    assert idea and idea.usage == Usage(100, 40, 30)


TURN = json.dumps({"type": "turn.completed", "usage": {"input_tokens": 9, "output_tokens": 5}})
SESSION = json.dumps({"type": "thread.started", "thread_id": "t"})


def test_what_was_used_is_known_whatever_fails_afterwards(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> bool:
        raise error

    agent = program(tmp_path, monkeypatch, "codex", f"echo '{TURN}'")
    error = desk.refused(agent, edited=lambda: fail(ValueError("a bug")))
    assert error.usage == Usage(9, None, 5) and "a bug" in str(error)
    with pytest.raises(WorkspaceError, match="git is gone") as machine:
        desk.ask(agent, edited=lambda: fail(WorkspaceError("git is gone")))
    assert machine.value.usage == Usage(9, None, 5), "the machine's fault is not the agent's"


def test_a_conversation_that_cannot_be_kept_costs_no_change(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"echo '{SESSION}'; echo '{TURN}'; echo X=5 > value.py; rm -r \"$HOME\""
    agent = program(tmp_path, monkeypatch, "codex", script, session="resume")
    for _ in range(2):
        idea = desk.ask(agent)
        assert idea and idea.usage == Usage(9, None, 5) and desk.now() == "X=5\n"
