"""Submodules of a build's source: fetched like the repository itself, under the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import MAX_SUBMODULE_DEPTH, _absolute, _clear, check_out
from tests.support.repos import Repo
from tests.support.sources import names, read


@pytest.fixture
def repos(tmp_path: Path) -> Path:
    """The folder below which repositories may lie."""
    return tmp_path / "repos"


@pytest.fixture
def origin(repos: Path) -> Repo:
    """The repository that is checked out."""
    return Repo(repos / "origin")


@pytest.fixture
def library(repos: Path) -> Repo:
    """A repository with two commits that becomes a submodule."""
    repo = Repo(repos / "library")
    repo.commit({"version": "1"})
    repo.commit({"version": "2"})
    return repo


@pytest.fixture
def mirrors(tmp_path: Path, repos: Path) -> Mirrors:
    (tmp_path / "mirrors").mkdir()
    return Mirrors(tmp_path / "mirrors", [str(repos)], timeout=30)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Where the work tree goes; not there yet."""
    return tmp_path / "work" / "workspace"


def add(repo: Repo, url: str, path: str, commit: str, name: str = "") -> None:
    """Adds a submodule, without looking whether there is one."""
    repo.git("config", "--file", ".gitmodules", f"submodule.{name or path}.path", path)
    repo.git("config", "--file", ".gitmodules", f"submodule.{name or path}.url", url)
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    repo.git("add", ".gitmodules")
    repo.git("commit", "--quiet", "--message", f"add {path}")


def write(repo: Repo, data: bytes, *options: str) -> str:
    """Writes an object; returns its id."""
    return read(repo.path, "hash-object", "-w", *options, "--stdin", text=data)


async def check_out_origin(origin: Repo, mirrors: Mirrors, workspace: Path) -> None:
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)


async def refusal(origin: Repo, mirrors: Mirrors, workspace: Path) -> str:
    with pytest.raises(BuildError) as error:
        await check_out_origin(origin, mirrors, workspace)
    return str(error.value)


@pytest.mark.parametrize("relative", [True, False])
async def test_a_submodule_is_checked_out_at_its_commit(
    origin: Repo, library: Repo, mirrors: Mirrors, workspace: Path, relative: bool
):
    pinned = library.git("rev-parse", "HEAD~1")
    add(origin, "../library" if relative else library.url, "vendor/my lib", pinned, "the library")
    await check_out_origin(origin, mirrors, workspace)
    submodule = workspace / "vendor" / "my lib"
    assert (submodule / "version").read_text() == "1"
    assert read(submodule, "rev-parse", "HEAD") == pinned
    assert read(workspace, "status", "--porcelain") == ""
    assert read(workspace, "submodule", "status").split()[:3] == [pinned, "vendor/my", "lib"]
    assert read(submodule, "remote", "get-url", "origin") == library.url
    assert read(workspace, "config", "submodule.the library.url") == library.url


async def test_submodules_of_submodules_are_checked_out(
    origin: Repo, library: Repo, repos: Path, mirrors: Mirrors, workspace: Path
):
    middle = Repo(repos / "deep" / "middle")
    add(middle, "../../library", "library", library.git("rev-parse", "HEAD"))
    add(origin, "./../deep/middle", "middle", middle.git("rev-parse", "HEAD"))
    await check_out_origin(origin, mirrors, workspace)
    assert (workspace / "middle" / "library" / "version").read_text() == "2"
    assert read(workspace, "status", "--porcelain") == ""
    assert len(read(workspace, "submodule", "status", "--recursive").splitlines()) == 2


async def test_submodules_that_never_end_are_refused(origin: Repo, mirrors: Mirrors, workspace: Path):
    commit = origin.commit({"a": "1"})
    for _ in range(MAX_SUBMODULE_DEPTH + 1):
        add(origin, "../origin", "again", commit)
        commit = origin.git("rev-parse", "HEAD")
    assert f"submodules are nested deeper than {MAX_SUBMODULE_DEPTH}" in await refusal(
        origin, mirrors, workspace
    )


async def test_a_submodule_that_is_not_listed_or_not_wanted_is_an_empty_folder(
    origin: Repo, library: Repo, mirrors: Mirrors, workspace: Path
):
    commit = library.git("rev-parse", "HEAD")
    add(origin, "../library", "unwanted", commit)
    origin.git("config", "--file", ".gitmodules", "submodule.unwanted.update", "none")
    origin.git("config", "--file", ".gitmodules", "submodule.removed.path", "removed")
    origin.git("config", "--file", ".gitmodules", "submodule.pathless.url", "../library")
    origin.git("add", ".gitmodules")
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{commit},unlisted")
    origin.git("commit", "--quiet", "--message", "more")
    await check_out_origin(origin, mirrors, workspace)
    assert names(workspace) == [".git", ".gitmodules", "unlisted", "unwanted"]
    assert names(workspace / "unwanted") == names(workspace / "unlisted") == []
    assert read(workspace, "status", "--porcelain") == ""


async def test_a_file_is_no_submodule_whatever_is_listed(
    origin: Repo, library: Repo, mirrors: Mirrors, workspace: Path
):
    commit = library.git("rev-parse", "HEAD")
    origin.commit({"folder/file": "mine", "*": "star"})
    for name, path in (
        ("a", "folder"),
        ("b", "folder/file"),
        ("c", "."),
        ("d", "*"),
        ("e", ""),
        ("f", "../x"),
    ):
        origin.git("config", "--file", ".gitmodules", f"submodule.{name}.path", path)
        origin.git("config", "--file", ".gitmodules", f"submodule.{name}.url", "../library")
    add(origin, "../library", "real", commit)
    await check_out_origin(origin, mirrors, workspace)
    assert names(workspace) == ["*", ".git", ".gitmodules", "folder", "real"]
    assert (workspace / "folder" / "file").read_text() == "mine"
    assert (workspace / "real" / "version").read_text() == "2"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc", "is not below an allowed folder"),
        ("../../outside", "is not below an allowed folder"),
        ("../" * 50 + "etc", "its URL leads out of the server of the repository"),
        ("/etc", "must be a URL, not a path; use file:///etc"),
        ("ext::sh -c 'touch owned'", "must be a clone URL"),
        ("-u./payload", "must be a clone URL"),
        ("http://host/repo", "can't be fetched by 'http'"),
        ("", ".gitmodules has no URL for it"),
        ("../none", "does not appear to be a git repository"),
    ],
)
async def test_a_submodule_from_where_nothing_may_be_fetched_is_refused_by_its_name(
    origin: Repo, library: Repo, tmp_path: Path, mirrors: Mirrors, workspace: Path, url: str, reason: str
):
    Repo(tmp_path / "outside").commit({"secret": "1"})
    add(origin, url, "sub", library.git("rev-parse", "HEAD"))
    error = await refusal(origin, mirrors, workspace)
    assert error.startswith("the submodule 'sub': could not fetch the source: ")
    assert reason in error
    assert names(workspace / "sub") == []


async def test_a_submodule_may_not_be_put_outside_by_a_link(
    origin: Repo, library: Repo, tmp_path: Path, mirrors: Mirrors, workspace: Path
):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "precious").write_text("mine")
    commit = library.git("rev-parse", "HEAD")
    # A tree with a link and a folder of the same name, as git itself would never write it.
    link = write(origin, str(outside).encode())
    folder = read(origin.path, "mktree", "--missing", text=f"160000 commit {commit}\tsub\n".encode())
    modules = write(origin, b'[submodule "s"]\npath = link/sub\nurl = ../library\n')
    entries = {b".gitmodules": (b"100644", modules), b"link": (b"120000", link)}
    tree = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(id) for name, (mode, id) in entries.items())
    tree += b"40000 link\0" + bytes.fromhex(folder)
    commit = origin.git("commit-tree", write(origin, tree, "-t", "tree", "--literally"), "-m", "evil")
    origin.git("update-ref", "refs/heads/main", commit)
    await check_out_origin(origin, mirrors, workspace)
    assert (workspace / "link" / "sub" / "version").read_text() == "2"
    assert (outside / "sub" / "precious").read_text() == "mine"
    assert names(outside / "sub") == ["precious"]


def test_room_for_a_submodule_is_made_only_inside_the_repository(tmp_path: Path):
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    (tmp_path / "workspace" / "sub").mkdir(parents=True)
    (tmp_path / "workspace" / "link").symlink_to(tmp_path / "outside")
    for path in ("link/sub", "link", "../outside/sub"):
        with pytest.raises(BuildError, match="is not inside the repository"):
            _clear(tmp_path / "workspace", path)
    assert names(tmp_path / "outside") == ["sub"]
    _clear(tmp_path / "workspace", "sub")
    assert names(tmp_path / "workspace") == ["link"]


async def test_a_list_of_submodules_that_is_a_link_is_not_read(
    origin: Repo, library: Repo, tmp_path: Path, mirrors: Mirrors, workspace: Path
):
    outside = tmp_path / "config"
    outside.write_text('[submodule "s"]\n\tpath = sub\n\turl = ../library\n')
    entries = b"120000 .gitmodules\0" + bytes.fromhex(write(origin, str(outside).encode()))
    entries += b"160000 sub\0" + bytes.fromhex(library.git("rev-parse", "HEAD"))
    commit = origin.git("commit-tree", write(origin, entries, "-t", "tree", "--literally"), "-m", "link")
    origin.git("update-ref", "refs/heads/main", commit)
    assert "invalid path '.gitmodules'" in await refusal(origin, mirrors, workspace)


async def test_a_broken_list_of_submodules_is_told_in_the_words_of_git(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({".gitmodules": "[submodule"})
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    origin.git("commit", "--quiet", "--message", "a submodule")
    error = await refusal(origin, mirrors, workspace)
    assert error.startswith("could not check out ") and "bad config line 2 in file .gitmodules" in error


@pytest.mark.parametrize(
    ("url", "stated", "absolute"),
    [
        ("https://host/team/repo.git", "../lib.git", "https://host/team/lib.git"),
        ("https://host/team/repo.git/", "../lib.git", "https://host/team/lib.git"),
        ("https://host/team/repo", "./sub.git", "https://host/team/repo/sub.git"),
        ("https://host/team/repo", "../../other/lib", "https://host/other/lib"),
        ("git@host:team/repo.git", "../lib.git", "git@host:team/lib.git"),
        ("git@host:repo.git", "../lib.git", "git@host:lib.git"),
        ("git@host:team/repo.git", "../../other/lib.git", "git@host:other/lib.git"),
        ("ssh://git@host:22/repo", "./../lib", "ssh://git@host:22/lib"),
        ("https://host/repo", "https://else/lib", "https://else/lib"),
        ("https://host/repo", "git@else:lib", "git@else:lib"),
        ("file:///srv/repo", "../../lib", "file:///lib"),
        ("https://host/repo", "..lib", "..lib"),
    ],
)
def test_the_url_of_a_submodule_may_be_relative_to_its_repository(url: str, stated: str, absolute: str):
    assert _absolute(url, stated) == absolute


@pytest.mark.parametrize(
    ("url", "stated"),
    [
        ("https://host/repo", "../../else/lib"),
        ("git@host:repo", "../../lib"),
        ("file:///repo", "../../../lib"),
    ],
)
def test_a_relative_url_can_not_lead_to_another_server(url: str, stated: str):
    with pytest.raises(BuildError, match="leads out of the server"):
        _absolute(url, stated)
