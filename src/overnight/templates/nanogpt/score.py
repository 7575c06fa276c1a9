"""The referee: bits per byte of the held-out documents, by a model in another process.

The candidate's code is never imported here. serve.py loads it, gets token ids and gives logits;
what they are worth is computed on this side.

A language model must answer from the past alone. So a second server, which shares nothing with the
first, is shown some of the same windows with everything after a random place removed: its
logits there must be those of the first, or the candidate looked at the tokens it had to predict.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from prepare import Tokens, heldout_tokens
from serve import read_frame, write_frame

WINDOW = 256  # tokens that a model sees at once
ROWS = 8  # windows in one request
SPOT_CHECKS = 96
TOLERANCE = 0.01  # nats; questions of one shape get the same answer, even in bfloat16
# Fresh pages for every large array would cost a third of the time (read by glibc at start).
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31)}


class Refused(Exception):
    """The candidate's answers cannot be scored; the message says why."""


class Server:
    """serve.py with the candidate's code and what its run left, as something that can be asked."""

    def __init__(self, vocabulary: int) -> None:
        serve = str(Path(__file__).with_name("serve.py"))
        words = [sys.executable, serve, folder("CANDIDATE", "."), folder("OUT", "out")]
        env, pipe = os.environ | KEEP_MEMORY, subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, env=env, pipesize=1 << 20)
        self._vocabulary = vocabulary

    def nats(self, ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Minus log p of each target given the ids up to its place; all are (windows, WINDOW)."""
        groups = range(0, len(ids), ROWS)
        answers = np.empty(ids.shape)
        self._send(ids[:ROWS])
        for at in groups:
            # One question is always under way, so that both processes have something to do.
            self._send(ids[at + ROWS : at + 2 * ROWS])
            answers[at : at + ROWS] = self._receive(targets[at : at + ROWS])
        return answers

    def _send(self, ids: np.ndarray) -> None:
        assert self._process.stdin
        if len(ids):
            with suppress(BrokenPipeError):  # the answer that is missing tells more
                write_frame(self._process.stdin, ids[..., None])

    def _receive(self, targets: np.ndarray) -> np.ndarray:
        assert self._process.stdout
        try:
            shape = (*targets.shape, self._vocabulary)
            logits = read_frame(self._process.stdout, np.float32, shape)
        except (EOFError, ValueError) as error:
            raise Refused(str(error)) from error
        if logits is None:
            code = self._process.wait()
            raise Refused(f"no answer: the candidate's process ended with exit code {code}")
        right = np.take_along_axis(logits, targets[..., None].astype(np.int64), axis=-1)[..., 0]
        top = logits.max(axis=-1, keepdims=True)
        if not (np.isfinite(top).all() and np.isfinite(logits.min())):
            raise Refused("some logits are not finite")
        logits -= top
        np.exp(logits, out=logits)
        return np.log(logits.sum(axis=-1, dtype=np.float64)) + top[..., 0] - right

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def folder(name: str, by_hand: str) -> str:
    """One of the contract's folders, or what it is when a person runs this by hand."""
    return str(Path(os.environ.get(f"OVERNIGHT_{name}", by_hand)).resolve())


def windows(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """The held-out stream as ids and targets, (windows, WINDOW) uint16; every token that is not a
    boundary is a target exactly once. Boundaries fill it up, so that every question is complete."""
    short = -(len(tokens.ids) - 1) % (WINDOW * ROWS)
    padded = np.pad(tokens.ids, (0, short), constant_values=tokens.boundary)
    return padded[:-1].reshape(-1, WINDOW), padded[1:].reshape(-1, WINDOW)


def compare(before: np.ndarray, after: np.ndarray) -> None:
    """Refuse answers that were others while the tokens to come were in sight, (checks,) nats."""
    differ = np.abs(after - before)
    if differ.max() > TOLERANCE:
        raise Refused(
            f"{np.sum(differ > TOLERANCE)} of {len(differ)} predictions changed, by up to "
            f"{differ.max():.2g} nats, when the tokens after them were taken away. A model must "
            "answer from the past alone: look for a mask or a shift that lets the future in."
        )


def score(first: Server, second: Server, tokens: Tokens) -> dict[str, float]:
    """The metric and what goes with it."""
    ids, targets = windows(tokens)
    chance = np.random.default_rng()  # not the seed of the measurement, which a run knows
    rows = chance.permutation(len(ids))[:SPOT_CHECKS]
    places = chance.integers(0, WINDOW, len(rows))
    past = np.where(np.arange(WINDOW) <= places[:, None], ids[rows], tokens.boundary)
    with ThreadPoolExecutor(1) as aside:
        checks = aside.submit(second.nats, past.astype(np.uint16), targets[rows])
        nats = first.nats(ids, targets)
        again = checks.result()
    compare(nats[rows, places], again[np.arange(len(rows)), places])
    counted = targets != tokens.boundary
    bits = float(nats[counted].sum()) / math.log(2)
    return {
        "val_bpb": round(bits / tokens.text_bytes, 6),
        "tokens": int(counted.sum()),
        "bytes": tokens.text_bytes,
    }


def main() -> None:
    """Print the score as one line of JSON; anything else ends with a reason and exit code 1."""
    tokens = heldout_tokens()
    servers = [Server(tokens.vocabulary) for _ in range(2)]
    try:
        print(json.dumps(score(*servers, tokens)))
    except Refused as reason:
        sys.exit(f"refused: {reason}")
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
