"""A model's reply, read and applied: what is taken, what is refused, and in which words."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.change import reply, said, searched
from overnight.agents.llm.edits import BadReply, apply, parse, read_text
from overnight.core.errors import Trouble

FILES = {"value.py": "X=10\nY=2\n\nX2=10\n", "score.py": "print(1)\n"}


def editable(path: str) -> bool:
    return path == "value.py" or path.startswith("model/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def made(folder: Path, text: str) -> str:
    apply(parse(text), folder, editable)
    return (folder / "value.py").read_bytes().decode()


def refused(folder: Path, text: str) -> str:
    """The reason; nothing was written."""
    before = {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    with pytest.raises(BadReply) as caught:
        made(folder, text)
    assert caught.value.trouble is Trouble.NO_CHANGE
    assert before == {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    return str(caught.value)


def test_lines_are_replaced_where_they_stand(folder: Path) -> None:
    assert made(folder, said(searched("X=10", "X=5"))) == "X=5\nY=2\n\nX2=10\n"
    assert made(folder, said(searched("X=5\nY=2\n", "Y=3"))) == "Y=3\nX2=10\n"
    removed = "value.py\n<<<<<<< SEARCH\nY=3\n=======\n>>>>>>> REPLACE"
    assert made(folder, said(removed)) == "X2=10\n"


def test_blocks_are_made_one_after_another_and_new_files_whole(folder: Path) -> None:
    whole = "model/new/a.py\n<<<<<<< WHOLE\na = 1\n>>>>>>> WHOLE\n"
    made(folder, said(searched("X=10", "X=5") + "\n" + searched("X=5", "X=4") + "\n" + whole))
    assert (folder / "value.py").read_text().startswith("X=4\n")
    assert (folder / "model" / "new" / "a.py").read_text() == "a = 1\n"


def test_the_words_are_read_and_thoughts_before_them_are_not() -> None:
    text = reply("X=1", "half\tof it", "-0.25").replace("may help", "may\nhelp")
    change = parse(f"Let me think.\n\n- about X\n{text}")
    assert (change.title, change.hypothesis, change.expected) == (
        "half of it",
        "it may help",
        -0.25,
    )
    assert parse(reply("X=1")).expected is None


def test_fences_around_blocks_say_nothing_and_within_them_belong_to_the_text(folder: Path) -> None:
    fenced = searched("X=10", "X=5").replace("<<<<<<< S", "```python\n<<<<<<< S") + "```"
    assert made(folder, said(fenced)).startswith("X=5\n")
    assert made(folder, reply("```\nX=4")) == "```\nX=4\n"


def test_a_text_with_the_words_of_the_form_in_it_can_be_written_whole(folder: Path) -> None:
    text = "TITLE: x\n<<<<<<< SEARCH\n=======\n=======\n>>>>>>> REPLACE"
    assert made(folder, reply(text)) == text + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line that begins with `TITLE:`"),
        ("I cannot help with that.", "no line that begins with `TITLE:`"),
        (reply("X=1").replace("TITLE: another X", "TITLE:"), "TITLE is empty"),
        ("TITLE: one\n" + reply("X=1"), "2 lines that begin with `TITLE:`"),
        (reply("X=1", expected="a lot"), "EXPECTED is `a lot`"),
        (reply("X=1", expected="nan"), "plain number"),
        ("EXPECTED: 1\nTITLE: x\nHYPOTHESIS: y\n", "in this order"),
        (said(""), "no block"),
        (said("<<<<<<< WHOLE\nX=1\n>>>>>>> WHOLE"), "must be the path"),
        (said("value.py\n<<<<<<< WHOLE\nX=1\n"), "no last line `>>>>>>> WHOLE`"),
        (said("value.py\n<<<<<<< SEARCH\nX=1\n>>>>>>> REPLACE"), "0 lines `=======`"),
        (said(searched("X=10\n=======", "X=1")), "2 lines `=======`"),
        (said(searched("", "X=1")), "nothing to search for"),
        (reply("X=1") + "That should do.", "`That should do.` is not a path"),
        (said("please see\n" + searched("X=10", "X=1")), "`please see` is not a path"),
        (said(searched("X=11", "X=1")), r"does not occur in value.py.*nearest line.*X=10"),
        (said(searched("=10", "X=1")), "does not occur"),
        (said(searched("X=10", "X=10")), "leaves every file as it is"),
        (said(searched("X=1", "a", "model/none.py")), "not an existing text file"),
        (said(searched("X=10", "X=1")) + reply("X=2").partition("\n\n")[2], "write only one"),
        (reply("X=\0"), "characters that are not text"),
        (reply("X=\ud800"), "characters that are not text"),
        (reply("x" * 1_000_001), "characters; at most"),
    ],
)
def test_what_is_not_a_change_is_refused_with_the_reason(
    folder: Path, text: str, words: str
) -> None:
    import re

    assert re.search(words, refused(folder, text))


def test_the_nearest_line_of_a_large_file_is_found_at_once(folder: Path) -> None:
    draw = random.Random(1)
    lines = ["".join(draw.choices("abcdefgh ", k=190)) for _ in range(5000)]
    (folder / "value.py").write_text("\n".join([*lines, "    rate = 0.1", *lines]))
    begun = time.process_time()
    assert "`rate = 0.1`" in refused(folder, said(searched("rate = 0.2", "rate = 0.3")))
    refused(folder, said(searched("".join(draw.choices("abcdefgh ", k=190)), "x")))
    assert time.process_time() - begun < 5


def test_a_text_that_occurs_twice_is_not_replaced(folder: Path) -> None:
    (folder / "value.py").write_text("a\nb\na\nb")
    assert "more than once" in refused(folder, said(searched("a", "c")))
    assert "more than once" in refused(folder, said(searched("b", "c")))
    assert made(folder, said(searched("b\na\nb", "c"))) == "a\nc"


@pytest.mark.parametrize(
    "path",
    [
        "score.py",
        "../value.py",
        "model/../score.py",
        "/etc/passwd",
        "~/x",
        "./value.py",
        "model//x.py",
        "model\\x.py",
        "model/.git/config",
        "model/.Overnight/x",
        "model/" + "x" * 300,
        "model/" + "x/" * 3000 + "x.py",
        "model/\x1b[2J",
        "out/x.py",
        "link/x.py",
        "model",
        "model/folder",
        "value.py/x",
    ],
)
def test_only_editable_plain_files_can_be_written(folder: Path, path: str) -> None:
    (folder / "model" / "folder").mkdir(parents=True)
    (folder / "link").symlink_to("model")
    refused(folder, said(f"{path}\n<<<<<<< WHOLE\nprint(0)\n>>>>>>> WHOLE"))


def test_a_link_is_not_followed_even_at_an_editable_path(folder: Path, tmp_path: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "a.py").symlink_to("../score.py")
    assert "link" in refused(folder, said("model/a.py\n<<<<<<< WHOLE\nx\n>>>>>>> WHOLE"))
    (folder / "model" / "sub").symlink_to(folder)
    assert "link" in refused(folder, said("model/sub/score.py\n<<<<<<< WHOLE\nx\n>>>>>>> WHOLE"))


def test_ends_of_lines_and_marks_stay_as_they_were(folder: Path) -> None:
    file = folder / "value.py"
    file.write_bytes("\ufeffX=10\r\nY=2\r\n".encode())
    assert read_text(file) == "X=10\nY=2\n"
    assert made(folder, said(searched("X=10", "X=5"))) == "\ufeffX=5\r\nY=2\r\n"
    file.write_bytes(b"X=10\r\nY=2\n")
    assert made(folder, said(searched("Y=2", "Y=3"))) == "X=10\r\nY=3\n"


def test_one_bad_block_of_many_leaves_all_files_as_they_are(folder: Path) -> None:
    good = "model/new.py\n<<<<<<< WHOLE\nx\n>>>>>>> WHOLE\n"
    refused(folder, said(good + searched("X=10", "X=5") + searched("nothing", "x")))
    assert not (folder / "model").exists()


@given(st.text(max_size=300))
def test_no_reply_can_do_anything_but_be_refused_or_be_read(text: str) -> None:
    for candidate in (text, said(text), reply(text)):
        try:
            parse(candidate)
        except BadReply as error:
            assert str(error)
