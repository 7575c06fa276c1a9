"""The nanogpt template: its data, its model, its referee, and what each of them refuses."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nanogpt import TEMPLATE, manifest, python
from overnight.agents.tuner.constants import find_constants
from overnight.arena.arena import Arena
from overnight.measure.progress import Progress

pytest.importorskip("torch")

TEXT = "".join(f"def f{n}(x):\n    return x * {n} + len('{n:x}')\n\n\n" for n in range(9000))


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    """A copy of the template, as `overnight new` makes it."""
    folder = tmp_path / "arena"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine on which the default text has been prepared, once for all tests."""
    folder = tmp_path_factory.mktemp("prepared")
    done = python(TEMPLATE, folder, "prepare.py")
    assert done.returncode == 0, done.stderr
    return folder


def use(arena: Path, command: str) -> None:
    """Write another setup command into arena.toml."""
    contract = arena / "arena.toml"
    text = contract.read_text()
    contract.write_text(text.replace('"python prepare.py"', json.dumps(command)))


def put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# -- the data ----------------------------------------------------------------


def test_the_standard_library_is_split_and_its_heldout_files_are_pinned(home: Path) -> None:
    train, heldout = manifest(home, "train"), manifest(home, "heldout")
    assert train["vocabulary"] == heldout["vocabulary"] == 2048
    assert train["text_bytes"] > 4e6 and 8e4 < heldout["text_bytes"] < 3e5
    assert len(heldout["files"]) == heldout["documents"] > 10
    for path, digest in heldout["files"].items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest


def test_heldout_modules_are_not_imported_by_python_and_torch(home: Path) -> None:
    code = "import sys, torch; print(*(getattr(m, '__file__', 0) for m in sys.modules.values()))"
    imported = set(python(TEMPLATE, home, "-c", code).stdout.split())
    assert not imported & set(manifest(home, "heldout")["files"])


def test_tokens_give_the_heldout_text_back_and_none_of_it_is_for_training(home: Path) -> None:
    import base64

    import numpy as np

    folder = home / "nanogpt"
    pieces = json.loads((folder / "train" / "stdlib" / "tokenizer.json").read_text())["pieces"]
    table = [base64.b64decode(piece) for piece in pieces] + [b"\0"]

    def text(part: str) -> bytes:
        ids = np.fromfile(folder / part / "stdlib" / "tokens.bin", np.uint16)
        return b"".join(table[i] for i in ids)

    training = set(text("train").split(b"\0"))
    documents = [Path(path).read_bytes() for path in manifest(home, "heldout")["files"]]
    assert text("heldout").split(b"\0")[1:] == documents
    assert not training & set(documents)


def test_a_second_preparation_changes_nothing_and_is_quick(home: Path) -> None:
    tokens = home / "nanogpt" / "train" / "stdlib" / "tokens.bin"
    before, begun = tokens.stat(), time.monotonic()
    assert python(TEMPLATE, home, "prepare.py").returncode == 0
    assert time.monotonic() - begun < 5  # a first one reads, learns and encodes 10 MB
    assert (tokens.stat().st_ino, tokens.stat().st_mtime) == (before.st_ino, before.st_mtime)
    assert sorted(p.name for p in (home / "nanogpt").iterdir()) == [
        "heldout",
        "hidden.txt",
        "train",
    ]


def test_a_changed_heldout_file_is_an_error_that_says_what_to_do(
    home: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "home"
    shutil.copytree(home, mine)
    source = put(tmp_path / "module.py", "changed since")
    path = mine / "nanogpt" / "heldout" / "stdlib" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"files": {str(source): "0" * 64}}))
    done = python(TEMPLATE, mine, "prepare.py")
    assert done.returncode != 0 and str(source) in done.stderr
    assert "Put it back" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("script", ["train.py", "score.py"])
def test_without_preparation_the_next_step_is_named(
    arena: Path, tmp_path: Path, script: str
) -> None:
    done = python(arena, tmp_path / "empty", script)
    assert done.returncode != 0
    assert "run `python prepare.py` once" in done.stderr and "Traceback" not in done.stderr


def test_own_text_becomes_a_data_set_of_its_own_that_the_arena_uses(
    arena: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my texts"
    put(folder / "one.txt", TEXT)
    lines = [json.dumps({"text": f"Zeile {n}: größer\n" * 30}) for n in range(200)]
    put(folder / "sub" / "two.jsonl", "\n".join(lines))
    words = ["prepare.py", "--data", str(folder), "--vocabulary", "400"]
    done = python(arena, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    (name,) = (p.name for p in (tmp_path / "nanogpt" / "train").iterdir())
    assert manifest(tmp_path, "heldout", name)["documents"] > 5
    command = re.search(r"command = (.*)", done.stdout)
    assert command, "it does not say how to use it"
    use(arena, json.loads(command[1]))
    done = python(arena, tmp_path, "-c", "import prepare; print(prepare.training_tokens())")
    assert "vocabulary=400" in done.stdout, done.stderr


def test_parquet_is_read_and_needs_pyarrow_only_then(
    arena: Path, tmp_path: Path, load: Callable[[str], ModuleType]
) -> None:
    pyarrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", None, "two"]}), path)
    texts = [document.text for document in load("sources").files([str(path)])]
    assert texts == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.parquet", "no parquet", "pip install pyarrow"),
        ("t.jsonl", '{"words": 1}\n', 'expected {"text": "…"}'),
        ("small.txt", "too little", "the text is too small"),
        (None, "", "no such file or folder"),
    ],
)
def test_text_that_cannot_be_used_is_a_sentence_not_a_traceback(
    arena: Path, tmp_path: Path, name: str | None, content: str, said: str
) -> None:
    put(arena / "pyarrow.py", "raise ImportError\n")
    path = tmp_path / "nowhere" if name is None else put(tmp_path / name, content)
    done = python(arena, tmp_path, "prepare.py", "--data", str(path))
    assert done.returncode != 0
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("nanogpt/*/*"))


# -- the run and the referee ----------------------------------------------------------------


def test_a_run_ends_within_its_budget_and_the_referee_scores_it(
    arena: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = python(arena, home, "train.py", OUT=str(out), BUDGET_S="9", CLOCK="cpu", SEED="1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 9
    assert [p.name for p in out.iterdir()] == ["model.pt"]
    reported = dict(line.split(": ") for line in run.stdout.splitlines())
    assert float(reported["steps"]) >= 1
    (tmp_path / "run.log").write_text(run.stdout)
    progress = Progress(tmp_path / "run.log", "val_bpb")
    progress.read(1.0)
    assert 1 <= len(progress.curve) <= 10 and 0.8 < progress.curve[-1][0] < 1
    assert 1 < progress.curve[-1][1] < 4.5
    score = python(TEMPLATE, home, "score.py", OUT=str(out), CANDIDATE=str(arena))
    assert score.returncode == 0, score.stderr
    numbers = json.loads(score.stdout.splitlines()[-1])
    assert 1 < numbers["val_bpb"] < 3.6  # a coin for every bit of every token gives 3.58
    assert numbers["bytes"] == manifest(home, "heldout")["text_bytes"]


def test_a_budget_too_short_for_a_step_is_said(arena: Path, home: Path) -> None:
    done = python(arena, home, "train.py", BUDGET_S="0.5", CLOCK="cpu")
    assert done.returncode != 0 and "no time for a step" in done.stderr


CANDIDATE = """
import torch
print("a word between the frames")

class Model(torch.nn.Module):
    seen = torch.zeros(2048)

    def forward(self, ids):
        logits = torch.zeros(*ids.shape, 2048)
        {body}
        return logits

def load(folder):
    return Model()
"""


def judged(tmp_path: Path, home: Path, body: str) -> subprocess.CompletedProcess[str]:
    """The referee's answer to a model whose forward has this line in it."""
    put(tmp_path / "candidate" / "train.py", CANDIDATE.format(body=body))
    shutil.copy(TEMPLATE / "serve.py", tmp_path / "candidate")
    folder = str(tmp_path / "candidate")
    return python(TEMPLATE, home, "score.py", OUT=str(tmp_path), CANDIDATE=folder)


def test_a_model_that_knows_nothing_costs_all_bits_of_every_token(
    tmp_path: Path, home: Path
) -> None:
    done = judged(tmp_path, home, "pass")
    numbers = json.loads(done.stdout.splitlines()[-1])
    tokens = (home / "nanogpt" / "heldout" / "stdlib" / "tokens.bin").stat().st_size // 2
    assert numbers["tokens"] == tokens - manifest(home, "heldout")["documents"]
    assert numbers["val_bpb"] == pytest.approx(11 * numbers["tokens"] / numbers["bytes"], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("logits[0, 3, 7] = float('nan')", "not finite"),
        ("logits[0, 3, 7] = float('-inf')", "not finite"),
        ("logits = logits[:, 1:]", r"float32 of shape \(8, \d+, 2048\), expected"),
        ("raise RuntimeError('own fault')", "own fault"),
        ("logits[:, :-1].scatter_(2, ids[:, 1:, None], 5.0)", "from the past alone"),
        (
            "logits += (1 + self.seen).log(); self.seen += ids.view(-1).bincount(minlength=2048)",
            "remembers from one question",
        ),
        ("import time; time.sleep(1); raise SystemExit", "no answer from the candidate"),
    ],
    ids=["nan", "infinity", "shape", "crash", "future", "learning", "exit"],
)
def test_answers_that_cannot_be_scored_are_refused(
    tmp_path: Path, home: Path, body: str, said: str
) -> None:
    done = judged(tmp_path, home, body)
    assert done.returncode == 0, done.stderr
    (why,) = json.loads(done.stdout.splitlines()[-1]).values()
    assert "val_bpb" not in done.stdout and re.search(said, why), why


# -- the model ----------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"CONV_LAYERS": 1, "TOKEN_SHIFT": True, "VALUE_EMBEDDINGS": False, "SOFTCAP": 0.0},
        {"CONV_LAYERS": 4, "ACTIVATION": "gelu", "MLP_RATIO": 0.5, "CONV_TAPS": 8},
        {"WIDTH": 96, "HEAD_SIZE": 128, "ACTIVATION": "silu", "DEPTH": 1},
    ],
    ids=["start", "mixed", "convolutions", "odd sizes"],
)
def test_every_ingredient_learns_and_answers_from_the_past_alone(
    change: dict[str, Any], load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    train = load("train")
    for name, value in change.items():
        monkeypatch.setattr(train, name, value)
    torch.manual_seed(0)
    model, ids = train.GPT(300), torch.randint(300, (2, 40))
    tools = train.optimizers(model)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(model(ids)[:, :-1].mT, ids[:, 1:])
        loss.backward()
        losses.append(loss.item())
        for tool in tools:
            tool.step()
            tool.zero_grad()
    assert losses[0] == pytest.approx(math.log(300), abs=0.01) and losses[-1] < losses[0] - 0.5
    later = ids.clone()
    later[:, 20:] = 0
    assert torch.equal(model(ids)[:, :20], model(later)[:, :20])


# -- the arena ----------------------------------------------------------------


def test_the_arena_is_valid_and_the_tuner_finds_its_knobs(arena: Path) -> None:
    Arena.load(arena)
    constants = {c.name: c for c in find_constants("train.py", (arena / "train.py").read_text())}
    knobs = {"DEPTH", "WIDTH", "MLP_RATIO", "BATCH", "MATRIX_LR", "DECAY", "CONV_LAYERS"}
    assert knobs <= set(constants) and not {"BUDGET", "SEED", "RESERVE", "OUT"} & set(constants)
    for constant in constants.values():
        assert constant.steps(1.0), f"{constant.name} has nowhere to go"


@pytest.mark.parametrize("name", ["keep", "discard"])
def test_the_proofs_apply(arena: Path, name: str) -> None:
    before = (arena / "train.py").read_text()
    words = ["git", "apply", f"proofs/{name}.patch"]
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(arena.parent)}
    done = subprocess.run(words, cwd=arena, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (arena / "train.py").read_text() != before
