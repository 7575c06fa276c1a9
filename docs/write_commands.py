"""Write docs/commands.md from the commands' own help, so that the page cannot drift."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INTRODUCTION = """# Commands

Every command takes `-C DIR` (the arena; default: the one around the current folder) and, where it
speaks of a campaign, `--tag` (default: the newest one). Exit codes: 0 done, 1 the command failed,
2 the input was wrong, 3 a cap on dollars or tokens ended it, 4 nothing could be measured,
130 interrupted. `overnight try`: 0 keep, 10 discard, 11 crash, 12 timeout, 13 invalid or stale,
14 provisional.

With `--json` one document, and nothing else, goes to standard output: times in UTC (ISO 8601),
durations in seconds, gains in units of the metric with positive meaning better, `null` for what is
not there (yet).

- `replay` has `n`, `verdict`, `before` (the scores that judged it), `scores` (the new ones), their
  `mean`, `spread` (standard deviation) and `difference` from before, `outcomes`.
- `ablate` is a list of `n`, `description`, `commit`, `weight` (carries, none seen, needed,
  inseparable), `gain` (of the program with the win over the one without), `measurements`, `words`.
- `power` has `metric`, `noise`, `seconds` (of one measurement), `hours`, `rate` (with --rate),
  `measurements`, `experiments`, `visible` (the gain kept in four campaigns of five) and `gains`: a
  list of `gain`, `sigmas`, `chance`, `pairs` (null: more than judge.max_repeats). `assumes` has
  the settings that all of these speak of, and `differs` what of them the arena has otherwise.
- `try` has, beside what an experiment has, `log_tail` (the last lines of its newest run),
  `incumbent` (`n`, `score`, `candidate` of the best now), `branch`, `go_on` (the git command that
  brings the checkout onto the newest keep; null: it is there), `warnings`.
- `log` is a list of experiments, `show` and `try` are one: `n`, `verdict`, `score`, `gain`,
  `interval` (of a confirmed stack both stand on its tip), `confirmed_with` (the number of that
  tip), `simpler`, `charges` (what soft constraints take off the score, by name), `candidate`,
  `parent`, `start`, `against`, `agent`, `description`, `hypothesis`, `started`, `seconds`,
  `measurements`, `reason`,
  `parameters`, `dropped`, `expected` (the gain, by the agent's word), `held` (whether it came to
  that), `cost` (dollars), `tokens_in`, `tokens_cached`, `tokens_out`, `thought` (seconds that the
  agent took). A measurement has `seed`, `score`, `outcome`, `numbers` (the referee's and
  overnight's own), `reported` (the run's own words), `stage_seconds`, `device`, `self_reported`,
  `sandbox`, `referee`, `purpose` (judge; in show alone also holdout, replay and ablation), `log`
  (a folder under `.overnight/`).
- `agents --stats` is a list of `agent`, `experiments`, `kept`, `members` (keeps that were confirmed
  with a later one), `keep_rate`, `gain` (verified), `tokens`, `cost`, `thought`, `unknown_tokens`
  and `unknown_cost` (proposals of which they are not known), `expectations` (those held against
  a result), `held`, `expected` and `came` (gains of those together), `ratio` (of the two).
- `status` has `tag`, `branch`, `arena`, `metric`, `direction`, `baseline` (a score), `incumbent`
  (an experiment), `experiments`, `keeps`, `wins`, `verdicts`, `keep_rate`, `gain`, `running` (what
  is under way), `left` (of the limits), `seconds`, `stop_reason`, `self_reported`, `unconfined`,
  `noise`, `cost` (dollars of the proposals of which it is known), `unknown_cost` (how many others
  there are), `tokens`, `unknown_tokens`, `thought`, `agents` (the same of each, by name),
  `provisional` (their numbers), `pruning` (runs ended early, controls, seconds saved, wins lost),
  `holdout` (the final exam: the scores of baseline and incumbent, the gap between the two gains
  over the baseline, and read: how many such scores there have been).

This page is written by `python docs/write_commands.py`.
"""


def page() -> str:
    """The page's whole text."""
    from overnight.cli import application

    known = application().registered_commands
    names = [info.name or info.callback.__name__ for info in known if info.callback]
    parts = [INTRODUCTION]
    for name in names:
        parts.append(f"## overnight {name}\n\n```\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def help_of(name: str) -> str:
    """What `overnight NAME --help` prints on a terminal of 88 columns."""
    environment = {**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "overnight", name, "--help"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        Path(__file__).with_name("commands.md").write_text(page())
