"""A small language model, trained from nothing until the time is up. This file is yours to change.

    python train.py            leaves the trained model in $OVERNIGHT_OUT (by hand: ./out)

What must stay: nothing is written outside that folder, the process ends before its budget does,
and `load(folder)` returns what was trained, as a function from token ids to logits.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from pathlib import Path

# Threads that wait without spinning leave the processor to the experiments beside this one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.nn.functional as F
from prepare import Tokens, training_tokens
from torch import Tensor, nn

# The model.
DEPTH = 3  # 1..8
WIDTH = 128  # one of: 64, 96, 128, 192, 256, 384, 512
HEAD_SIZE = 64  # one of: 16, 32, 64, 128
MLP_RATIO = 4.0  # 0.5..8 log
ACTIVATION = "relu2"  # one of: relu2, gelu, silu
CONV_LAYERS = 0  # 0..4, the first ones; the others attend
CONV_TAPS = 4  # 2..8
TOKEN_SHIFT = False
VALUE_EMBEDDINGS = True
SOFTCAP = 15.0  # one of: 0.0, 10.0, 15.0, 30.0

# How it learns.
CONTEXT = 256  # one of: 64, 128, 256
BATCH = 8  # 2..64 log
MATRIX_LR = 0.02  # 0.002..0.2 log
EMBEDDING_LR = 1.0  # 0.01..3 log
HEAD_LR = 0.01  # 0.0005..0.1 log
SCALAR_LR = 0.02  # 0.001..0.5 log
MOMENTUM = 0.95  # 0.8..0.99
WEIGHT_DECAY = 0.0  # 0..0.3
WARMUP = 0.0  # 0..0.3 of the time
DECAY = 0.5  # 0.05..1 of the time
FINAL_LR = 0.0  # 0..0.5

# The run: what overnight says, or what suits a try by hand.
OUT = Path(os.environ.get("OVERNIGHT_OUT", "out"))
BUDGET = float(os.environ.get("OVERNIGHT_BUDGET_S", 60))
CLOCK = os.environ.get("OVERNIGHT_CLOCK", "wall")
STARTED = float(os.environ.get("OVERNIGHT_STARTED", time.monotonic() - time.process_time()))
SEED = int(os.environ.get("OVERNIGHT_SEED", 0))
RESERVE = 0.5  # fixed: seconds kept for saving the model and leaving
LOOKS = 10  # fixed: parts of the budget after each of which the progress is told
ASIDE = 0.02  # fixed: the end of the training tokens, not trained on, by which it is told

DEVICE = torch.device(
    "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
)
# A processor without bfloat16 instructions emulates them, up to 40 times slower.
FAST_BF16 = DEVICE.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
DTYPE = torch.bfloat16 if FAST_BF16 else torch.float32


def elapsed() -> float:
    """Seconds of the budget that are gone."""
    return time.process_time() if CLOCK == "cpu" else time.monotonic() - STARTED


# -- the model -------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def shift(x: Tensor, by: int) -> Tensor:
    """The sequence (B, T, C) moved `by` places later; zeros come in at its front."""
    return F.pad(x, (0, 0, by, 0))[:, : x.size(1)] if by else x


def linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    """A matrix without bias whose rows are uniform with standard deviation gain / √inputs."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.uniform_(layer.weight, -gain * (3 / inputs) ** 0.5, gain * (3 / inputs) ** 0.5)
    return layer


def rotate(x: Tensor, base: float = 10_000.0) -> Tensor:
    """Rotary position embedding of (B, H, T, D)."""
    half = x.size(-1) // 2
    speed = base ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(x.size(-2), device=x.device)[:, None] * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        inner = max(1, WIDTH // HEAD_SIZE) * HEAD_SIZE
        self.qkv = linear(WIDTH, 3 * inner)
        self.out = linear(inner, WIDTH, gain=0)
        self.values = nn.Embedding(vocabulary, inner) if VALUE_EMBEDDINGS else None

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.values is not None:  # what a token is may matter beside what it has become
            v = v + self.values(ids).to(v.dtype)
        q, k, v = (t.unflatten(-1, (-1, HEAD_SIZE)).transpose(1, 2) for t in (q, k, v))
        q, k = rotate(norm(q)), rotate(norm(k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(-2))


class Convolution(nn.Module):
    """Gated causal convolution, a filter of its own for every channel: cheap, and local."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = linear(WIDTH, 2 * WIDTH)
        self.out = linear(WIDTH, WIDTH, gain=0)
        self.taps = nn.Parameter(torch.full((CONV_TAPS, WIDTH), 1 / CONV_TAPS))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        u, gate = self.inputs(x).chunk(2, dim=-1)
        y = sum(shift(u, n) * tap for n, tap in enumerate(self.taps.to(u.dtype)))
        return self.out(y * F.silu(gate))


class Block(nn.Module):
    """Mix between positions, then think at each position; both add to the residual stream."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        hidden = max(1, round(WIDTH * MLP_RATIO / 16)) * 16
        self.mixer = mixer
        self.previous = nn.Parameter(torch.full((WIDTH,), 0.5)) if TOKEN_SHIFT else None
        self.up = linear(WIDTH, hidden)
        self.down = linear(hidden, WIDTH, gain=0)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        h = norm(x)
        if self.previous is not None:
            h = torch.lerp(h, shift(h, 1), self.previous.to(h.dtype))
        x = x + self.mixer(h, ids)
        h = self.up(norm(x))
        h = F.relu(h).square() if ACTIVATION == "relu2" else getattr(F, ACTIVATION)(h)
        return x + self.down(h)


class GPT(nn.Module):
    """Token ids (B, T) in, logits (B, T, vocabulary) out."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        mixers = [Convolution() if n < CONV_LAYERS else Attention(vocabulary) for n in range(DEPTH)]
        self.blocks = nn.ModuleList(Block(mixer) for mixer in mixers)
        self.head = linear(WIDTH, vocabulary, gain=0)

    def forward(self, ids: Tensor) -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=FAST_BF16):
            x = norm(self.embedding(ids)).to(DTYPE)
            for block in self.blocks:
                x = block(x, ids)
            logits = self.head(norm(x)).float()
        return SOFTCAP * torch.tanh(logits / SOFTCAP) if SOFTCAP else logits


# -- learning --------------------------------------------------------------------------------------


def orthogonalized(g: Tensor, steps: int = 5) -> Tensor:
    """Matrices (N, R, C) with their singular values pushed towards 1 (Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.size(-2) > g.size(-1)
    x = (g.mT if tall else g).to(DTYPE)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalized before they are applied."""

    def __init__(self, matrices: list[nn.Parameter]) -> None:
        shapes = {p.shape for p in matrices}
        groups = [{"params": [p for p in matrices if p.shape == s]} for s in sorted(shapes)]
        super().__init__(groups, {"lr": MATRIX_LR, "weight_decay": WEIGHT_DECAY})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            params, lr = group["params"], group["lr"]
            gradient = torch.stack([p.grad for p in params])
            momentum = self.state[params[0]].setdefault("momentum", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalized(gradient.lerp(momentum, MOMENTUM))
            scale = max(1, gradient.size(-2) / gradient.size(-1)) ** 0.5
            for p, u in zip(params, update, strict=True):
                p.mul_(1 - lr * group["weight_decay"]).add_(u, alpha=-lr * scale)


def optimizers(model: GPT) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, Adam for everything else."""
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    matrices = [m.weight for m in model.blocks.modules() if isinstance(m, nn.Linear)]
    known = {*tables, *matrices, model.head.weight}
    scalars = [p for p in model.parameters() if p not in known]
    groups = [
        {"params": tables, "lr": EMBEDDING_LR},
        {"params": [model.head.weight], "lr": HEAD_LR},
        {"params": scalars, "lr": SCALAR_LR},
    ]
    adam = torch.optim.Adam([g for g in groups if g["params"]], betas=(0.8, 0.95), fused=True)
    return [Muon(matrices), adam]


def learning_rate(done: float) -> float:
    """The factor on every learning rate when this fraction of the budget is gone."""
    rising = min(1.0, done / WARMUP) if WARMUP else 1.0
    falling = min(1.0, max(0.0, 1 - done) / DECAY) if DECAY else 1.0
    return rising * (FINAL_LR + (1 - FINAL_LR) * falling)


def batch(stream: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows from random places: ids (BATCH, CONTEXT), and the token that follows each."""
    starts = generator.integers(0, len(stream) - CONTEXT, (BATCH, 1))
    window = stream[starts + np.arange(CONTEXT + 1)].astype(np.int64)
    ids = torch.from_numpy(window).to(DEVICE, non_blocking=True)
    return ids[:, :-1], ids[:, 1:]


class Progress:
    """Tells now and then how good the model is by now, so that a hopeless run can be ended early.

    In bits per byte of a few windows that are not trained on: about val_bpb, and comparable
    between runs whatever they change. It takes some 3 % of the budget.
    """

    def __init__(self, tokens: Tokens, first: int) -> None:
        windows = min(64, max(4, round(BUDGET / 4)))
        starts = np.linspace(first, len(tokens.ids) - 257, windows).astype(np.int64)
        window = tokens.ids[starts[:, None] + np.arange(257)].astype(np.int64)
        self._ids = torch.from_numpy(window).to(DEVICE)
        self._bytes_per_token = tokens.text_bytes / len(tokens.ids)
        self._looked = int(elapsed() / BUDGET * LOOKS)

    def look(self, model: GPT, now: float) -> None:
        """Tell, if another part of the budget is gone."""
        if int(now / BUDGET * LOOKS) == self._looked:
            return
        self._looked = int(now / BUDGET * LOOKS)
        with torch.no_grad():
            logits = model(self._ids[:, :-1]).flatten(0, 1)
            nats = F.cross_entropy(logits, self._ids[:, 1:].flatten()).item()
        value = nats / math.log(2) / self._bytes_per_token
        print(f"overnight: progress={now / BUDGET:.3f} val_bpb={value:.5f}", flush=True)


def train(model: GPT, tokens: Tokens) -> dict[str, float]:
    """Learn until the budget is gone; returns what there is to report."""
    generator = np.random.default_rng(SEED)
    learned = int(len(tokens.ids) * (1 - ASIDE))
    progress = Progress(tokens, learned)
    tools = optimizers(model)
    rates = [[group["lr"] for group in tool.param_groups] for tool in tools]
    begun, end = elapsed(), BUDGET - RESERVE
    steps, loss, now, step_seconds = 0, math.nan, begun, 0.0
    while now + 1.5 * step_seconds < end:
        factor = learning_rate((now - begun) / (end - begun))
        for tool, first in zip(tools, rates, strict=True):
            for group, rate in zip(tool.param_groups, first, strict=True):
                group["lr"] = rate * factor
        ids, targets = batch(tokens.ids[:learned], generator)
        error = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        error.backward()
        for tool in tools:
            tool.step()
            tool.zero_grad()
        value = error.item()  # waits for the device, so that the clock is honest
        loss = loss + 0.05 * (value - loss) if steps else value
        steps, step_seconds = steps + 1, elapsed() - now
        progress.look(model, now + step_seconds)
        now = elapsed()
    if not steps:
        sys.exit(f"after a start of {begun:.1f} s a budget of {BUDGET:g} s has no time for a step")
    return {
        "train_loss": loss,
        "steps": steps,
        "tokens_per_second": steps * BATCH * CONTEXT / (now - begun),
        "startup_seconds": begun,
    }


# -- the contract ----------------------------------------------------------------------------------


def load(folder: str | Path) -> GPT:
    """The model that a run left in `folder`, ready to answer."""
    state = torch.load(Path(folder) / "model.pt", map_location=DEVICE, weights_only=True)
    model = GPT(state["embedding.weight"].size(0)).to(DEVICE)
    model.load_state_dict(state)
    return model.eval()


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: fresh pages for every tensor slow a step on CPU."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and stay there


def main() -> None:
    keep_freed_memory()
    torch.manual_seed(SEED)
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    tokens = training_tokens()
    model = GPT(tokens.vocabulary).to(DEVICE)
    report = train(model, tokens)
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), OUT / "model.pt")
    report |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": elapsed(),
    }
    for key, value in report.items():
        print(f"{key}: {value:.6g}", flush=True)
    os._exit(0)  # Python's own way out takes torch apart first: up to a second of the budget


if __name__ == "__main__":
    main()
