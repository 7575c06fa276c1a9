"""Answers for a trained model, in a process of its own: token ids in, logits out.

    python serve.py CANDIDATE OUT

Loads `train.load(OUT)` from the folder CANDIDATE and then speaks frames over standard input and
output: a header of three little-endian uint32 (rows, columns, depth), then the raw numbers.
A request is ids, uint16 (rows, columns) with depth 1; its answer is logits, float32 (rows, columns,
depth). No pickle, no text: whatever the candidate does, the referee reads nothing but numbers.
This is not a sandbox: it keeps the candidate's code out of the referee's process, no more.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import BinaryIO

import numpy as np

HEADER = struct.Struct("<III")


def read_frame(
    stream: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...] | None = None
) -> np.ndarray | None:
    """The next frame, (rows, columns, depth); None at the end of the stream.

    Raises ValueError when it announces another shape than the one expected.
    """
    head = stream.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    announced = HEADER.unpack(head)
    if shape and announced != shape:
        raise ValueError(f"found logits of shape {announced}, expected {shape}")
    data = np.empty(announced, dtype)
    view, have = memoryview(data).cast("B"), 0
    while have < data.nbytes:
        count = stream.readinto(view[have:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"the stream ended after {have:,} of {data.nbytes:,} bytes")
        have += count
    return data


def write_frame(stream: BinaryIO, data: np.ndarray) -> None:
    """Send a (rows, columns, depth) array, as it lies in memory."""
    data = np.ascontiguousarray(data)
    stream.write(HEADER.pack(*data.shape))
    stream.write(memoryview(data).cast("B"))
    stream.flush()


def main() -> None:
    candidate, out = sys.argv[1:3]
    # What the candidate prints must not end up between the frames.
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    sys.path[0] = candidate
    import torch

    torch.set_num_threads(1)
    import train

    model = train.load(out)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        while (ids := read_frame(sys.stdin.buffer, np.uint16)) is not None:
            logits = model(torch.from_numpy(ids[..., 0].astype(np.int64)).to(device))
            if logits.ndim != 3:
                sys.exit(f"found logits of shape {tuple(logits.shape)}, expected three dimensions")
            write_frame(answers, logits.float().cpu().numpy())


if __name__ == "__main__":
    main()
