"""The output of a stage: what is kept of it, and what is read from its end."""

from __future__ import annotations

from pathlib import Path

from overnight.core.text import exception_line, tail
from overnight.stage.stage import StageEnd
from stages import MB, Stages, linux


@linux
def test_a_flood_of_output_is_bounded_and_keeps_its_beginning_and_its_exact_end(
    stages: Stages,
) -> None:
    result = stages.run("echo begin; head -c 100000000 /dev/zero; echo; echo the end")
    assert (result.end, result.log_error) == (StageEnd.EXITED, "")
    data = stages.log.read_bytes()
    assert len(data) < 10 * MB + 100
    assert data.startswith(b"begin\n\0")
    assert tail(stages.log, 1) == "the end"
    left_out = 100_000_000 + len("begin\n\nthe end\n") - 10 * MB
    assert f"[... {left_out:,} bytes left out ...]".encode() in data


def test_output_up_to_the_limit_is_complete(stages: Stages) -> None:
    stages.run(f"seq 1 2000000 | head -c {10 * MB}")
    everything = "".join(f"{n}\n" for n in range(1, 2_000_001))
    assert stages.text() == everything[: 10 * MB]


def test_output_just_over_the_limit_loses_only_what_it_must(stages: Stages) -> None:
    stages.run(f"seq 1 2000000 | head -c {10 * MB + 3893}")
    everything = "".join(f"{n}\n" for n in range(1, 2_000_001))[: 10 * MB + 3893]
    head, tail_ = stages.text().split("\n[... 3,893 bytes left out ...]\n")
    assert head + tail_ == everything[: len(head)] + everything[-len(tail_) :]
    assert len(head) + len(tail_) == 10 * MB


@linux
def test_a_full_disk_neither_ends_nor_blocks_the_stage_and_is_reported(
    stages: Stages, small_disk: Path
) -> None:
    log = small_disk / "stage.log"
    result = stages.run("head -c 5000000 /dev/zero; exit 7", stdout=log, stderr=log)
    assert (result.end, result.exit_code) == (StageEnd.EXITED, 7)
    assert "No space left" in result.log_error


def test_a_log_that_cannot_be_opened_is_reported(stages: Stages) -> None:
    result = stages.run("echo lost; exit 4", stdout=stages.folder / "no" / "such.log")
    assert result.exit_code == 4
    assert "No such file" in result.log_error


def test_the_tail_of_a_log_cannot_reach_the_terminal(stages: Stages) -> None:
    stages.log.write_bytes(
        b"one\ntwo\xff\n\x1b]0;owned\x07\x1b[31m\xc2\x9bred\tend\n1%\r50%\r100%\r\n"
    )
    text = tail(stages.log, 3)
    assert text.splitlines()[0] == "two\ufffd"
    assert text.splitlines()[2] == "100%"
    assert text.replace("\n", "").isprintable()
    assert tail(stages.log, 1) == "100%"
    assert tail(stages.folder / "absent.log", 5) == ""


def test_a_tail_of_few_bytes_starts_with_a_whole_line(stages: Stages) -> None:
    stages.log.write_text("first\nsecond\nthird\n")
    assert tail(stages.log, 10, max_bytes=10) == "third"


TRACEBACK = """loading
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    g()
    ~^^
torch.OutOfMemoryError: CUDA out of memory:
tried 2 GiB
done: 5
"""


def test_the_exception_line_is_that_of_the_last_traceback() -> None:
    assert exception_line(TRACEBACK) == "torch.OutOfMemoryError: CUDA out of memory:"
    assert exception_line('  File "a.py", line 1\n    x =\n       ^\nSyntaxError: invalid') == (
        "SyntaxError: invalid"
    )
    assert exception_line("Traceback (most recent call last):\nKeyboardInterrupt\n") == (
        "KeyboardInterrupt"
    )
    assert exception_line("ValueError: printed, not raised") is None


@linux
def test_the_newest_output_is_in_the_log_while_the_stage_works(stages: Stages) -> None:
    """Whatever came before it; who watches the log need not wait for its end."""
    seen: list[bool] = []

    def watch(_: float) -> bool:
        seen.append(stages.log.exists() and b"news" in stages.log.read_bytes()[-2000:])
        return seen[-1]

    for before in (0, 6 * MB, 100 * MB):
        flood = f"head -c {before} /dev/zero; seq 100; echo news; sleep 30"
        assert stages.run(flood, watch=watch).end is StageEnd.CUT
        assert stages.text().endswith("99\n100\nnews\n")
