"""What every agent must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Limits
from overnight.agents.base import Agent
from toy import ARENA, git, make_toy

VALUE = "X=10  # -20..20\n"


@dataclass(frozen=True)
class Nights:
    """Two arenas with the same files: two experiments in each, in one by two agent objects."""

    toy: Path
    first: Sequence[Experiment]
    second: Sequence[Experiment]
    other: Path
    both: Sequence[Experiment]


class AgentContract:
    """Subclass it and say how an agent is made that can change the toy's value.py."""

    @classmethod
    def make(cls, toy: Path) -> Agent:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def nights(cls, tmp_path_factory: pytest.TempPathFactory) -> Nights:
        folder = tmp_path_factory.mktemp("it's ein Ordner – ü")
        toy, other = (make_toy(folder / name, ARENA, value=VALUE) for name in ("arena", "other"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OVERNIGHT_HOME", str(folder / "home"))
            first, second = cls.done(toy, 1), cls.done(toy, 1)
            return Nights(toy, first, second, other, cls.done(other, 2))

    @classmethod
    def done(cls, toy: Path, experiments: int) -> list[Experiment]:
        seen: list[Experiment] = []
        with Campaign.open(toy, "t") as campaign:
            campaign.run(cls.make(toy), Limits(experiments=experiments), seen.append)
        return seen

    def test_a_proposal_changes_an_editable_file_and_says_what(self, nights: Nights) -> None:
        e = nights.first[-1]
        assert e.n == 1 and e.measurements, e.reason
        assert e.description and "\n" not in e.description
        changed = git(nights.toy, "diff", "--name-only", str(e.parent), str(e.candidate))
        assert changed.split() == ["value.py"] and e.dropped == ()

    def test_a_new_agent_object_continues_where_the_last_one_stopped(self, nights: Nights) -> None:
        assert [e.n for e in [*nights.first, *nights.second]] == [0, 1, 2]

    def test_the_same_history_gets_the_same_proposal(self, nights: Nights) -> None:
        def trees(folder: Path, experiments: Sequence[Experiment]) -> list[str]:
            return [git(folder, "rev-parse", f"{e.candidate}^{{tree}}") for e in experiments]

        mine = trees(nights.toy, [*nights.first, *nights.second])
        assert mine == trees(nights.other, nights.both)
