"""A program that searches everything it can read for an exam's scores, and says where they are.

    python3 spy.py SECONDS PLACE…     files there that were written since that time

It looks for their digits as text and for the numbers as SQLite stores them, in files, in its brief
and environment, and in those of other processes.
"""

import os
import pathlib
import struct
import sys

DIGITS = "432" + "1987"  # not in one piece, or it would find itself
SCORES = [n + float("0." + DIGITS) for n in range(-20, 40)]
DOUBLES = [struct.pack(f"{end}d", k * s) for s in SCORES for k in (1, 2) for end in "<>"]
NEEDLES = [DIGITS.encode(), *DOUBLES]
LEFT_OUT = ("sys", "usr", "lib", "proc")


def contents(began: float, tops: list[str]):  # type: ignore[no-untyped-def]
    yield "environment", repr(os.environ).encode()
    yield "brief", sys.stdin.buffer.read()
    processes = pathlib.Path("/proc").glob("[0-9]*")
    places = [process / name for process in processes for name in ("environ", "cmdline")]
    for top in tops:
        places.append(pathlib.Path(top))  # a file that cannot be listed may still be read
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if folder != "/" or name not in LEFT_OUT]
            places += [pathlib.Path(folder, name) for name in files]
    for place in places:
        try:
            if place.is_file() and (
                place.is_relative_to("/proc") or place.stat().st_mtime >= began
            ):
                yield str(place), place.read_bytes()
        except OSError:
            continue  # out of reach


def main() -> None:
    read, found = 0, []
    for name, content in contents(float(sys.argv[1]), sys.argv[2:]):
        read += 1
        if any(needle in content for needle in NEEDLES):
            found.append(name)
    print("searched", read, "found", found)


if __name__ == "__main__":
    main()
