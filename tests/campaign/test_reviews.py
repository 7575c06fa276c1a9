"""Provisional keeps in campaigns of real processes with noisy scores: confirmed, dropped, told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.records import campaign
from noisy import NOISY, final, noisy
from overnight import Arena, Campaign, Experiment, Idea, Limits, Verdict
from overnight.agents.base import Workbench
from overnight.campaign.judge_input import standing_of
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Closing, Measurement, Outcome, Purpose
from overnight.core.under_way import Round, UnderWay
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from toy import ARENA, git, make_toy, overnight, write_toy
from writer import Writer, run


def test_forty_changes_of_a_comment_leave_the_branch_where_it_was(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    run(toy, Writer([f"X=50 # {n}\n" for n in range(40)]))
    experiments = final(toy)
    assert [n for n, e in experiments.items() if e.kept] == [0]
    assert git(toy, "rev-parse", "overnight/t") == git(toy, "rev-parse", "main")
    measured = sum(len(e.judged) for e in experiments.values())
    assert measured <= 5 + 40 * 1.75 + 2 * 2 * 20, "the last trials may take all their pairs"


def test_planted_gains_stay_and_planted_harms_do_not(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    gains = {3: -4.0, 9: -5.0, 15: -3.0}
    harms = {6: 3.0, 12: 6.0}

    class Planter:
        name = "planter"

        def propose(self, bench: Workbench) -> Idea | None:
            if (n := bench.n) > 20:
                return None
            change = gains.get(n, 0.0) + harms.get(n, 0.0)
            file = bench.folder / "value.py"
            x = float(file.read_text().split()[0].removeprefix("X="))
            file.write_text(f"X={x + change} # {n}\n")
            return Idea(f"change {n} by {change:+g}")

    run(toy, Planter())
    experiments = final(toy)
    wins = {n for n, e in experiments.items() if e.kept} - {0}
    assert wins >= set(gains), "every planted gain is a win"
    assert not wins & set(harms)
    assert {n: e.verdict for n, e in experiments.items() if n in harms} == {
        n: Verdict.DISCARD for n in harms
    }
    claimed = sum(experiments[n].gain or 0.0 for n in wins)
    assert claimed == pytest.approx(12.0, abs=3.0)
    for n in gains:
        e = experiments[n]
        assert "confirmed by" in e.reason and len(e.judged) >= 3
        message = git(toy, "log", "-1", "--format=%B", f"refs/overnight/t/{n}")
        gain = f"Gain: {e.claim:.6g}" if e.won else f"Confirmed-With: t/{e.within}"
        assert f"Overnight-{gain}" in message
    tip = git(toy, "show", "overnight/t:value.py")
    assert float(tip.split()[0].removeprefix("X=")) == 38.0


def test_no_pair_begins_when_the_time_is_over(tmp_path: Path) -> None:
    """A trial of a small gain takes longer than what is left: it is not begun."""
    toy = noisy(tmp_path / "arena")
    (toy / "run.sh").write_text("sleep 0.3\ncp value.py $OVERNIGHT_OUT/value\n")
    git(toy, "commit", "--quiet", "--all", "--message", "slow")
    hours = 12 / 3600
    run(toy, Writer([f"X=48 # {n}\n" for n in range(100)]), hours=hours)
    with Campaign.open(toy, "t") as campaign:
        start, *_ = campaign.ledger.events("t", "start")
        experiments = campaign.ledger.experiments("t")
    until = start.at + timedelta(hours=hours)
    late = [m for m in experiments[0].judged if m.started > until]
    assert experiments[-1].n > 1
    assert len(late) <= 1, "the second half of a pair at most"


def test_what_is_promising_is_tried_while_there_is_time_for_it(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    (toy / "run.sh").write_text("sleep 0.2\ncp value.py $OVERNIGHT_OUT/value\n")
    git(toy, "commit", "--quiet", "--all", "--message", "slow")
    run(toy, Writer([f"X=42 # {n}\n" for n in range(100)]), hours=60 / 3600, target=45.0)
    assert [n for n, e in final(toy).items() if e.kept and n], "kept before the time was over"


def test_a_change_that_chooses_a_seed_is_refused_unrun(tmp_path: Path) -> None:
    toy, line = noisy(tmp_path / "arena"), "SEED=1337"
    run(toy, Writer([f"X=20\n# {line}\n{line}\n", f"X=40 # seed 5\n# {line}\n"]))
    chosen, honest = (final(toy)[n] for n in (1, 2))
    assert chosen.verdict is Verdict.INVALID and not chosen.measurements
    assert f"it chooses a seed: `{line}`" in chosen.reason
    assert honest.kept, "words about a seed are none"


def test_an_arena_may_allow_changes_of_seeds_and_those_from_before_may_stay(
    tmp_path: Path,
) -> None:
    toy = noisy(tmp_path / "before", value="X=50\nSEED=3\n")
    run(toy, Writer(["X=40\nSEED=3\n", "X=30\nSEED=4\n"]))
    assert [str(e.verdict) for e in final(toy).values()] == ["keep", "keep", "invalid"]
    toy = noisy(tmp_path / "allowed", "[judge]\nfixed_seeds = true\n")
    run(toy, Writer(["X=40\nSEED=3\n"]))
    assert final(toy)[1].kept


def test_a_target_is_reached_by_what_was_confirmed_and_not_by_lucky_draws(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    run(toy, Writer([f"X={50 - 3 * n}\n" for n in range(1, 12)]), target=35.0)
    with Campaign.open(toy, "t") as campaign:
        (stop,) = campaign.ledger.events("t", "stop")
        baseline, *wins = [e for e in campaign.ledger.experiments("t") if e.kept]
    confirmed = (baseline.score or 0.0) - sum(win.gain or 0.0 for win in wins)
    assert stop.data["reason"] == "target" and confirmed <= 35.0


def test_a_run_must_go_on_reading_the_seed_that_it_is_given(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena", value="X=50\nS=$OVERNIGHT_SEED\n")
    run(toy, Writer(["X=40\nS=$((40 + 2))\n", "X=40\nS=$((OVERNIGHT_SEED + 2))\n"]))
    assert [str(e.verdict) for e in final(toy).values()] == ["keep", "invalid", "keep"]
    reason = final(toy)[1].reason
    assert reason.startswith("it no longer reads OVERNIGHT_SEED: `S=$OVERNIGHT_SEED` is gone")


def test_a_score_as_good_as_infinite_is_invalid_and_the_night_goes_on(tmp_path: Path) -> None:
    """Its square is no number: as a provisional keep it would end every driver that looks at it."""
    toy = noisy(tmp_path / "arena")
    run(toy, Writer(["X=-1e200\n", "X=40\n"]))
    assert [str(e.verdict) for e in final(toy).values()] == ["keep", "invalid", "keep"]
    assert "as good as infinite" in final(toy)[1].reason


@pytest.mark.parametrize(("failing", "ended"), [("== 10", False), (">= 10", True)])
def test_the_incumbent_may_fail_once_but_not_again_and_again(
    tmp_path: Path, failing: str, ended: bool
) -> None:
    toy = noisy(tmp_path / "arena")
    score = (
        NOISY + f"if x == 50 and int(os.environ['OVERNIGHT_SEED']) {failing}: raise SystemExit(1)\n"
    )
    (toy / "score.py").write_text(
        "import sys\n" + score.replace("print", "line = ", 1) + "print(line)\n"
    )
    git(toy, "commit", "--quiet", "--all", "--message", "fails")
    if ended:
        with pytest.raises(MeasurementImpossible, match="3 times in a row"):
            run(toy, Writer(["X=46\n"]))
    else:
        run(toy, Writer(["X=46\n"]))
    experiments = final(toy)
    assert next(m.seed for m in experiments[0].judged if m.score is None) == 10
    assert experiments[0].kept and experiments[1].kept is not ended


def test_a_wish_to_stop_ends_a_trial_and_the_same_command_goes_on_with_it(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")

    class Stopper(Writer):
        def propose(self, bench: Workbench) -> Idea | None:
            campaign.ledger.add_event("t", "stop-request", now=False)
            return super().propose(bench)

    with Campaign.open(toy, "t") as campaign:
        campaign.run(Stopper(["X=40\n"]), Limits())
        assert [e.n for e in campaign.book.stack] == [0, 1], "the experiment, and no trial of it"
        measured = campaign.book.measured
        campaign.run(Writer([]), Limits())
        assert campaign.incumbent.n == 1 and campaign.book.measured >= measured + 4


def test_a_hard_constraint_holds_when_a_candidate_is_measured_again(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena", "\n[constraints]\nsize = { max = 10 }\n")
    size = "(99 if x < 50 and int(os.environ['OVERNIGHT_SEED']) > 6 else 1)"
    (toy / "score.py").write_text(NOISY.replace('{"loss":', f'{{"size": {size}, "loss":'))
    git(toy, "commit", "--quiet", "--all", "--message", "sizes")
    run(toy, Writer(["X=40\n"]))
    experiments = final(toy)
    assert experiments[1].verdict is Verdict.INVALID
    assert (
        experiments[1].reason == "when measured again: constraint size is 99, above the maximum 10"
    )
    assert git(toy, "rev-parse", "overnight/t") == git(toy, "rev-parse", "main")


def test_a_pair_shares_a_fresh_seed_and_no_other_measurements_do(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    run(toy, Writer(["X=40\n"]))
    seeds = {n: [m.seed for m in e.judged] for n, e in final(toy).items()}
    shared = set(seeds[0]) & set(seeds[1])
    assert len(shared) >= 2
    every = sorted(seeds[0] + [s for s in seeds[1] if s not in shared])
    assert len(every) == len(set(every))


def test_a_provisional_keep_is_called_that_everywhere_and_is_on_no_branch(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    with Campaign.open(toy, "t") as campaign:
        writer = Writer(["X=48.6\n"] + [f"X=48.6 # {n}\n" for n in range(9)])
        for _ in range(10):
            experiment = campaign.try_(writer)
            assert experiment is not None
            if campaign.book.stack[1:]:
                break
        stacked = [e.n for e in campaign.book.stack[1:]]
        assert stacked, "a change of 1.4 sigmas is promising and not confirmed at once"
        assert git(toy, "rev-parse", "overnight/t") == git(toy, "rev-parse", "main")
    said = json.loads(overnight(toy, "status", "--json").stdout)
    assert said["provisional"] == stacked and said["wins"] == 0
    assert said["noise"] == pytest.approx(1.0, rel=1.0)
    words = overnight(toy, "status").stdout
    assert "not confirmed, on no branch" in " ".join(words.split())
    assert "provisional" in overnight(toy, "log").stdout
    assert "\tprovisional\t" in (toy / ".overnight" / "results.tsv").read_text()
    overnight(toy, "report")
    assert "**not confirmed**" in (toy / ".overnight" / "report.md").read_text()


def test_the_agent_hears_of_provisional_keeps_and_of_the_noise(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    writer = Writer([f"X=48.6 # {n}\n" for n in range(12)])
    with Campaign.open(toy, "t") as campaign:
        while (tried := campaign.try_(writer)) and len(campaign.book.stack) < 2:
            assert tried.n < 12
        assert campaign.try_(writer), "its agent hears of what is provisional by now"
    briefs = [bench.brief for bench in writer.seen]
    assert any("- Provisional, not yet confirmed: #" in brief for brief in briefs)
    assert all("- The noise of one measurement is " in brief for brief in briefs)


def test_a_steady_candidate_among_noisy_ones_is_one_draw(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    run(toy, Writer(["X=48.2 # steady\n", *(f"X=60 # {n}\n" for n in range(10))]))
    experiments = final(toy)
    assert not experiments[1].kept
    assert git(toy, "rev-parse", "overnight/t") == git(toy, "rev-parse", "main")


def ablation_seeds(toy: Path) -> list[int]:
    """Of every measurement of an ablation, the oldest first."""
    with Campaign.open(toy, "t") as campaign:
        whole = [campaign.ledger.experiment("t", n, whole=True) for n in range(4)]
    taken = [m for e in whole if e for m in e.measurements if m.purpose is Purpose.ABLATION]
    return [m.seed for m in sorted(taken, key=lambda m: m.started)]


def test_ablate_says_which_win_carries_weight(tmp_path: Path) -> None:
    arena = ARENA.replace('["value.py"]', '["value.py", "n/*"]')
    toy = make_toy(
        tmp_path / "arena", arena, run='cat value.py n/* > "$OVERNIGHT_OUT/value" 2>&1\ntrue\n'
    )
    (toy / "score.py").write_text(
        "import json, os, pathlib\n"
        'text = pathlib.Path(os.environ["OVERNIGHT_OUT"], "value").read_text()\n'
        "gains = [float(line[2:]) for line in text.splitlines() if line[:2] == 'G=']\n"
        'print(json.dumps({"loss": 100 - sum(gains[-1:]) - (10 if "H" in text else 0)}))\n'
    )
    git(toy, "commit", "--quiet", "--all", "--message", "scores")
    (toy.parent / "patches").mkdir()
    for name, line in (("a", "G=5"), ("b", "H"), ("z", "G=7")):
        (toy.parent / "patches" / f"{name}.patch").write_text(
            f"Subject: {line}\n\ndiff --git a/n/{name} b/n/{name}\nnew file mode 100644\n"
            f"--- /dev/null\n+++ b/n/{name}\n@@ -0,0 +1 @@\n+{line}\n"
        )
    agent = f"patches:{toy.parent / 'patches'}"
    assert overnight(toy, "run", "--agent", agent, "--tag", "t").returncode == 0
    branch = git(toy, "rev-parse", "overnight/t")
    before = [(n, e.verdict, e.scores) for n, e in final(toy).items()]
    done = overnight(toy, "ablate", "--json")
    assert done.returncode == 0, done.stderr
    first = ablation_seeds(toy)
    weights = {row["description"]: row["weight"] for row in json.loads(done.stdout)}
    # Only the last G counts, so that the first one has become idle.
    assert weights == {"G=5": "none seen", "H": "carries", "G=7": "carries"}
    words = overnight(toy, "ablate").stdout
    both = ablation_seeds(toy)
    assert not set(both[len(first) :]) & set(first), "the second call is evidence of its own"
    assert sum(both.count(seed) == 2 for seed in set(both)) >= 2 * 3 * 4, "pairs share theirs"
    assert max(map(both.count, both)) == 2
    assert "git revert" in words and "#1" in words
    assert [(n, e.verdict, e.scores) for n, e in final(toy).items()] == before
    assert git(toy, "rev-parse", "overnight/t") == branch


def test_ablate_without_a_win_is_a_sentence(tmp_path: Path) -> None:
    toy = noisy(tmp_path / "arena")
    overnight(toy, "run", "--agent", f"patches:{tmp_path}", "--tag", "t")
    done = overnight(toy, "ablate")
    assert done.returncode == 2 and "has no win to take back" in done.stderr
    assert "Traceback" not in done.stderr


def test_simpler_code_with_the_same_score_is_a_win(tmp_path: Path) -> None:
    long = "X=5\n" + "".join(f"A{n}=[{n}, {n}]\n" for n in range(30))
    texts = [
        long + "# a comment more\n" * 40,
        long.replace("A29=[29, 29]\n", "A29=[0]\n"),
        "X=5\n",
    ]
    for switch, verdicts in (("true", ["discard", "discard", "keep"]), ("false", ["discard"] * 3)):
        table = f"\n[judge]\nsimplify = {switch}\nsame_programs = true\n"
        toy = make_toy(tmp_path / switch, ARENA + table, value=long)
        done = run(toy, Writer(texts))
        assert [str(e.verdict) for e in done[1:]] == verdicts
        if switch == "true":
            assert done[3].reason.startswith("simpler, and as good to within")


def test_a_soft_constraint_costs_and_a_hard_one_forbids(tmp_path: Path) -> None:
    table = "\n[constraints]\nx = { soft = 5, cost = 10 }\n"
    toy = make_toy(tmp_path / "soft", ARENA.replace('"minimize"', '"maximize"') + table)
    # loss = |X - 3| and larger is better: from 7 at X=10 (which costs 10) to 9 at X=12 (14).
    done = run(toy, Writer(["X=12\n", "X=-9\n"]))
    assert [str(e.verdict) for e in done] == ["keep", "discard", "keep"]
    assert done[2].gain == pytest.approx(12 - (7 - 10))
    words = " ".join(overnight(toy, "status").stdout.split())
    assert words.startswith("loss went from 7 to 12 (+71.4%) with 1 win in 2 experiments")
    assert "15 better after the costs of soft constraints" in words
    assert "counts as -5: soft constraints cost 14 for x" in overnight(toy, "show", "1").stdout
    assert "soft constraints" not in overnight(toy, "show", "2").stdout
    charged, free = (json.loads(overnight(toy, "show", n, "--json").stdout) for n in "12")
    assert (charged["charges"], free["charges"]) == ({"x": 14.0}, {})


def test_a_try_that_conflicts_with_a_provisional_keep_says_so_and_how_to_go_on(
    tmp_path: Path,
) -> None:
    toy = noisy(tmp_path / "it's an arena")
    (toy / "value.py").write_text("X=47\n")
    assert overnight(toy, "try", "-m", "set 47", "--tag", "t").returncode == 14
    (toy / "value.py").write_text("X=30\n")
    stale = overnight(toy, "try", "-m", "set 30", "--tag", "t")
    assert stale.returncode == 13
    assert stale.stdout.count("the change conflicts with") == 1
    assert "conflicts with #1, which is provisional and on no branch" in stale.stdout
    offered = stale.stdout.split("`")[1]
    assert offered.startswith("git switch ")
    git(toy, *offered.split()[1:])
    assert "X=30\n" in (toy / "value.py").read_text(), "the change is carried along"
    (toy / "value.py").write_text("X=30\n")
    again = overnight(toy, "try", "-m", "set 30", "--tag", "t")
    assert again.returncode in (0, 14), again.stdout


def test_a_member_with_a_trial_of_its_own_is_no_second_won_trial(tmp_path: Path) -> None:
    """Its trial was interrupted; that of the tip was won, for the whole stack."""
    ledger = Ledger.at(tmp_path / "ledger.db", "toy")
    ledger.add_campaign(campaign("t"))
    book = Book.of(Arena.load(write_toy(tmp_path / "toy")), ledger, "t")
    for n, verdict in enumerate([Verdict.KEEP, Verdict.PROVISIONAL, Verdict.PROVISIONAL]):
        book.add(Experiment(n, "a", datetime.now(UTC), candidate="c"))
        trial = Round(n, n, 0, book.measured, n - 1) if n else None
        planned = UnderWay.planned(n, "c", Purpose.JUDGE, book.place, book.place)
        begun = book.begin(planned, trial)
        book.enter(begun.id, Measurement("c", begun.seed, begun.started, Outcome.FINISHED, 3.0 - n))
        book.conclude({n: Closing(verdict, "", 3.0 - n)})
    assert standing_of(book).won == 0
    book.conclude({n: Closing(Verdict.KEEP, "", within=2) for n in (1, 2)})
    assert standing_of(book).won == 1
    ledger.close()
