"""Candidates: what they are made of, and the checkouts they are made in."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bench import Bench, editable, fingerprint, repository, write
from overnight.core.errors import WorkspaceError
from overnight.repo.acceptance import MOST_FILE_BYTES
from overnight.repo.workspace import Stale
from toy import git


def test_a_candidate_is_the_parents_tree_plus_editable_paths_and_nothing_else(bench: Bench) -> None:
    place, folder = bench.checkout()
    write(folder, {"train.py": "x = 2\n", "model/a.py": "1\n", "prepare.py": "cheat\n"})
    write(folder, {"notes/idea.txt": "x\n", ".gitattributes": "* -text\n", "left over": "\n"})
    made = bench.commit(place)
    assert made.commit and not made.refused
    assert set(bench.tree(made.commit)) == {"train.py", "prepare.py", "model/a.py"}
    assert git(bench.root, "show", f"{made.commit}:prepare.py") == "y = 2\n"
    assert git(bench.root, "show", f"{made.commit}:train.py") == "x = 2\n"
    assert made.dropped == (".gitattributes", "left over", "notes/idea.txt", "prepare.py")
    assert git(bench.root, "rev-parse", f"{made.commit}^").strip() == bench.head


def test_an_editable_file_may_be_removed_and_what_the_repository_ignores_is_not_taken(
    tmp_path: Path,
) -> None:
    bench = Bench(repository(tmp_path / "r", {".gitignore": "__pycache__/\n"}))
    place, folder = bench.checkout()
    (folder / "train.py").unlink()
    write(folder, {"model/__pycache__/a.pyc": "c\n", "model/a.py": "1\n"})
    made = bench.commit(place)
    assert made.commit is not None
    assert set(bench.tree(made.commit)) == {".gitignore", "model/a.py", "prepare.py"}
    assert made.dropped == ()


def test_no_change_is_no_candidate_even_when_files_were_touched(bench: Bench) -> None:
    place, folder = bench.checkout()
    os.utime(folder / "train.py", (1, 1))
    write(folder, {"prepare.py": "not mine\n"})
    made = bench.commit(place)
    assert made.commit is None and made.dropped == ("prepare.py",) and not made.refused


def test_names_of_every_kind_come_through(bench: Bench) -> None:
    names = ["größe.py", "a b.py", "-rf", "new\nline.py", 'q"uote.py', "back\\slash", "日本.py"]
    paths = {f"model/{name}": "1\n" for name in names}
    commit, _ = bench.changed(paths)
    assert paths.keys() < bench.tree(commit).keys()
    again = bench.workspace.checkout(commit, bench.root / ".overnight" / "worktrees" / "again")
    assert [(again / path).read_text() for path in paths] == ["1\n"] * len(paths)
    assert bench.workspace.files(commit, editable).keys() == {"train.py", *paths}


def test_modes_and_inner_links_are_kept_outer_links_are_refused(bench: Bench) -> None:
    place, folder = bench.checkout()
    (folder / "train.py").chmod(0o755)
    (folder / "model").mkdir()
    (folder / "model" / "link").symlink_to("../prepare.py")
    made = bench.commit(place)
    assert made.commit is not None
    tree = bench.tree(made.commit)
    assert tree["train.py"] == "100755" and tree["model/link"] == "120000"
    for target in ("/etc/passwd", "../../../../../../etc/passwd", str(folder / "prepare.py")):
        place, folder = bench.checkout()
        (folder / "train.py").unlink()
        (folder / "train.py").symlink_to(target)
        made = bench.commit(place)
        assert made.commit is None and "leads out of the arena" in made.refused[0]


def test_what_cannot_be_a_file_of_a_repository_is_refused_with_a_sentence(bench: Bench) -> None:
    place, folder = bench.checkout()
    os.mkfifo(folder / "train.fifo")
    assert "FIFO" in bench.commit(place).refused[0]
    place, folder = bench.checkout()
    (folder / "model").mkdir()
    git(folder / "model", "init", "--quiet", "sub")
    write(folder, {"model/sub/a.py": "1\n"})
    made = bench.commit(place)
    assert made.commit is None and "repository of its own" in made.refused[0]
    place, folder = bench.checkout()
    with (folder / "train.py").open("wb") as file:
        file.truncate(MOST_FILE_BYTES + 1)
    made = bench.commit(place)
    assert made.commit is None and "50,000,001 bytes" in made.refused[0]
    place, folder = bench.checkout()
    (folder / "model").mkdir(exist_ok=True)
    for name in ("train.py", "model/more.py"):
        with (folder / name).open("wb") as file:
            file.truncate(MOST_FILE_BYTES // 2 + 1)
    made = bench.commit(place)
    assert made.refused == (
        "the changed files have 50,000,002 bytes together, more than 50,000,000",
    )


def _link(folder: Path) -> None:
    (folder / "train.py").unlink()
    (folder / "train.py").symlink_to("/etc/passwd")


def _repository(folder: Path) -> None:
    git(folder, "init", "--quiet", "model/sub")
    write(folder, {"model/sub/a.py": "1\n"})


def _commit_it(folder: Path) -> None:
    write(folder, {"train.py": "x = 2\n"})
    git(folder, "add", "train.py")
    git(folder, "commit", "--quiet", "-m", "by the agent itself")


CHANGES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "nothing": (False, lambda folder: None),
    "touched": (False, lambda folder: os.utime(folder / "train.py", (1, 1))),
    "protected": (False, lambda folder: write(folder, {"prepare.py": "y = 3\n", "odd": "\n"})),
    "written": (True, lambda folder: write(folder, {"train.py": "x = 2\n"})),
    "new": (True, lambda folder: write(folder, {"model/deep/a.py": "1\n"})),
    "removed": (True, lambda folder: (folder / "train.py").unlink()),
    "mode": (True, lambda folder: (folder / "train.py").chmod(0o755)),
    "committed": (True, _commit_it),
    "outward link": (True, _link),
    "FIFO": (True, lambda folder: os.mkfifo(folder / "elsewhere")),
    "repository": (True, _repository),
}


@pytest.mark.parametrize(("changed", "change"), CHANGES.values(), ids=list(CHANGES))
def test_whether_there_is_a_change_is_known_without_a_write(
    bench: Bench, changed: bool, change: Callable[[Path], object]
) -> None:
    place, folder = bench.checkout()
    change(folder)
    before = everything(bench.root)
    assert bench.workspace.has_changes(place, editable) is changed
    assert everything(bench.root) == before
    made = bench.commit(place)
    assert bool(made.commit or made.refused) is changed, "as `commit` finds"


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and its size."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


@pytest.mark.parametrize("each", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_eight_threads_make_candidates_side_by_side_and_lose_none(bench: Bench, each: int) -> None:
    wrong: list[object] = []

    def cycles(thread: int) -> None:
        try:
            for n in range(each):
                number = thread * each + n
                place = bench.root / ".overnight" / "worktrees" / f"c{number}"
                folder = bench.workspace.checkout(bench.head, place, own_git=True)
                write(folder, {"train.py": f"x = {number + 100}\n"})
                made = bench.commit(place)
                assert made.commit is not None
                bench.workspace.refs.record("t", number, made.commit)
                bench.workspace.remove(place)
        except BaseException as error:
            wrong.append(error)

    before = fingerprint(bench.root)
    threads = [threading.Thread(target=cycles, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    found = bench.workspace.refs.recorded("t")
    assert sorted(found) == list(range(8 * each))
    assert git(bench.root, "show", f"{found[17]}:train.py") == "x = 117\n"
    assert fingerprint(bench.root) == before
    assert not list((bench.root / ".overnight" / "git" / "indexes").iterdir())


def test_a_dirty_checkout_is_adopted_onto_the_incumbent_or_is_stale(bench: Bench) -> None:
    text = "".join(f"line {n}\n" for n in range(40))
    write(bench.root, {"train.py": text})
    git(bench.root, "commit", "-a", "--quiet", "-m", "long")
    bench.head = bench.workspace.head()
    incumbent, _ = bench.changed({"train.py": text.replace("line 2\n", "line two\n")})
    write(bench.root, {"train.py": text.replace("line 38\n", "mine\n"), "prepare.py": "no\n"})
    git(bench.root, "add", "train.py")
    write(bench.root, {"model/new.py": "1\n"})
    before = fingerprint(bench.root)
    place, folder = bench.checkout(incumbent)
    bench.workspace.adopt(bench.root, folder, incumbent, editable)
    made = bench.commit(place, incumbent)
    assert made.commit is not None
    merged = git(bench.root, "show", f"{made.commit}:train.py")
    assert "line two\n" in merged and "mine\n" in merged
    assert git(bench.root, "show", f"{made.commit}:prepare.py") == "y = 2\n"
    assert "model/new.py" in bench.tree(made.commit)
    assert fingerprint(bench.root) == before
    write(bench.root, {"train.py": text.replace("line 2\n", "line 2, mine\n")})
    _, folder = bench.checkout(incumbent)
    with pytest.raises(Stale, match=f"conflicts with commit {incumbent[:10]}"):
        bench.workspace.adopt(bench.root, folder, incumbent, editable)


def test_a_full_disk_is_no_conflict(tmp_path: Path, small_disk: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(40))
    repo = repository(tmp_path / "repo", {"train.py": text, "Permission denied": text})
    shutil.copytree(repo / ".git" / "objects", small_disk / "objects")
    shutil.rmtree(repo / ".git" / "objects")
    (repo / ".git" / "objects").symlink_to(small_disk / "objects")
    commits = [git(repo, "rev-parse", "HEAD").strip()]
    for line in (2, 38, 2):
        for name in ("train.py", "Permission denied"):
            changed = (repo / name).read_text().replace(f"line {line}", f"later line {line}")
            (repo / name).write_text(changed)
        git(repo, "commit", "--quiet", "-am", "another")
        commits.append(git(repo, "rev-parse", "HEAD").strip())
    before, change, later, conflicting = commits
    bench = Bench(repo)
    with pytest.raises(Stale):
        bench.workspace.without(conflicting, change, before, tmp_path / "scratch")
    with suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
    with pytest.raises(WorkspaceError, match="The disk is full: free some space") as raised:
        bench.workspace.without(later, change, before, tmp_path / "scratch")
    assert not isinstance(raised.value, Stale)
    (small_disk / "filler").unlink()
    merged = bench.workspace.without(later, change, before, tmp_path / "scratch")
    assert "later line 38\n" in git(repo, "show", f"{merged}:train.py")


def test_rewording_keeps_tree_and_parent_and_is_the_same_every_time(bench: Bench) -> None:
    commit, _ = bench.changed({"train.py": "x = 2\n"})
    words = "größer 🎉\n\nOvernight-Gain: 1\n"
    first, second = (bench.workspace.reword(commit, words) for _ in range(2))
    assert first == second != commit
    shown = git(bench.root, "log", "-1", "--format=%T %P %B", first)
    assert shown.strip() == git(bench.root, "log", "-1", f"--format=%T %P {words}", commit).strip()


def test_a_folder_is_removed_whatever_was_done_to_it(bench: Bench, tmp_path: Path) -> None:
    place, folder = bench.checkout()
    (tmp_path / "precious").write_text("mine\n")
    (folder / "link").symlink_to(tmp_path)
    deep = folder
    for _ in range(60):
        deep = deep / ("d" * 100)
        os.mkdir(deep) if len(str(deep)) < 3000 else None
    (folder / "train.py").chmod(0)
    folder.chmod(0o500)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)
        try:
            listener.bind("sock")
        finally:
            os.chdir("/")
        bench.workspace.remove(place)
    assert not place.exists() and (tmp_path / "precious").read_text() == "mine\n"


def test_a_checkout_without_a_change_is_adopted_as_none(bench: Bench) -> None:
    incumbent, _ = bench.changed({"train.py": "x = 2\n"})
    place, folder = bench.checkout(incumbent)
    bench.workspace.adopt(bench.root, folder, incumbent, editable)
    assert bench.commit(place, incumbent).commit is None
