"""Answers for one version of aggregate.py, in a process and a sandbox of its own.

Started by score.py. The first message has `source`, the version to be asked, or nothing for the
candidate's own. Every other one has `log`, uint8 (bytes,), and is answered with `table`, uint8
(characters of JSON,). Whatever the candidate does in here, the referee reads nothing but that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
from reference import as_text

from overnight.exchange import Message, serve


def prepare() -> Callable[[Message], Message]:
    """Nothing is loaded before the first message says what."""
    found: list[Callable[[bytes], object]] = []

    def answer(question: Message) -> Message:
        if "log" not in question.arrays:
            found.append(version(str(question.fields.get("source", ""))))
            return Message()
        text = as_text(found[0](question.arrays["log"].tobytes()))
        return Message(arrays={"table": np.frombuffer(text, np.uint8)})

    return answer


def version(source: str) -> Callable[[bytes], object]:
    """`aggregate` of this source, or of the candidate's file for none."""
    if not source:
        from aggregate import aggregate

        return aggregate
    module = sys.modules["aggregate"] = ModuleType("aggregate")
    exec(compile(source, "aggregate.py", "exec"), module.__dict__)
    loaded: Callable[[bytes], object] = module.__dict__["aggregate"]
    return loaded


if __name__ == "__main__":
    serve(prepare)
