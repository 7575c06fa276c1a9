"""Answers for a trained model, in a process and a sandbox of its own: token ids in, logits out.

Started by score.py in the candidate's folder. A message has `ids`, uint16 (rows, columns); its
answer has `logits`, float32 (rows, columns, vocabulary). Whatever the candidate does in here, the
referee reads nothing but numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from overnight.exchange import Message, serve


def prepare() -> Callable[[Message], Message]:
    """Load the candidate's model; returns what answers for it."""
    import torch

    torch.set_num_threads(1)
    import train

    model = train.load(os.environ["OVERNIGHT_OUT"])
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def answer(question: Message) -> Message:
        with torch.inference_mode():
            ids = torch.from_numpy(question.arrays["ids"].astype(np.int64)).to(device)
            return Message(arrays={"logits": model(ids).float().cpu().numpy()})

    return answer


if __name__ == "__main__":
    serve(prepare)
