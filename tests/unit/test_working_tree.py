"""A working tree as a commit in a pack, with real git: what is in it, and what is left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rapidflow_web.cli import trying
from rapidflow_web.cli.client import ClientError
from rapidflow_web.cli.working_tree import Packed, WorkingTree
from tests.support.repos import Repo

CONTENT = b"\x00large\xff" * 1000


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git knows nobody's name, and no more than the repository says."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def work(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "work")


def unpacked(packed: Packed, folder: Path) -> Repo:
    """A repository that has what is in a pack and nothing else."""
    options = ("--object-format=sha256",) if len(packed.commit) == 64 else ()
    repo = Repo(folder, *options)
    with packed.pack.open("rb") as pack:
        subprocess.run(["git", "index-pack", "--strict", "--stdin"], cwd=folder, stdin=pack, check=True)
    repo.git("checkout", "--quiet", packed.commit)
    return repo


def files_of(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """The files in the pack of the working tree around a folder."""
    with WorkingTree(folder).packed() as packed:
        repo = unpacked(packed, tmp_path / "unpacked")
    paths = repo.git("ls-files", "-z").split("\0")[:-1]
    return {path: (repo.path / path).read_bytes() for path in paths}


def test_it_has_what_git_tracks_and_new_files_that_it_does_not_ignore(work: Repo, tmp_path: Path):
    work.commit({"tracked.log": "old", "a": "a", "gone": "gone", "sub/b": "b"})
    (work.path / ".gitignore").write_text("*.log\n")
    (work.path / "tracked.log").write_text("new")  # ignored, but tracked
    (work.path / "gone").unlink()
    (work.path / "secret.log").write_text("secret")
    (work.path / "sub" / "new ü\n.txt").write_text("new")
    work.git("add", "a")
    (work.path / "a").write_text("newer than what is staged")
    assert files_of(work.path / "sub", tmp_path) == {
        ".gitignore": b"*.log\n",
        "a": b"newer than what is staged",
        "sub/b": b"b",
        "sub/new ü\n.txt": b"new",
        "tracked.log": b"new",
    }


@pytest.mark.parametrize("cone", ["--cone", "--no-cone"])
def test_new_files_outside_of_a_sparse_checkout_are_in_it(work: Repo, tmp_path: Path, cone: str):
    work.commit({"here/a": "a", "there/b": "b", "there/c": "c"})
    work.git("sparse-checkout", "set", cone, "here")
    (work.path / "there").mkdir()
    (work.path / "there" / "c").write_text("changed")
    (work.path / "there" / "new").write_text("new")
    assert files_of(work.path, tmp_path) == {
        "here/a": b"a",
        "there/b": b"b",
        "there/c": b"changed",
        "there/new": b"new",
    }


def test_files_in_lfs_outside_of_a_sparse_checkout_stay_as_they_are(work: Repo, tmp_path: Path):
    pointer = "version https://git-lfs.github.com/spec/v1\n"
    work.commit({".gitattributes": "*.bin filter=lfs\n", "here/a.bin": "a", "there/b.bin": pointer})
    work.git("sparse-checkout", "set", "--cone", "here")
    files = files_of(work.path, tmp_path)
    assert (files["here/a.bin"], files["there/b.bin"]) == (b"a", pointer.encode())


def test_the_repository_is_left_as_it_is(work: Repo, tmp_path: Path):
    work.commit({"a": "a", "b": "b"})
    (work.path / "a").write_text("staged")
    work.git("add", "a")
    (work.path / "new").write_text("new")

    def state() -> list[tuple[str, bytes]]:
        folder = work.path / ".git"
        return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())

    before = state()
    with WorkingTree(work.path).packed() as packed:
        folder = packed.pack.parent
        base = work.git("rev-parse", "HEAD")
        assert packed.remarks == (f"the working tree is {base[:12]} with files 1 changed, 1 new",)
    assert state() == before
    assert not folder.exists()


def test_file_that_changed_with_its_size_and_time_kept_is_packed_as_it_is(work: Repo, tmp_path: Path):
    at = (10**18, 10**18)  # ns; as in the tick of the clock in which git wrote its index
    work.git("config", "core.trustctime", "false")
    (work.path / "a").write_text("old")
    os.utime(work.path / "a", ns=at)
    work.commit({})
    (work.path / "a").write_text("new")
    os.utime(work.path / "a", ns=at)
    os.utime(work.path / ".git" / "index", ns=at)
    assert files_of(work.path, tmp_path) == {"a": b"new"}


def test_split_index_is_left_as_it_is(work: Repo, tmp_path: Path):
    work.git("config", "core.splitIndex", "true")
    work.git("config", "splitIndex.maxPercentChange", "0")  # each write makes a new part
    work.commit({"a": "a"})
    (work.path / "b").write_text("b")
    before = sorted(path.name for path in (work.path / ".git").iterdir())
    assert any(name.startswith("sharedindex.") for name in before)
    assert files_of(work.path, tmp_path) == {"a": b"a", "b": b"b"}
    assert sorted(path.name for path in (work.path / ".git").iterdir()) == before


def test_user_whom_the_machine_does_not_know_packs_a_working_tree(
    work: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    work.commit({"a": "a"})
    for key in ("user.name", "user.email"):
        subprocess.run(["git", "config", "--unset", key], cwd=work.path, check=False)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with WorkingTree(work.path).packed() as packed:
        repo = unpacked(packed, tmp_path / "unpacked")
    name, mail = repo.git("log", "-1", "--format=%an %ae").split()
    assert (name, mail.partition("@")[0]) == ("somebody", "somebody")


def test_the_commit_has_no_parent_and_says_on_what_it_is_based(work: Repo, tmp_path: Path):
    base = work.commit({"a": "a"})
    with WorkingTree(work.path).packed() as packed:
        repo = unpacked(packed, tmp_path / "unpacked")
    assert repo.git("rev-list", "--count", "HEAD") == "1"
    said = repo.git("log", "-1", "--format=%B").splitlines()
    assert said[0].startswith("Working tree of ") and said[0].endswith(f" at {base[:12]}")
    assert said[-1] == f"Based on {base}"


def test_before_the_first_commit_there_is_a_working_tree_already(work: Repo, tmp_path: Path):
    (work.path / "a").write_text("a")
    assert files_of(work.path, tmp_path) == {"a": b"a"}


def test_a_repository_with_sha256_is_packed(tmp_path: Path):
    work = Repo(tmp_path / "work", "--object-format=sha256")
    work.commit({"a": "a"})
    (work.path / "b").write_text("b")
    assert files_of(work.path, tmp_path) == {"a": b"a", "b": b"b"}


def test_a_linked_work_tree_and_a_folder_with_a_colon_are_packed(work: Repo, tmp_path: Path):
    work.commit({"a": "a"})
    linked = tmp_path / "linked"
    work.git("worktree", "add", "--quiet", str(linked))
    (linked / "b").write_text("b")
    assert files_of(linked, tmp_path) == {"a": b"a", "b": b"b"}
    moved = work.path.rename(tmp_path / 'work: "moved"')
    (moved / "b").write_text("b")
    (tmp_path / "unpacked").rename(tmp_path / "unpacked before")
    assert files_of(moved, tmp_path) == {"a": b"a", "b": b"b"}


def test_in_a_hook_it_is_the_folder_that_counts(work: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work.commit({"a": "a"})
    other = Repo(tmp_path / "other")
    other.commit({"other": "other"})
    with monkeypatch.context() as hook:
        for name, path in (("GIT_DIR", ".git"), ("GIT_INDEX_FILE", ".git/index"), ("GIT_WORK_TREE", ".")):
            hook.setenv(name, str(other.path / path))
        with WorkingTree(work.path).packed() as packed:
            hook.undo()
            assert unpacked(packed, tmp_path / "unpacked").git("ls-files") == "a"


def test_files_of_submodules_come_along_changed_as_they_are(work: Repo, tmp_path: Path):
    inner, library = Repo(tmp_path / "inner"), Repo(tmp_path / "library")
    inner.commit({"deep": "deep"})
    library.commit({"version": "1"})
    library.git("submodule", "--quiet", "add", inner.url, "inner")
    library.commit({})
    work.git("submodule", "--quiet", "add", library.url, "lib")
    work.git("submodule", "--quiet", "add", inner.url, "absent")
    work.commit({})
    work.git("submodule", "--quiet", "update", "--init", "--recursive")
    work.git("submodule", "--quiet", "deinit", "absent")
    (work.path / "lib" / "version").write_text("2")
    (work.path / "lib" / "inner" / "new").write_text("new")
    embedded = Repo(work.path / "embedded")
    embedded.commit({"e": "e"})
    with WorkingTree(work.path).packed() as packed:
        repo = unpacked(packed, tmp_path / "unpacked")
    assert packed.remarks[1:] == (
        "the submodule 'absent' is not initialised; the server fetches it without a login",
    )
    listed = repo.git("ls-files", "--stage").splitlines()
    kinds = {line.partition("\t")[2]: line[:6] for line in listed}
    assert kinds.pop("absent") == "160000"
    assert set(kinds.values()) == {"100644"}
    assert {"lib/version", "lib/inner/deep", "lib/inner/new", "embedded/e"} <= set(kinds)
    assert (repo.path / "lib/version").read_text() == "2"


def test_files_in_lfs_are_themselves_in_it(work: Repo, tmp_path: Path):
    work.git("config", "filter.lfs.clean", "git-lfs clean -- %f")
    work.git("config", "filter.lfs.required", "true")
    work.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "old.bin": CONTENT})
    assert work.git("show", "HEAD:old.bin").startswith("version https://git-lfs")
    (work.path / "new.bin").write_bytes(CONTENT + b"2")
    pointer = work.git("show", "HEAD:old.bin")
    (work.path / "pointer.bin").write_text(pointer)
    found = files_of(work.path, tmp_path)
    assert found["old.bin"] == CONTENT
    assert found["new.bin"] == CONTENT + b"2"
    assert found["pointer.bin"].decode() == pointer


def test_what_can_not_be_packed_is_said(tmp_path: Path, work: Repo, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ClientError, match=r"is not in the work tree of a git repository"):
        WorkingTree(tmp_path)
    (work.path / "inner").mkdir()
    Repo(work.path / "inner" / "without-a-commit")
    with (
        pytest.raises(ClientError, match=r"could not pack .*does not have a commit checked out"),
        WorkingTree(work.path).packed(),
    ):
        raise AssertionError("it was packed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClientError, match="git is not installed"):
        WorkingTree(work.path)


@pytest.mark.parametrize(
    ("remote", "repository"),
    [
        ("git@github.com:team/app.git", "https://github.com/team/app"),
        ("ssh://git@GitHub.com:22/team/app", "https://github.com/team/app.git"),
        ("https://anna:password@ci.example.com:8443/app.git/", "https://ci.example.com:8443/app"),
        ("/srv/git/app.git", "file:///srv/git/app"),
        ("file:///srv/my%20app", "file:///srv/my%20app"),
        ("/srv/my app", "file:///srv/my%20app"),
    ],
)
def test_a_remote_is_a_repository_of_the_server_by_whichever_protocol(remote: str, repository: str):
    root = Path("/nowhere")
    assert trying._place(remote, root) == trying._place(repository, root)


@pytest.mark.parametrize(
    "remote",
    [
        "git@gitlab.com:team/app.git",
        "git@github.com:other/app.git",
        "https://github.com.example.com/team/app",
        "https://github.com@example.com/team/app",
        "github.com/team/app",
    ],
)
def test_another_host_or_path_is_another_repository(remote: str):
    root = Path("/nowhere")
    assert trying._place(remote, root) != trying._place("https://github.com/team/app", root)


def test_of_repositories_at_the_same_place_that_of_the_same_url_counts():
    known = [{"url": f"https://ci.example.com{port}/app.git"} for port in (":8443", "", ":9443")]
    root = Path("/nowhere")
    for one in known:
        assert trying._known_as(one["url"] + "/", root, known) is one
    assert trying._known_as("https://anna:secret@ci.example.com/app.git", root, known) is known[1]
    assert trying._known_as("git@ci.example.com:app", root, known[:1]) is known[0]
    assert trying._known_as("git@ci.example.com:other", root, known) is None
    with pytest.raises(ClientError, match=r"several repositories .* may be: .*:8443/app\.git, .*set-url"):
        trying._known_as("git@ci.example.com:app", root, known)


def test_remotes_are_known_also_as_git_rewrites_them(work: Repo):
    work.git("remote", "add", "upstream", "https://example.com/upstream")
    work.git("remote", "add", "origin", "gh:team/app")
    work.git("config", "url.https://github.com/.insteadOf", "gh:")
    assert WorkingTree(work.path).remotes() == [
        "gh:team/app",
        "https://github.com/team/app",
        "https://example.com/upstream",
        "https://example.com/upstream",
    ]
