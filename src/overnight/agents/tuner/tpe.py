"""Suggestions of Optuna's TPE over the whole range of the constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from overnight.agents.tuner.constants import Constant, NewValues
from overnight.core.experiment import Value

_SUGGESTIONS = 4


def suggestions(
    constants: Sequence[Constant],
    trials: Sequence[tuple[Mapping[str, Value], float | None]],
    seed: int,
) -> Iterator[NewValues]:
    """A few suggestions, given the trials so far; a trial without a score failed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {c.key: distribution for c in constants if (distribution := _distribution(c))}
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for values, score in trials:
        try:
            trial = optuna.trial.create_trial(
                params={key: values.get(key) for key in space},
                distributions=space,
                value=score or 0.0,
                constraints={"failed": float(score is None)},
            )
        except (ValueError, TypeError):
            continue  # it was tried with other constants or ranges
        study.add_trial(trial)
    for _ in range(_SUGGESTIONS if space else 0):
        asked = study.ask(space).params
        yield {
            c.key: c.rounded(asked[c.key])
            if isinstance(space[c.key], FloatDistribution)
            else asked[c.key]
            for c in constants
            if c.key in space
        }


def _distribution(c: Constant) -> optuna.distributions.BaseDistribution | None:
    if c.choices:
        return CategoricalDistribution(list(c.choices))
    if c.low >= c.high:
        return None
    if isinstance(c.value, int):
        return IntDistribution(int(c.low), int(c.high), log=c.log)
    return FloatDistribution(c.low, c.high, log=c.log)
