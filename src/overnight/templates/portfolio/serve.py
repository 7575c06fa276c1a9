"""Answers for a strategy, in a process and a sandbox of its own: a day's prices in, weights out.

Started by score.py in the candidate's folder. A message has `prices`, float64 (days, assets), those
of the days since the last one, and `held`, float64 (assets,); its answer has `weights`, float64
(assets,). What has not happened yet is not in this process.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from overnight.exchange import Message, serve


def prepare() -> Callable[[Message], Message]:
    """Load the candidate's strategy."""
    from strategy import weights

    past: np.ndarray | None = None

    def answer(question: Message) -> Message:
        nonlocal past
        new = question.arrays["prices"]
        past = new if past is None else np.concatenate([past, new])
        found = weights(past, question.arrays["held"])
        return Message(arrays={"weights": np.asarray(found, np.float64)})

    return answer


if __name__ == "__main__":
    serve(prepare)
