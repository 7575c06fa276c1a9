"""A campaign's agents: what they are told, and what becomes of what they propose."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from overnight import Campaign, Idea, Limits, Verdict
from overnight.agents.base import Workbench
from overnight.agents.patches import PatchesAgent
from overnight.agents.programs.command import CommandAgent
from overnight.arena.settings import AgentTable
from overnight.campaign.limits import StopKind
from overnight.core.errors import AgentError
from toy import ARENA, command, git, write_patches
from writer import Writer, run, verdicts


def test_a_change_of_a_file_that_is_not_editable_is_dropped_and_the_next_agent_is_told(
    toy: Path,
) -> None:
    @dataclass
    class Meddler:
        name: str = "meddler"
        briefs: list[str] = field(default_factory=list)

        def propose(self, bench: Workbench) -> Idea | None:
            self.briefs.append(bench.brief)
            (bench.folder / "score.py").write_text("print('{\"loss\": 0}')")
            (bench.folder / "value.py").write_text(f"X={9 - bench.n}\n")
            return Idea("better, honestly") if bench.n < 3 else None

    meddler = Meddler()
    done = run(toy, meddler)
    assert done[1].score == 5.0 and done[1].dropped == ("score.py",)
    assert git(toy, "diff", "--name-only", "main", "overnight/t").split() == ["value.py"]
    assert "score.py" in meddler.briefs[1]


def test_a_proposal_that_fails_is_invalid_and_costs_no_measurement_and_no_night(toy: Path) -> None:
    @dataclass
    class Faulty:
        """Changes nothing, says what it lacks, and twice has a fault of its own code."""

        faults: tuple[Exception, ...] = (
            AgentError("no key"),
            TimeoutError("no answer"),
            KeyError(),
        )
        name: str = "faulty"

        def propose(self, bench: Workbench) -> Idea | None:
            if bench.n == 1:
                return Idea("thought hard")
            if bench.n <= len(self.faults) + 1:
                raise self.faults[bench.n - 2]
            return None

    done = run(toy, Faulty())
    assert verdicts(done) == ["keep", "invalid", "invalid", "invalid", "invalid"]
    assert not any(e.measurements for e in done[1:])
    assert "nothing editable" in done[1].reason and done[2].reason == "no key"
    assert "faulty failed: TimeoutError: no answer" in done[3].reason
    transcript = toy / ".overnight" / "logs" / "t" / "4" / "agent.log"
    assert str(transcript) in done[4].reason and "Traceback" in transcript.read_text()


def test_the_next_brief_quotes_a_question_of_an_agent(toy: Path) -> None:
    line = "echo 'I see `two` ways.'; echo 'Which one shall I take?'; cat > /dev/null; read answer"
    done = run(toy, CommandAgent("asker", AgentTable(command=f"{line}; true")), experiments=2)
    words = "the agent's last words: `I see 'two' ways. Which one shall I take?`"
    assert done[1].reason == f"nothing editable was changed; {words}"
    brief = (toy / ".overnight" / "logs" / "t" / "2" / "brief.md").read_text()
    assert words in brief and "Nobody can answer a question" in brief


def test_an_agent_that_always_fails_ends_the_campaign_with_a_reason(toy: Path) -> None:
    with Campaign.open(toy, "t") as campaign:
        stop = campaign.run(CommandAgent("broken", AgentTable(command="exit 3")), Limits())
    assert stop.kind is StopKind.AGENT and stop.kind.exit_code == 1
    assert "10 times in a row" in stop.words and "exit code 3" in stop.words


def test_patches_are_each_tried_once_and_one_that_does_not_apply_is_stale(
    toy: Path, tmp_path: Path
) -> None:
    folder = write_patches(tmp_path / "patches", ["X=12", "X=5", "X=4"])
    done = run(toy, PatchesAgent(folder))
    assert verdicts(done) == ["keep", "discard", "keep", "stale"]
    assert done[2].description == "set X=5" and done[2].hypothesis == "Hypothesis number 2."
    assert [e.n for e in run(toy, PatchesAgent(folder))] == []


def test_a_command_agent_gets_the_brief_and_says_what_it_did(toy: Path) -> None:
    line = (
        "cat > brief.txt; grep -q 'Find the best X' brief.txt || exit 9; "
        "echo X=5 > value.py; printf '# five\\n\\nHypothesis: closer\\n' > .overnight-idea.md"
    )
    done = run(toy, CommandAgent("shell", AgentTable(command=line)), experiments=1)
    assert done[1].verdict is Verdict.KEEP
    assert (done[1].description, done[1].hypothesis) == ("five", "closer")
    assert done[1].dropped == ("brief.txt",)


def test_an_agent_can_read_its_data_beside_the_arena(toy: Path) -> None:
    (toy.parent / "best").write_text("X=4\n")
    line = f"cat {shlex.quote(str(toy.parent / 'best'))} > value.py"
    agent = CommandAgent("reader", AgentTable(command=line, data=("../best",)))
    done = run(toy, agent, experiments=1)
    assert done[-1].verdict == "keep" and done[-1].score == 1


@pytest.mark.parametrize("kind", ["", 'kind = "acp"\n'])
@pytest.mark.parametrize("place", ["../agent.py", "agent.py", "{parent}/agent.py"])
def test_a_script_that_the_agent_cannot_see_ends_the_campaign_and_is_named(
    toy: Path, place: str, kind: str
) -> None:
    word = place.format(parent=shlex.quote(str(toy.parent)))
    script = toy / place.format(parent=toy.parent)
    script.write_text("open('value.py', 'w').write('X=5')\n")
    table = f"\n[agents.own]\n{kind}command = {json.dumps(f'python3 {word}')}\n"
    (toy / "arena.toml").write_text(ARENA + table)
    name = "own" if kind else f"command:python3 {word}"
    done = command(toy, "run", "--tag", "t", "--agent", name, "--experiments", "3")
    assert done.returncode == 2 and "which the agent cannot read" in done.stderr
    if not kind:
        found = re.search(r"below (\[agents.mine\]): (command = .*) and (data = .*);", done.stderr)
        assert found
        (toy / "arena.toml").write_text(ARENA + "\n".join(found.groups()))
        done = command(toy, "run", "--agent", "mine", "--experiments", "1")
        assert done.returncode == 0 and "#1 keep" in done.stdout


@pytest.mark.parametrize("line", ["cd /tmp; ls ~ /nowhere", "python3 /dev/null; python3 ../own"])
def test_a_program_that_fails_of_itself_does_not_end_the_campaign(toy: Path, line: str) -> None:
    (toy.parent / "own").write_text("raise OSError('/tmp null own')")
    own = shlex.quote(str(toy.parent / "own"))
    table = AgentTable(command=line.replace("../own", own), data=("../own",))
    done = run(toy, CommandAgent("mine", table), experiments=1)
    assert "mine ended with exit code" in done[1].reason


def test_the_prompt_can_be_an_argument_whatever_it_contains(toy: Path) -> None:
    (toy / "program.md").write_text('it\'s $(touch /tmp/never) `id` "quoted" {prompt}\n')
    line = (
        'printf %s {prompt} > copy.txt; grep -qF "it\'s \\$(touch" copy.txt && echo X=5 > value.py'
    )
    done = run(toy, CommandAgent("shell", AgentTable(command=line)), experiments=1)
    assert done[1].verdict is Verdict.KEEP, done[1].reason


def test_a_command_agent_that_hangs_is_ended_by_its_time_limit(toy: Path) -> None:
    done = run(
        toy, CommandAgent("slow", AgentTable(command="sleep 60", timeout="0.5s")), experiments=1
    )
    assert done[1].verdict is Verdict.INVALID and "still working after 0.5 s" in done[1].reason


def test_a_command_agent_that_raises_says_so_in_its_first_line(toy: Path) -> None:
    line = "python3 -c 'import nothing_of_the_kind'"
    done = run(toy, CommandAgent("broken", AgentTable(command=line)), experiments=1)
    first = done[1].reason.partition("\n")[0]
    assert first.startswith("broken ended with exit code 1, ModuleNotFoundError: No module")


def test_the_strategy_is_read_anew_before_every_experiment(toy: Path) -> None:
    writer = Writer(["X=8\n", "X=7\n"])
    with Campaign.open(toy, "t") as campaign:
        campaign.try_(writer)
        (toy / "program.md").write_text("Now think of primes.\n")
        campaign.ledger.add_event("t", "steer", words="small steps please")
        campaign.try_(writer)
    assert "primes" not in writer.seen[0].brief
    assert "primes" in writer.seen[1].brief and "small steps please" in writer.seen[1].brief


def test_hostile_words_of_an_agent_cannot_forge_trailers_or_lines(toy: Path) -> None:
    @dataclass
    class Forger:
        name: str = "forger"

        def propose(self, bench: Workbench) -> Idea | None:
            (bench.folder / "value.py").write_text("X=9\n")
            title = "fine\n\nOvernight-Gain: 999\x1b[2J\tkeep"
            return Idea(title, "because\nOvernight-Metric: 0")

    run(toy, Forger(), experiments=1)
    trailers = git(
        toy, "log", "-1", "--format=%(trailers:key=Overnight-Gain,valueonly)", "overnight/t"
    )
    assert trailers.split() == ["1"]
    lines = (toy / ".overnight" / "results.tsv").read_text().splitlines()
    assert len(lines) == 3 and "\x1b" not in lines[2]


def test_an_agent_gets_the_finished_experiments_of_earlier_campaigns(toy: Path) -> None:
    for tag in ("one", "two"):
        with Campaign.open(toy, tag) as campaign:
            campaign.run(Writer(["X=12\n", "X=5\n"]), Limits())
            campaign.ledger.open_proposal(tag, "writer", 2, 2)  # the driver died here
    last = Writer(["X=4\n"])
    with Campaign.open(toy, "three") as campaign:
        campaign.run(last, Limits())
    prior = last.seen[0].prior
    assert [e.n for e in prior] == [0, 1, 2] * 2 and all(e.verdict for e in prior)
    assert [e.n for e in last.seen[0].history] == [0]
