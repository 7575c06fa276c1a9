"""All of git: what a candidate is made of, and that nothing of the person's is touched."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from overnight.candidate import MOST_FILE_BYTES, Candidate
from overnight.errors import WorkspaceError
from overnight.workspace import Stale, Workspace
from toy import git

ALARM = "touch {flag}; cat"


def editable(path: str) -> bool:
    return path == "train.py" or path.startswith("model/")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def repository(folder: Path, files: dict[str, str] | None = None, *words: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main", *words)
    write(folder, {"train.py": "x = 1\n", "prepare.py": "y = 2\n", **(files or {})})
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


class Bench:
    """A workspace and its checkouts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace.open(root, root / ".overnight")
        self.head = self.workspace.head()
        self._number = 0

    def checkout(self, commit: str | None = None) -> tuple[Path, Path]:
        """The checkout's top, and the arena's folder in it."""
        self._number += 1
        place = self.root / ".overnight" / "worktrees" / str(self._number)
        return place, self.workspace.checkout(commit or self.head, place, own_git=True)

    def commit(self, place: Path, parent: str | None = None) -> Candidate:
        return self.workspace.commit(parent or self.head, place, editable, "try")

    def changed(self, files: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        """The candidate's commit after these files were written, and what was dropped."""
        place, folder = self.checkout()
        write(folder, files)
        made = self.commit(place)
        assert made.commit is not None and not made.refused, made
        return made.commit, made.dropped

    def tree(self, commit: str) -> dict[str, str]:
        lines = git(self.root, "ls-tree", "-r", "-z", commit).split("\0")
        return {line.split("\t")[1]: line.split(" ")[0] for line in lines if line}


@pytest.fixture
def bench(hostile_folder: Path) -> Bench:
    return Bench(repository(hostile_folder / "repo"))


def fingerprint(folder: Path) -> dict[str, object]:
    """Everything of a person's repository that must stay as it is."""
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if n != ".overnight" and Path(place, n) != folder / ".git"]
        for name in names:
            path = Path(place, name)
            status = path.lstat()
            body = os.readlink(path) if path.is_symlink() else path.read_bytes()
            files[str(path)] = (status.st_mode, status.st_mtime_ns, body)
    own = folder / ".git"
    watched = [own / name for name in ("index", "HEAD", "config", "refs/stash", "logs/HEAD")]
    return {
        "files": files,
        "git": {p.name: hashlib.sha1(p.read_bytes()).hexdigest() for p in watched if p.exists()},
        "refs": [r for r in git(folder, "for-each-ref").splitlines() if "overnight" not in r],
        "worktrees": git(folder, "worktree", "list", "--porcelain"),
    }


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


@pytest.mark.parametrize(
    "name", ["größe.py", "a b.py", "-rf", "new\nline.py", 'q"uote.py', "back\\slash", "日本.py"]
)
def test_names_of_every_kind_come_through(bench: Bench, name: str) -> None:
    commit, _ = bench.changed({f"model/{name}": "1\n"})
    assert f"model/{name}" in bench.tree(commit)
    again = bench.root / ".overnight" / "worktrees" / "again"
    assert (bench.workspace.checkout(commit, again) / "model" / name).read_text() == "1\n"
    assert bench.workspace.files(commit, editable).keys() == {"train.py", f"model/{name}"}


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


def test_no_hook_filter_monitor_or_alias_of_the_repository_runs(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    alarm = ALARM.format(flag=flag)
    repo = repository(tmp_path / "repo", {".gitattributes": "*.py filter=loud ident\n"})
    for hook in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
        script = repo / ".git" / "hooks" / hook
        script.write_text(f"#!/bin/sh\ntouch {flag}\n")
        script.chmod(0o755)
    for key, value in {
        "filter.loud.clean": alarm,
        "filter.loud.smudge": alarm,
        "filter.loud.process": alarm,
        "filter.loud.required": "true",
        "core.fsmonitor": f"touch {flag}",
        "core.hooksPath": str(repo / ".git" / "hooks"),
        "diff.external": f"touch {flag}",
        "core.autocrlf": "true",
    }.items():
        git(repo, "config", key, value)
    bench = Bench(repo)
    commit, _ = bench.changed({"train.py": "x = 2  # $Id$\n"})
    bench.workspace.refs.record("t", 1, commit)
    bench.workspace.refs.move_branch("t", commit, None)
    assert "+x = 2  # $Id$" in bench.workspace.diff(bench.head, commit)
    again = bench.workspace.checkout(commit, repo / ".overnight" / "worktrees" / "again")
    assert (again / "train.py").read_bytes() == b"x = 2  # $Id$\n"
    assert not flag.exists()


def test_the_persons_own_configuration_does_not_act_on_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, home, flag = repository(tmp_path / "repo"), tmp_path / "home", tmp_path / "ran"
    write(
        home,
        {
            ".gitconfig": '[core]\n\tautocrlf = true\n[filter "loud"]\n'
            f"\tclean = {ALARM.format(flag=flag)}\n[commit]\n\tgpgsign = true\n"
            "[user]\n\tuseConfigOnly = true\n",
            ".config/git/attributes": "*.py filter=loud\n",
            ".config/git/ignore": "*.py\nmodel\n",
        },
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))
    bench = Bench(repo)
    commit, _ = bench.changed({"train.py": "x = 2\r\n", "model/new.py": "1\n"})
    assert {"train.py", "model/new.py"} <= set(bench.tree(commit))
    raw = subprocess.run(
        ["git", "cat-file", "blob", f"{commit}:train.py"], cwd=repo, capture_output=True, check=True
    )
    assert raw.stdout == b"x = 2\r\n" and not flag.exists()
    assert not (tmp_path / "elsewhere").exists()


def test_what_an_agent_does_with_its_own_git_reaches_nothing_of_the_persons(bench: Bench) -> None:
    write(bench.root, {"train.py": "x = 9  # unsaved\n"})
    git(bench.root, "stash", "--quiet")
    before = fingerprint(bench.root)
    place, folder = bench.checkout()
    write(folder, {"train.py": "x = 3\n", "junk": "1\n"})
    for words in (
        ("add", "--all"),
        ("commit", "--quiet", "-m", "mine"),
        ("branch", "evil"),
        ("tag", "evil"),
        ("config", "user.name", "evil"),
        ("update-ref", "refs/overnight/t/7", "HEAD"),
    ):
        git(folder, *words)
    write(folder, {"train.py": "x = 4\n"})
    git(folder, "stash", "--quiet")
    git(folder, "stash", "pop", "--quiet")
    assert "x = 1" in git(folder, "log", "-p", "--format=%s"), "it can read the history"
    made = bench.commit(place)
    assert made.commit and git(bench.root, "show", f"{made.commit}:train.py") == "x = 4\n"
    bench.workspace.remove(place)
    assert fingerprint(bench.root) == before
    assert not git(bench.root, "branch", "--list", "evil") + git(bench.root, "tag", "--list")
    assert not bench.workspace.refs.recorded("t")


def test_a_planted_git_configuration_is_not_obeyed(bench: Bench, tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    place, folder = bench.checkout()
    write(folder, {"train.py": "x = 2\n", ".gitattributes": "*.py filter=loud diff=loud\n"})
    for key in ("filter.loud.clean", "core.fsmonitor", "diff.external", "core.sshCommand"):
        git(folder, "config", key, f"touch {flag}; cat")
    git(folder, "config", "core.worktree", "/")
    git(folder, "config", "core.bare", "true")
    hook = folder / ".git" / "hooks" / "post-index-change"
    write(folder, {".git/hooks/post-index-change": f"#!/bin/sh\ntouch {flag}\n"})
    hook.chmod(0o755)
    made = bench.commit(place)
    assert made.commit is not None and made.dropped == (".gitattributes",)
    (folder / ".git" / "HEAD").write_text("garbage")
    assert bench.commit(place).commit is not None
    assert not flag.exists()


def test_an_arena_in_a_subfolder_sees_and_changes_its_own_folder_only(tmp_path: Path) -> None:
    repo = repository(
        tmp_path / "big", {"apps/arena/train.py": "a\n", "apps/other/train.py": "b\n"}
    )
    bench = Bench(repo / "apps" / "arena")
    place, folder = bench.checkout()
    assert folder == place / "apps" / "arena"
    write(folder, {"train.py": "a2\n"})
    write(place, {"apps/other/train.py": "b2\n", "train.py": "top\n"})
    made = bench.commit(place)
    assert made.commit is not None
    assert git(repo, "show", f"{made.commit}:apps/arena/train.py") == "a2\n"
    assert git(repo, "show", f"{made.commit}:apps/other/train.py") == "b\n"
    assert set(made.dropped) == {"../../train.py", "../other/train.py"}
    assert bench.workspace.files(made.commit, editable).keys() == {"train.py"}
    assert bench.workspace.read(made.commit, "train.py") == b"a2\n"
    assert bench.workspace.read(made.commit, "nowhere.py") is None


def test_repositories_that_cannot_be_used_are_a_sentence_each(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(WorkspaceError, match=r"in no git repository.*git init"):
        Bench(outside)
    git(tmp_path, "init", "--quiet", "unborn")
    with pytest.raises(WorkspaceError, match="no commit yet"):
        Bench(tmp_path / "unborn")
    git(tmp_path, "init", "--quiet", "--bare", "bare")
    with pytest.raises(WorkspaceError, match="bare repository"):
        Bench(tmp_path / "bare")


@pytest.mark.parametrize("kind", ["detached", "linked", "shallow", "sha256", "submodule"])
def test_odd_repositories_work(tmp_path: Path, kind: str) -> None:
    words = ["--object-format=sha256"] if kind == "sha256" else []
    repo = repository(tmp_path / "repo", None, *words)
    if kind == "detached":
        git(repo, "checkout", "--quiet", "--detach")
    elif kind == "linked":
        git(repo, "worktree", "add", "--quiet", str(tmp_path / "linked"))
        repo = tmp_path / "linked"
    elif kind == "shallow":
        write(repo, {"train.py": "x = 0\n"})
        git(repo, "commit", "-a", "--quiet", "-m", "second")
        git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
        repo = tmp_path / "shallow"
    elif kind == "submodule":
        other = repository(tmp_path / "other")
        git(
            repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "s"
        )
        git(repo, "commit", "--quiet", "-m", "with a submodule")
    bench = Bench(repo)
    before = fingerprint(repo) if kind != "linked" else None
    commit, _ = bench.changed({"train.py": "x = 5\n"})
    bench.workspace.refs.record("t", 1, commit)
    bench.workspace.refs.move_branch("t", commit, None)
    _, folder = bench.checkout(commit)
    assert git(folder, "show", "HEAD:train.py") == "x = 5\n"
    if kind == "submodule":
        assert any("s is a submodule" in warning for warning in bench.workspace.warnings)
    assert before is None or fingerprint(repo) == before
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


def test_a_branch_that_is_checked_out_or_elsewhere_is_not_moved(bench: Bench) -> None:
    commit, _ = bench.changed({"train.py": "x = 2\n"})
    refs = bench.workspace.refs
    refs.move_branch("t", bench.head, None)
    with pytest.raises(WorkspaceError):
        refs.move_branch("t", commit, commit)
    assert refs.branch("t") == bench.head
    git(bench.root, "checkout", "--quiet", "overnight/t")
    with pytest.raises(WorkspaceError, match="is checked out"):
        refs.move_branch("t", commit, bench.head)
    git(bench.root, "checkout", "--quiet", "main")
    refs.move_branch("t", commit, bench.head)
    assert refs.branch("t") == commit


def test_eight_threads_make_two_hundred_candidates_and_lose_none(bench: Bench) -> None:
    wrong: list[object] = []

    def cycles(thread: int) -> None:
        try:
            for n in range(25):
                number = thread * 25 + n
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
    assert sorted(found) == list(range(200))
    assert git(bench.root, "show", f"{found[137]}:train.py") == "x = 237\n"
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
    with pytest.raises(Stale, match="conflicts with the incumbent"):
        bench.workspace.adopt(bench.root, folder, incumbent, editable)


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
