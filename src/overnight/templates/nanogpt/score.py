"""The referee: bits per byte of the held-out documents, by a model in another process.

The candidate's code is never imported here. serve.py loads it in a sandbox that has neither this
file's process nor the held-out text, gets token ids and gives logits; what they are worth is
computed on this side.

A language model must answer from the past alone. So a second server, which shares nothing with the
first, is shown some of the same windows with everything after a random place replaced: its logits
there must be those of the first, or the candidate looked at the tokens it had to predict, or went
on learning from the ones it was shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from prepare import Tokens, heldout_tokens

from overnight.referee import Candidate, Invalid, report

SHORTEST, LONGEST = 128, 256  # tokens that a model sees at once
ROWS = 8  # windows in one question
SPOT_CHECKS = 96  # windows, in questions of ROWS
TOLERANCE = 0.01  # nats; questions of one shape get the same answer, even in bfloat16
# Fresh pages for every large array would cost a third of the time (read by glibc at start).
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31)}

Question = tuple[np.ndarray, np.ndarray]
"""Token ids and the tokens that follow them, both (ROWS, length) uint16."""


class Server:
    """serve.py with the candidate's code and what its run left, as something that can be asked."""

    def __init__(self, vocabulary: int) -> None:
        self._candidate = Candidate("python serve.py", env=KEEP_MEMORY)
        self._vocabulary = vocabulary

    def nats(self, questions: list[Question]) -> Iterator[np.ndarray]:
        """Minus log p of each target given the ids up to its place, (ROWS, length) each."""
        if questions:
            self._candidate.send(ids=questions[0][0])
        for n, (_, targets) in enumerate(questions):
            # One question is always under way, so that both processes have something to do.
            if n + 1 < len(questions):
                self._candidate.send(ids=questions[n + 1][0])
            yield self._receive(targets)

    def _receive(self, targets: np.ndarray) -> np.ndarray:
        shape = (*targets.shape, self._vocabulary)
        logits = self._candidate.receive().array("logits", "float32", shape)
        right = np.take_along_axis(logits, targets[..., None].astype(np.int64), axis=-1)[..., 0]
        top = logits.max(axis=-1, keepdims=True)
        if not (np.isfinite(top).all() and np.isfinite(logits.min())):
            raise Invalid("some logits are not finite")
        logits -= top
        np.exp(logits, out=logits)
        return np.log(logits.sum(axis=-1, dtype=np.float64)) + top[..., 0] - right

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._candidate.close()


def questions(tokens: Tokens) -> list[Question]:
    """The held-out stream in windows of many lengths, the same ones for every candidate; every
    token that is not a boundary is a target exactly once."""
    lengths = np.random.default_rng(0)
    found, at = [], 0
    while at < len(tokens.ids) - 1:
        length = int(lengths.integers(SHORTEST, LONGEST + 1))
        piece = tokens.ids[at : at + ROWS * length + 1]
        piece = np.pad(piece, (0, ROWS * length + 1 - len(piece)), constant_values=tokens.boundary)
        found.append((piece[:-1].reshape(ROWS, length), piece[1:].reshape(ROWS, length)))
        at += ROWS * length
    return found


def with_another_future(question: Question, places: np.ndarray, chance: np.random.Generator,
                        vocabulary: int) -> Question:  # fmt: skip
    """The same windows with the ids after each row's place drawn at random."""
    ids, targets = question
    drawn = chance.integers(0, vocabulary, ids.shape, dtype=np.uint16)
    past = np.arange(ids.shape[1]) <= places[:, None]
    return np.where(past, ids, drawn), targets


def compare(before: np.ndarray, after: np.ndarray) -> None:
    """Refuse answers that were others while the tokens to come were in sight, (checks,) nats."""
    differ = np.abs(after - before)
    if not differ.max() <= TOLERANCE:
        raise Invalid(
            f"{np.sum(differ > TOLERANCE)} of {len(differ)} predictions changed, by up to "
            f"{differ.max():.2g} nats, when the tokens after them were replaced. A model must "
            "answer from the past alone: look for a mask or a shift that lets the future in, or "
            "for something that it remembers from one question to the next."
        )


def measure(first: Server, second: Server, tokens: Tokens) -> dict[str, float]:
    """The metric and what goes with it."""
    chance = np.random.default_rng()  # not the seed of the measurement, which a run knows
    asked = questions(tokens)
    order = [asked[n] for n in chance.permutation(len(asked))]
    checked = chance.permutation(len(order))[: SPOT_CHECKS // ROWS]
    places = [chance.integers(0, order[n][0].shape[1], ROWS) for n in checked]
    others = [
        with_another_future(order[n], place, chance, tokens.vocabulary)
        for n, place in zip(checked, places, strict=True)
    ]
    with ThreadPoolExecutor(1) as aside:
        again = aside.submit(lambda: list(second.nats(others)))
        nats = list(first.nats(order))
        rows = np.arange(ROWS)
        before = [nats[n][rows, place] for n, place in zip(checked, places, strict=True)]
        after = [one[rows, place] for one, place in zip(again.result(), places, strict=True)]
    compare(np.concatenate(before), np.concatenate(after))
    counted = [targets != tokens.boundary for _, targets in order]
    total = sum(float(one[mask].sum()) for one, mask in zip(nats, counted, strict=True))
    return {
        "val_bpb": round(total / math.log(2) / tokens.text_bytes, 6),
        "tokens": sum(int(mask.sum()) for mask in counted),
        "bytes": tokens.text_bytes,
    }


def score() -> dict[str, float]:
    """What this referee reports."""
    tokens = heldout_tokens()
    servers = [Server(tokens.vocabulary) for _ in range(2)]
    try:
        return measure(*servers, tokens)
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    report(score)
