"""The run: the candidate on small logs that everybody knows, so that a mistake is seen early.

Nothing here counts. The referee makes logs of its own and looks at every answer again.
"""

from __future__ import annotations

import sys

from aggregate import aggregate
from logs import make_log
from reference import as_text, difference, table

LOGS = [b"", b"\n\n", *(make_log(seed, lines) for seed, lines in enumerate([1, 7, 500, 1500]))]


def main() -> None:
    for n, log in enumerate(LOGS):
        if wrong := difference(as_text(aggregate(log)), as_text(table(log))):
            sys.exit(f"log {n} of {len(LOGS)}, {len(log)} bytes: {wrong}")
    print(f"logs: {len(LOGS)}")


if __name__ == "__main__":
    main()
