"""A person's repository of any kind: it can be used, and nothing in it acts or is touched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import Bench, editable, fingerprint, repository, write
from overnight.core.errors import WorkspaceError
from toy import git

ALARM = "touch {flag}; cat"


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
    with pytest.raises(WorkspaceError, match=r"not in a git repository.*git init"):
        Bench(outside)
    git(tmp_path, "init", "--quiet", "unborn")
    with pytest.raises(WorkspaceError, match="no commit yet"):
        Bench(tmp_path / "unborn")
    assert git(tmp_path / "unborn", "status", "--porcelain") == "", "`git add --all` is to come"
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
    with pytest.raises(WorkspaceError, match=f"is checked out in {bench.root};.*another branch"):
        refs.move_branch("t", commit, bench.head)
    git(bench.root, "checkout", "--quiet", "main")
    look = bench.root.parent / "look"
    git(bench.root, "worktree", "add", "--quiet", str(look), "overnight/t")
    shutil.rmtree(look)
    with pytest.raises(WorkspaceError, match=f"in {look};.*gone, so run `git worktree prune`"):
        refs.move_branch("t", commit, bench.head)
    git(bench.root, "worktree", "prune")
    refs.move_branch("t", commit, bench.head)
    assert refs.branch("t") == commit


def test_a_branch_of_the_user_in_the_way_is_named_with_what_to_do(bench: Bench) -> None:
    git(bench.root, "branch", "overnight")
    step = "git branch -m overnight another-name"
    with pytest.raises(WorkspaceError, match=f"a branch named overnight.*{step}"):
        bench.workspace.refs.move_branch("t", bench.head, None)
    git(bench.root, *step.split()[1:])
    bench.workspace.refs.move_branch("t", bench.head, None)
    assert bench.workspace.refs.branch("t") == bench.head
