"""What a run left: hostile files of every kind, and what of them reaches the referee."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.measure.artefacts import DEEPEST, take_over


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def taken(
    out: Path, most_bytes: int = 10**6, most_files: int = 100
) -> tuple[set[str], list[str], str]:
    """Paths that arrived, what was left out, and why it was refused."""
    target = out.with_name("artefacts")
    found = take_over(out, target, 10**6, most_files)
    arrived = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}
    return arrived, found.left_out, found.refused


def test_regular_files_arrive_with_their_folders_and_cannot_be_written(out: Path) -> None:
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / "weights ü.pt").write_bytes(b"123")
    (out / "note").write_text("x")
    assert taken(out) == ({"a/b/weights ü.pt", "note"}, [], "")
    arrived = out.with_name("artefacts") / "a" / "b" / "weights ü.pt"
    assert arrived.read_bytes() == b"123" and arrived.stat().st_mode & 0o777 == 0o444


def test_links_pipes_sockets_and_odd_names_stay_behind(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("the answer")
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder").symlink_to("/etc")
    os.mkfifo(out / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(out)  # a socket's path may have 100 characters only
        server.bind("socket")
    (out / "two\nlines").write_text("x")
    (out / "good").write_text("x")
    arrived, left_out, refused = taken(out)
    assert arrived == {"good"} and not refused
    assert left_out == [
        "'folder' (a link)", "'link' (a link)", "'pipe' (a named pipe)", "'socket' (a socket)",
        r"'two\nlines' (its name has unprintable characters)",
    ]  # fmt: skip


def test_a_device_stays_behind(out: Path) -> None:
    os.mknod(out / "disk", 0o60600, os.makedev(7, 0))
    assert taken(out) == (set(), ["'disk' (a device)"], "")


def test_a_sparse_file_of_a_terabyte_is_refused_without_being_read(out: Path) -> None:
    with (out / "huge").open("wb") as file:
        file.truncate(10**12)
    arrived, _, refused = taken(out)
    assert not arrived and refused.startswith("the run left more than 1 MB ('huge' and others)")


def test_too_many_files_are_refused(out: Path) -> None:
    for n in range(30):
        (out / str(n)).touch()
    assert taken(out, most_files=20)[2] == "the run left more than 20 files"


def test_a_folder_of_any_depth_ends_somewhere(out: Path) -> None:
    deep = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", deep], cwd=out, check=True)
    _, left_out, refused = taken(out)
    subprocess.run(["rm", "-rf", str(out)], check=True)  # deeper than what clears up after tests
    assert not refused and f"more than {DEEPEST} folders deep" in left_out[0]


def test_a_file_with_a_second_name_elsewhere_is_copied(out: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    (tmp_path / "mine").chmod(0o600)
    os.link(tmp_path / "mine", out / "theirs")
    assert taken(out)[0] == {"theirs"}
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600


def test_folders_without_permissions_are_entered(out: Path) -> None:
    (out / "closed").mkdir()
    (out / "closed" / "file").write_text("x")
    (out / "closed").chmod(0)
    out.chmod(0)
    assert taken(out)[0] == {"closed/file"}
