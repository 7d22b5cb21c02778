"""Files in Git LFS, with the real git-lfs: fetched, or said to be pointers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.repos import Repo
from tests.support.sources import read

CLEAN = "filter.lfs.process=git-lfs filter-process"
CONTENT = b"\x00large\xff" * 1000


@pytest.fixture
def with_lfs(origin: Repo) -> Repo:
    """A repository with a file in LFS."""
    origin.git("config", "filter.lfs.clean", "git-lfs clean -- %f")
    origin.git("config", "filter.lfs.required", "true")
    origin.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.bin": CONTENT})
    assert origin.git("show", "HEAD:a.bin").startswith("version https://git-lfs")
    return origin


def without_git_lfs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with git and without git-lfs."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("git", "git-upload-pack", "sh"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))


async def test_files_in_lfs_are_fetched(with_lfs: Repo, mirrors: Mirrors, workspace: Path):
    assert await check_out(await mirrors.fetch(with_lfs.url), workspace, mirrors) == []
    assert (workspace / "a.bin").read_bytes() == CONTENT
    assert (workspace / "a.bin").stat().st_mode & 0o777 == 0o644
    assert read(workspace, "-c", CLEAN, "status", "--porcelain") == ""


async def test_without_git_lfs_it_is_said_that_files_are_pointers(
    with_lfs: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Also where the configuration of the server's user has the filter.
    (tmp_path / "gitconfig").write_text(
        '[filter "lfs"]\n\tprocess = git-lfs filter-process\n\trequired = true\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    without_git_lfs(tmp_path, monkeypatch)
    remarks = await check_out(await mirrors.fetch(with_lfs.url), workspace, mirrors)
    assert remarks == ["1 file is a Git LFS pointer, because git-lfs is not installed on the server"]
    assert (workspace / "a.bin").read_text().startswith("version https://git-lfs")


async def test_files_that_the_lfs_server_does_not_have_fail_the_build(
    with_lfs: Repo, mirrors: Mirrors, workspace: Path
):
    shutil.rmtree(with_lfs.path / ".git" / "lfs")
    with pytest.raises(BuildError, match=r"^could not fetch the Git LFS files: .*missing object"):
        await check_out(await mirrors.fetch(with_lfs.url), workspace, mirrors)


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/lfs", "file:///etc", "http://127.0.0.1:9/lfs"])
async def test_no_other_lfs_server_is_asked_than_that_of_the_repository(
    with_lfs: Repo, mirrors: Mirrors, workspace: Path, url: str
):
    with_lfs.commit({".lfsconfig": f"[lfs]\n\turl = {url}\n"})
    remarks = await check_out(await mirrors.fetch(with_lfs.url), workspace, mirrors)
    assert remarks == [
        "1 file is a Git LFS pointer, because .lfsconfig names another host than that of the repository"
    ]


async def test_lfs_in_a_submodule_is_fetched_or_said_by_its_name(
    with_lfs: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    outer = Repo(tmp_path / "repos" / "outer")
    commit = with_lfs.git("rev-parse", "HEAD")
    outer.commit({".gitmodules": '[submodule "s"]\n\tpath = s\n\turl = ../origin\n'})
    outer.git("update-index", "--add", "--cacheinfo", f"160000,{commit},s")
    outer.git("commit", "--quiet", "--message", "a submodule")
    source = await mirrors.fetch(outer.url)
    assert await check_out(source, workspace, mirrors) == []
    assert (workspace / "s" / "a.bin").read_bytes() == CONTENT
    assert read(workspace, "status", "--porcelain", "--ignore-submodules=dirty") == ""
    without_git_lfs(tmp_path, monkeypatch)
    (remark,) = await check_out(source, tmp_path / "work" / "again", mirrors)
    assert remark.startswith("the submodule 's': 1 file is a Git LFS pointer")
    assert (tmp_path / "work" / "again" / "s" / "a.bin").exists()
