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
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nanogpt import TEMPLATE, TEXT, manifest, python, start_seconds, use_text
from overnight.agents.tuner.constants import find_constants
from overnight.arena.arena import Arena
from overnight.measure.progress import Progress
from template import imported, scored

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # two that wait for each other spin: ten times slower on a busy machine


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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena that uses a small text of its own, prepared below `home` beside it."""
    folder = tmp_path_factory.mktemp("small")
    arena = folder / "arena"
    shutil.copytree(TEMPLATE, arena, ignore=shutil.ignore_patterns("__pycache__"))
    put(folder / "my texts" / "one.txt", TEXT)
    lines = [json.dumps({"text": f"Zeile {n}: größer\n" * 30}) for n in range(200)]
    put(folder / "my texts" / "sub" / "two.jsonl", "\n".join(lines))
    use_text(arena, folder / "home", folder / "my texts")
    return arena


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


def test_own_text_becomes_a_data_set_of_its_own_that_the_arena_uses(small: Path) -> None:
    home = small.parent / "home"
    (name,) = (p.name for p in (home / "nanogpt" / "train").iterdir())
    assert manifest(home, "heldout", name)["documents"] > 5
    done = python(small, home, "-c", "import prepare; print(prepare.training_tokens())")
    assert "vocabulary=400" in done.stdout, done.stderr


def test_parquet_is_read_and_needs_pyarrow_only_then(tmp_path: Path) -> None:
    pyarrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", None, "two"]}), path)
    with imported(TEMPLATE, "sources") as sources:
        texts = [document.text for document in sources.files([str(path)])]
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


@pytest.fixture(scope="module")
def start(small: Path) -> float:
    """Processor time that a run needs on this machine before its first step, in seconds."""
    return start_seconds(small, small.parent / "home")


def test_a_run_ends_within_its_budget_and_the_referee_scores_it(
    small: Path, start: float, tmp_path: Path
) -> None:
    out, home, budget = tmp_path / "out", small.parent / "home", 2.5 * start
    out.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = {"OUT": str(out), "BUDGET_S": str(budget), "CLOCK": "cpu", "SEED": "1"}
    run = python(small, home, "train.py", **words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < budget
    assert [p.name for p in out.iterdir()] == ["model.pt"]
    reported = dict(line.split(": ") for line in run.stdout.splitlines() if ": " in line)
    assert float(reported["steps"]) >= 1
    (tmp_path / "run.log").write_text(run.stdout)
    progress = Progress(tmp_path / "run.log", "val_bpb")
    progress.read(1.0)
    told = [int(10 * at) for at, _ in progress.curve]
    assert told == sorted(set(told)), "once for each tenth of the budget"
    assert float(reported["seconds"]) / budget - 0.2 < progress.curve[-1][0] < 1, "to the end"
    numbers = scored(small, small, HOME=home, OUT=out)
    unlearned = math.log2(400) * numbers["tokens"] / numbers["bytes"]
    assert 0.1 < progress.curve[-1][1] < unlearned and 0.1 < numbers["val_bpb"] < unlearned


CANDIDATE = """
import time
import numpy as np
from overnight.exchange import Message, serve

seen = np.zeros(400)

def answer(question):
    print("a word between the frames")
    ids = question.arrays["ids"].astype(int)
    logits = np.zeros((*ids.shape, 400), np.float32)
    {body}
    return Message(arrays={{"logits": logits}})

serve(lambda: answer)
"""


@pytest.fixture
def judged(small: Path, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The referee's answer to a model whose logits are 0 but for this line."""

    def judged(body: str) -> dict[str, Any]:
        put(tmp_path / "serve.py", CANDIDATE.format(body=body))
        return scored(small, tmp_path, HOME=small.parent / "home", OUT=tmp_path)

    return judged


def test_a_model_that_knows_nothing_costs_all_bits_of_every_token(
    small: Path, judged: Callable[[str], dict[str, Any]]
) -> None:
    numbers = judged("pass")
    (folder,) = (small.parent / "home" / "nanogpt" / "heldout").iterdir()
    held = manifest(small.parent / "home", "heldout", folder.name)
    tokens = (folder / "tokens.bin").stat().st_size // 2
    assert numbers.get("bytes") == held["text_bytes"], numbers
    assert numbers["tokens"] == tokens - held["documents"]
    bits = math.log2(400) * numbers["tokens"]
    assert numbers["val_bpb"] == pytest.approx(bits / numbers["bytes"], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("logits[0, 3, 7] = np.nan", "not finite"),
        ("logits[0, 3, 7] = -np.inf", "not finite"),
        ("logits = logits[:, 1:]", r"float32 of shape \(8, \d+, 400\), expected"),
        ("raise RuntimeError('own fault')", "own fault"),
        ("np.put_along_axis(logits[:, :-1], ids[:, 1:, None], 5.0, 2)", "from the past alone"),
        (
            "logits += np.log(1 + seen); seen[:] += np.bincount(ids.ravel(), minlength=400)",
            "remembers from one question",
        ),
        ("time.sleep(1); raise SystemExit", "no answer from the candidate"),
    ],
    ids=["nan", "infinity", "shape", "crash", "future", "learning", "exit"],
)
def test_answers_that_cannot_be_scored_are_refused(
    judged: Callable[[str], dict[str, Any]], body: str, said: str
) -> None:
    answer = judged(body)
    assert set(answer) == {"invalid"} and re.search(said, answer["invalid"]), answer


# -- the model ----------------------------------------------------------------


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    with imported(TEMPLATE, "train") as module:
        yield module


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
    change: dict[str, Any], train: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_product_of_a_step_has_the_dtype_that_is_fast_here(
    dtype: str, train: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore
            if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
                found.update(x.dtype for x in args)
            return function(*args, **(kwargs or {}))

    found: set[torch.dtype] = set()
    monkeypatch.setattr(train, "FAST_BF16", dtype == "bfloat16")
    monkeypatch.setattr(train, "DTYPE", getattr(torch, dtype))
    model, ids = train.GPT(300), torch.randint(300, (2, 16))
    with Products():
        model(ids).sum().backward()
        for tool in train.optimizers(model):
            tool.step()
    assert found == {train.DTYPE}


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
