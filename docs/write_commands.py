"""Writes docs/commands.md from the commands' own --help; `--print` prints it instead."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner

from overnight.cli import application

INTRODUCTION = """# Commands

`-C DIR` names the arena: its folder, or one inside it. Exit codes: 0 done, 1 failed, 2 wrong input,
3 a cap on dollars or tokens was reached, 4 nothing could be measured, 130 interrupted.

With `--json` a command prints one document and nothing else to standard output. Times are in UTC
(ISO 8601), durations in seconds, gains in units of the metric (positive is better); `null` means
unknown, or not yet measured.

- `replay`: `n`, `verdict`, `before` (the scores of the verdict), `scores` (the new ones), their
  `mean`, `spread` (standard deviation) and `difference` from before, `outcomes`.
- `ablate`: a list of `n`, `description`, `commit`, `weight` (carries, none seen, needed,
  inseparable), `gain` (of the program with the win over that without), `measurements`, `words`
  (the reason).
- `power`: `metric`, `noise` and `seconds` (of one measurement), `hours`, `rate`, `measurements`
  and `experiments` (how many fit), `visible` (the gain that four campaigns of five would keep),
  `gains`: a list of `gain`, `sigmas` (gain divided by noise), `chance` (that it is kept), `pairs`
  (null: more than judge.max_repeats). `assumes`: the settings that were simulated; `differs`:
  this arena's other values of them.
- `try`: an experiment, with `log_tail` (the last lines of its newest run), `incumbent` (`n`,
  `score`, `candidate` of the best now), `branch`, `go_on` (the git command that moves the
  checkout to the newest keep; null if it is there), `warnings`.
- `log` is a list of experiments, `show` is one: `n`, `verdict`, `score`, `gain` and `interval`
  (of keeps confirmed together: at the last of them, whose number is `confirmed_with`), `simpler`
  (kept because the code is simpler), `charges` (the cost of each soft constraint), `candidate`
  and `parent` (commits), `start` and `against` (the experiments that the agent started from, and
  that the change was compared with), `agent`, `description`, `hypothesis`, `started`, `seconds`,
  `measurements`, `reason`, `parameters`, `dropped` (changed files that are not editable),
  `expected` (the agent's expected gain), `held` (whether at least half of it was measured),
  `cost` (dollars), `tokens_in`, `tokens_cached`, `tokens_out`, `thought` (seconds that the agent
  took). A measurement has `seed`, `score`, `outcome`, `numbers` (from the referee and overnight's
  meters), `reported` (by the run), `stage_seconds`, `device`, `self_reported`, `sandbox`,
  `referee` (a digest of its files), `purpose` (judge; in show also holdout, replay, ablation),
  `log` (a folder in `.overnight/`).
- `agents --stats`: a list of `agent`, `experiments`, `kept`, `members` (keeps confirmed together
  with a later one), `keep_rate`, `gain` (confirmed), `tokens`, `cost`, `thought`,
  `unknown_tokens` and `unknown_cost` (numbers of proposals), `expectations` (how many could be
  compared with a result), `held` (how many were met), `expected` and `came` (sums of expected and
  measured gains), `ratio` (of these sums).
- `status` has `tag`, `branch`, `arena`, `metric`, `direction`, `baseline` (a score), `incumbent`
  (an experiment), `experiments`, `keeps`, `wins`, `verdicts`, `keep_rate`, `gain`, `running`,
  `left` (of the limits), `seconds`, `stop_reason`, `self_reported`, `unconfined`, `noise`, `cost`
  (dollars, as far as known), `tokens`, `unknown_cost` and `unknown_tokens` (numbers of
  proposals), `thought`, `agents` (a list of the same for each), `provisional` (numbers of
  experiments), `pruning` (runs ended early, controls, seconds saved, wins lost), `holdout` (final
  exam: the scores of baseline and incumbent, the gap between both gains, and how many exam scores
  were read).

This page is written by `python docs/write_commands.py`.
"""


def page() -> str:
    """The text of the page: every command's help at a width of 100 columns."""
    app, parts = application(), [INTRODUCTION]
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        words = [name, "--help"]
        shown = CliRunner().invoke(app, words, prog_name="overnight", terminal_width=100).stdout
        lines = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## overnight {name}\n\n```\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        Path(__file__).with_name("commands.md").write_text(page())
