"""The run: the candidate on small logs that everybody knows, so that its log tells a mistake.

Nothing here counts. The referee makes logs of its own and looks at every answer again; a wrong one
is its to call invalid.
"""

from __future__ import annotations

from aggregate import aggregate
from logs import make_log
from reference import as_text, difference, table

LOGS = [b"", b"\n\n", *(make_log(seed, lines) for seed, lines in enumerate([1, 7, 500, 1500]))]


def main() -> None:
    wrong = 0
    for n, log in enumerate(LOGS):
        if different := difference(as_text(aggregate(log)), as_text(table(log))):
            print(f"log {n} of {len(LOGS)}, {len(log)} bytes: {different}")
            wrong += 1
    print(f"wrong_answers: {wrong}")


if __name__ == "__main__":
    main()
