"""What every agent owes."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight import Campaign, Experiment, Limits
from overnight.agents.base import Agent
from toy import ARENA, git, make_toy

VALUE = "X=10  # -20..20\n"


class AgentContract:
    """Subclass it and say how an agent is made that can change the toy's value.py."""

    def make(self, toy: Path) -> Agent:
        raise NotImplementedError

    @pytest.fixture
    def toy(self, hostile_folder: Path) -> Path:
        return make_toy(hostile_folder / "arena", ARENA, value=VALUE)

    def done(self, toy: Path, experiments: int) -> list[Experiment]:
        seen: list[Experiment] = []
        with Campaign.open(toy, "t") as campaign:
            campaign.run(self.make(toy), Limits(experiments=experiments), seen.append)
        return seen

    def test_a_proposal_changes_an_editable_file_and_says_what(self, toy: Path) -> None:
        experiment = self.done(toy, 1)[-1]
        assert experiment.n == 1 and experiment.measurements, experiment.reason
        assert experiment.description and "\n" not in experiment.description
        changed = git(toy, "diff", "--name-only", str(experiment.parent), str(experiment.candidate))
        assert changed.split() == ["value.py"] and experiment.dropped == ()

    def test_the_same_history_gets_the_same_proposal(self, toy: Path, tmp_path: Path) -> None:
        other = make_toy(tmp_path / "other", ARENA, value=VALUE)
        trees = []
        for folder in (toy, other):
            experiments = self.done(folder, 2)
            trees.append([git(folder, "rev-parse", f"{e.candidate}^{{tree}}") for e in experiments])
        assert trees[0] == trees[1]

    def test_a_new_agent_object_goes_on_where_the_last_one_was(self, toy: Path) -> None:
        first = self.done(toy, 1)
        second = self.done(toy, 1)
        assert [e.n for e in first + second] == [0, 1, 2]
