"""The work tree of a build: a repository that works, whatever else goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source import history
from rapidflow_web.source.mirrors import Mirrors, Source
from rapidflow_web.source.workspace import check_out
from tests.support.repos import Repo
from tests.support.server import wait_for
from tests.support.sources import names, none_left, read, working_in


async def test_the_workspace_is_a_repository_on_its_branch(origin: Repo, mirrors: Mirrors, workspace: Path):
    origin.commit({"old": "1", "sub/file": "x\r\n"}, "first")
    origin.git("tag", "-a", "v1.0", "-m", "a release")
    commit = origin.commit({"new": b"\x00\xff"}, "second")
    (origin.path / "link").symlink_to("old")
    (origin.path / "new").chmod(0o755)
    commit = origin.commit({}, "third")
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert names(workspace) == [".git", "link", "new", "old", "sub"]
    assert (workspace / "new").read_bytes() == b"\x00\xff"
    assert (workspace / "sub" / "file").read_bytes() == b"x\r\n"
    assert (workspace / "link").readlink() == Path("old")
    assert os.access(workspace / "new", os.X_OK) and not os.access(workspace / "old", os.X_OK)
    assert read(workspace, "status", "--porcelain", "--branch") == "## main...origin/main"
    assert read(workspace, "log", "--format=%s %H", "-1") == f"third {commit}"
    assert read(workspace, "log", "--format=%s").split() == ["third", "second", "first"]
    assert read(workspace, "describe") == f"v1.0-2-g{commit[:7]}"
    assert read(workspace, "rev-parse", "origin/main") == commit
    assert read(workspace, "remote", "get-url", "origin") == origin.url
    assert read(workspace, "fsck", "--full") == ""


async def test_the_workspace_stands_on_its_own(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path
):
    origin.commit({"a": "1"})
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    shutil.rmtree(tmp_path / "mirrors")
    assert read(workspace, "fsck", "--full") == ""
    (workspace / "a").write_text("2")
    read(workspace, "-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "-qam", "mine")
    assert read(workspace, "status", "--porcelain", "--branch") == "## main...origin/main [ahead 1]"


async def test_what_a_build_does_to_its_workspace_does_not_reach_the_next(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path
):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    await check_out(source, workspace, mirrors)
    who = ("-c", "user.name=x", "-c", "user.email=x@example.invalid")
    read(workspace, *who, "commit", "--quiet", "--allow-empty", "--amend", "--message", "mine")
    read(workspace, "tag", "mine")
    read(workspace, "gc", "--quiet", "--prune=now")
    shutil.rmtree(workspace)
    await check_out(source, tmp_path / "next", mirrors)
    assert read(tmp_path / "next", "tag", "--list") == ""
    assert read(tmp_path / "next", "fsck", "--full") == ""


async def test_the_branches_of_the_remote_are_there_to_compare_with(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    first = origin.commit({"a": "1"})
    origin.git("branch", "gone")
    origin.git("checkout", "--quiet", "-b", "feature")
    origin.commit({"b": "1"})
    await mirrors.fetch(origin.url, "feature")
    origin.git("branch", "--delete", "gone")
    origin.git("branch", "gone/another")
    await check_out(await mirrors.fetch(origin.url, "feature"), workspace, mirrors)
    assert read(workspace, "diff", "--name-only", "origin/main...HEAD") == "b"
    assert read(workspace, "rev-parse", "origin/main") == first
    assert read(workspace, "branch", "--all", "--format=%(refname)").split() == [
        "refs/heads/feature", "refs/remotes/origin/feature", "refs/remotes/origin/gone/another",
        "refs/remotes/origin/main",
    ]  # fmt: skip
    fetched = read(workspace, "config", "--get-all", "remote.origin.fetch")
    assert fetched == "+refs/heads/*:refs/remotes/origin/*"


async def test_a_mirror_keeps_many_branches_in_one_file(origin: Repo, mirrors: Mirrors, workspace: Path):
    commit = origin.commit({"a": "1"})
    (origin.path / ".git" / "packed-refs").write_text(
        "".join(f"{commit} refs/heads/team/{number:04}\n" for number in range(500))
    )
    source = await mirrors.fetch(origin.url)
    assert len(list((source.mirror / "refs").rglob("*"))) < 50
    await check_out(source, workspace, mirrors)
    assert len(list((workspace / ".git" / "refs").rglob("*"))) < 50
    assert read(workspace, "rev-parse", "origin/team/0499") == commit


async def test_a_branch_that_became_a_folder_of_branches_meanwhile_is_checked_out(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    commit = origin.commit({"a": "1"})
    origin.git("branch", "topic")
    source = await mirrors.fetch(origin.url, "topic")
    origin.git("branch", "--delete", "topic")
    origin.git("branch", "topic/one")
    await mirrors.fetch(origin.url, "topic/one")
    await check_out(source, workspace, mirrors)
    assert read(workspace, "rev-parse", "HEAD", "origin/topic").split() == [commit, commit]


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o027])
async def test_files_have_the_modes_of_the_repository_whatever_the_umask_is(
    origin: Repo, mirrors: Mirrors, workspace: Path, umask: int
):
    (origin.path / "run").write_text("#!/bin/sh\n")
    (origin.path / "run").chmod(0o755)
    origin.commit({"folder/file": "1"})
    before = os.umask(umask)
    try:
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    finally:
        os.umask(before)
    modes = {
        name: (workspace / name).stat().st_mode & 0o777 for name in (".", "folder", "folder/file", "run")
    }
    assert modes == {".": 0o755, "folder": 0o755, "folder/file": 0o644, "run": 0o755}


async def test_a_repository_with_sha256_is_checked_out(mirrors: Mirrors, tmp_path: Path, workspace: Path):
    origin = Repo(tmp_path / "repos" / "sha256", "--object-format=sha256")
    commit = origin.commit({"a": "1"})
    assert len(commit) == 64
    for branch, wanted in ((None, None), ("main", None), (None, commit)):
        source = await mirrors.fetch(origin.url, branch, wanted)
        assert source.commit == commit
        shutil.rmtree(workspace, ignore_errors=True)
        await check_out(source, workspace, mirrors)
        assert (workspace / "a").read_text() == "1"
    assert read(workspace, "fsck", "--full") == ""


@pytest.mark.parametrize("wanted", ["branch", "commit"])
async def test_a_shallow_repository_is_checked_out(
    origin: Repo, mirrors: Mirrors, tmp_path: Path, workspace: Path, wanted: str
):
    origin.commit({"a": "1"})
    commit = origin.commit({"a": "2"})
    shallow = tmp_path / "repos" / "shallow"
    origin.git("clone", "--quiet", "--depth=1", origin.url, str(shallow))
    url = f"file://{shallow}"
    source = await (mirrors.fetch(url, "main") if wanted == "branch" else mirrors.fetch(url, commit=commit))
    await check_out(source, workspace, mirrors)
    assert read(workspace, "log", "--format=%H") == commit
    assert (workspace / "a").read_text() == "2"


async def test_tags_are_those_of_now(origin: Repo, mirrors: Mirrors, workspace: Path):
    first = origin.commit({"a": "1"})
    origin.git("tag", "nightly")
    origin.git("tag", "gone")
    await mirrors.fetch(origin.url)
    second = origin.commit({"a": "2"})
    origin.git("tag", "--force", "nightly")
    origin.git("tag", "--delete", "gone")
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert read(workspace, "tag", "--list") == "nightly"
    assert read(workspace, "rev-parse", "nightly") == second != first


@pytest.mark.parametrize(
    "branch", ["heads/main", "refs/heads/main", "origin/main", "remotes/origin/main", "a.b"]
)
async def test_a_branch_with_a_confusing_name_is_checked_out(
    origin: Repo, mirrors: Mirrors, workspace: Path, branch: str
):
    origin.commit({"a": "main"})
    origin.git("tag", "origin/main")
    origin.git("checkout", "--quiet", "-b", branch)
    commit = origin.commit({"a": "confusing"})
    origin.git("tag", "--force", branch, "HEAD~1")
    await check_out(await mirrors.fetch(origin.url, branch), workspace, mirrors)
    assert (workspace / "a").read_text() == "confusing"
    assert read(workspace, "rev-parse", "HEAD") == commit
    assert read(workspace, "symbolic-ref", "HEAD") == f"refs/heads/{branch}"


async def test_what_the_servers_user_configured_changes_no_file_and_no_title(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    origin.commit({"script": "one\n$Id$\n", ".gitattributes": "* text=auto\n"})
    (origin.path / "link").symlink_to("script")
    commit = origin.commit({}, "Grüße")
    config, attributes = tmp_path / "gitconfig", tmp_path / "attributes"
    attributes.write_text("* text eol=crlf ident\n")
    config.write_text(
        "[safe]\n\tbareRepository = explicit\n[i18n]\n\tlogOutputEncoding = latin1\n"
        "[core]\n\tautocrlf = true\n\teol = crlf\n\tsymlinks = false\n"
        f"\tattributesFile = {attributes}\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    source = await mirrors.fetch(origin.url)
    await check_out(source, workspace, mirrors)
    assert (workspace / "script").read_bytes() == b"one\n$Id$\n"
    assert (workspace / "link").readlink() == Path("script")
    assert (await history.commit_of(source.mirror, commit)).title == "Grüße"


async def test_no_hook_is_run(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-merge", "pre-auto-gc", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[init]\n\ttemplateDir = {tmp_path}/template\n[core]\n\thooksPath = {hooks}\n")
    origin.commit({"a": "1"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    source = await mirrors.fetch(origin.url)
    await check_out(source, workspace, mirrors)
    assert not (tmp_path / "ran").exists()
    assert not (source.mirror / "hooks").exists() and not (workspace / ".git" / "hooks").exists()


async def test_a_commit_that_is_not_in_the_mirror_can_not_be_checked_out(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    missing = Source(source.mirror, source.url, "0123456789abcdef" * 2 + "01234567", "main")
    with pytest.raises(BuildError, match=r"^could not check out 0123456789ab: fatal: "):
        await check_out(missing, workspace, mirrors)


# Many at once, and those that were killed.


async def test_builds_of_one_repository_at_the_same_time_all_get_their_commit(
    origin: Repo, mirrors: Mirrors, tmp_path: Path
):
    commits: dict[str, str] = {}
    for number in range(12):
        branch = f"branch-{number}"
        origin.git("checkout", "--quiet", "-b", branch)
        files: dict[str, str | bytes] = {f"{branch}/{i}": f"{branch} {i}" for i in range(30)}
        commits[branch] = origin.commit(files)

    async def build(branch: str) -> None:
        source = await mirrors.fetch(origin.url, branch)
        assert source.commit == commits[branch]
        workspace = tmp_path / "work" / branch
        await check_out(source, workspace, mirrors)
        assert read(workspace, "status", "--porcelain", "--branch") == f"## {branch}...origin/{branch}"
        assert read(workspace, "fsck", "--full", "--no-dangling") == ""

    await asyncio.gather(*(build(branch) for branch in commits))
    assert len(names(tmp_path / "mirrors")) == 1


async def test_a_clone_goes_on_when_a_file_is_moved_away_under_it(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    # Git as it is when a fetch renames what was to be linked, at its first clone.
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "git"
    program.write_text(
        f"#!/bin/sh\n"
        f'if [ "$1" = clone ] && mkdir {tmp_path}/once; then\n'
        f"  echo 'fatal: failed to create link: No such file or directory' >&2; exit 128\n"
        f'fi\nexec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    await check_out(source, workspace, mirrors)
    assert (tmp_path / "once").exists()
    assert read(workspace, "status", "--porcelain") == ""


async def test_what_a_killed_server_left_of_a_mirror_is_made_anew(
    origin: Repo, tmp_path: Path, workspace: Path
):
    commit = origin.commit({"a": "1"})
    folder = tmp_path / "mirrors"
    folder.mkdir()
    roots = [str(tmp_path / "repos")]
    mirror = (await Mirrors(folder, roots, 30).fetch(origin.url)).mirror
    fresh = mirror.with_suffix(".new")
    mirror.rename(fresh)
    (fresh / "config").write_text("[half")
    mirror.mkdir()
    (mirror / "objects").mkdir()
    mirrors = Mirrors(folder, roots, 30)
    source = await mirrors.fetch(origin.url)
    assert source.commit == commit
    assert names(folder) == [mirror.name]
    await check_out(source, workspace, mirrors)


@pytest.mark.parametrize("harm", ["empty HEAD", "empty config", "no refs", "no objects"])
async def test_a_mirror_that_is_no_repository_any_more_is_made_anew(
    origin: Repo, tmp_path: Path, workspace: Path, harm: str
):
    commit = origin.commit({"a": "1"})
    folder, roots = tmp_path / "mirrors", [str(tmp_path / "repos")]
    folder.mkdir()
    mirrors = Mirrors(folder, roots, 30)
    mirror = (await mirrors.fetch(origin.url)).mirror
    how, name = harm.split()
    if how == "empty":
        (mirror / name).write_bytes(b"")
    else:
        shutil.rmtree(mirror / name)
    source = await mirrors.fetch(origin.url)
    assert source.commit == commit
    await check_out(source, workspace, mirrors)


async def test_a_mirror_of_an_older_version_goes_on(origin: Repo, tmp_path: Path, workspace: Path):
    origin.commit({"a": "1"})
    folder, roots = tmp_path / "mirrors", [str(tmp_path / "repos")]
    folder.mkdir()
    mirror = (await Mirrors(folder, roots, 30).fetch(origin.url)).mirror
    read(mirror, "update-ref", "refs/heads/main", origin.git("rev-parse", "HEAD"))
    read(mirror, "config", "remote.origin.fetch", "+refs/*:refs/*")
    commit = origin.commit({"a": "2"})
    mirrors = Mirrors(folder, roots, 30)
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert read(workspace, "rev-parse", "HEAD", "origin/main").split() == [commit, commit]


async def test_locks_and_halves_of_a_killed_fetch_are_cleared_away(origin: Repo, tmp_path: Path):
    origin.commit({"a": "1"})
    origin.git("tag", "v1")
    folder = tmp_path / "mirrors"
    folder.mkdir()
    roots = [str(tmp_path / "repos")]
    mirror = (await Mirrors(folder, roots, 30).fetch(origin.url)).mirror
    origin.git("tag", "--force", "--message", "moved", "v1")
    left = [
        "refs/rapidflow/fetched.lock", "refs/tags/v1.lock", "packed-refs.lock", "config.lock", "HEAD.lock",
        "objects/pack/tmp_pack_123456", "objects/17/tmp_obj_123456",
    ]  # fmt: skip
    for name in left:
        (mirror / name).parent.mkdir(exist_ok=True)
        (mirror / name).touch()
    commit = origin.commit({"a": "2"})
    assert (await Mirrors(folder, roots, 30).fetch(origin.url)).commit == commit
    assert [name for name in left if (mirror / name).exists()] == []


async def test_a_fetch_that_is_given_up_is_no_hindrance_to_the_next(
    origin: Repo, mirrors: Mirrors, tmp_path: Path
):
    origin.commit({"a": "1"})
    mirror = (await mirrors.fetch(origin.url)).mirror
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    read(mirror, "config", "remote.origin.uploadpack", str(slow))
    fetch = asyncio.create_task(mirrors.fetch(origin.url))
    await asyncio.to_thread(wait_for, lambda: "sleep" in str(working_in(mirror)), "git fetches")
    fetch.cancel()
    await asyncio.wait({fetch})
    await none_left(mirror)
    read(mirror, "config", "--unset", "remote.origin.uploadpack")
    commit = origin.commit({"a": "2"})
    assert (await mirrors.fetch(origin.url)).commit == commit
