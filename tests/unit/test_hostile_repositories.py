"""Repositories that are made to do harm to the server that checks them out, with the real git."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.source import workspace as workspace_module
from rapidflow_web.source.git import GitError, git
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.certificates import make_certificate
from tests.support.repos import Repo
from tests.support.sources import names, raw, read, refusal

LINK, FILE, FOLDER, MODULE = "120000", "100755", "40000", "160000"


class Trap:
    """A program that leaves a trace when it is run, and a place outside that nothing may be written to."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.program = folder / "program"
        self.program.write_text(f'#!/bin/sh\ntouch {folder}/ran\nexec "$@"\n')
        self.program.chmod(0o755)
        self._trace = folder / "ran"

    def assert_untouched(self) -> None:
        assert not self._trace.exists()
        assert names(self.outside) == []


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


# Trees that no git would make.

Tree = dict[tuple[str, str], "str | Tree"]


def write_tree(repo: Repo, tree: Tree) -> str:
    """Writes a tree as it is, whatever git says to it. Keys are modes with names."""
    data = b""
    for (mode, name), what in tree.items():
        if isinstance(what, dict):
            entry = write_tree(repo, what)
        elif mode == MODULE:
            entry = what
        else:
            entry = read(repo.path, "hash-object", "-w", "--stdin", text=what.encode())
        data += f"{mode} {name}".encode() + b"\0" + bytes.fromhex(entry)
    return read(repo.path, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", text=data)


def commit_tree(repo: Repo, tree: Tree) -> None:
    """Makes a commit of it the head of main."""
    repo.git("update-ref", "refs/heads/main", repo.git("commit-tree", "-m", "evil", write_tree(repo, tree)))


HOOK = "#!/bin/sh\ntouch ../../ran\n"


@pytest.mark.parametrize(
    "tree",
    [
        {(FOLDER, ".."): {(FOLDER, ".."): {(FOLDER, "outside"): {(FILE, "x"): "x"}}}},
        {(FILE, "../../outside/x"): "x"},
        {(FILE, "/outside/x"): "x"},
        {(FOLDER, "."): {(FOLDER, ".."): {(FILE, "x"): "x"}}},
        {(FOLDER, ".git"): {(FOLDER, "hooks"): {(FILE, "post-checkout"): HOOK}}},
        {(FOLDER, ".GIT"): {(FOLDER, "hooks"): {(FILE, "post-checkout"): HOOK}}, (FILE, ".gi\u200ct"): "x"},
        {(FILE, ".git"): "gitdir: ../../outside"},
        {(LINK, ".git"): "../../outside"},
        {(FOLDER, "a"): {(FOLDER, ".git"): {(FILE, "config"): "[core]\n\tfsmonitor = ../../program\n"}}},
        {(LINK, ".gitmodules"): "../../program"},
        # A link, and what is to be written through it.
        {(LINK, "a"): "../../outside", (FOLDER, "a"): {(FILE, "x"): "x"}},
        {(FOLDER, "a"): {(FILE, "x"): "x"}, (LINK, "a"): "../../outside"},
        {(LINK, "a"): "../../outside", (FILE, "a/x"): "x"},
        {(LINK, "A"): "../../outside", (FOLDER, "a"): {(FILE, "x"): "x"}},
        {(LINK, "a"): ".git", (FOLDER, "a"): {(FOLDER, "hooks"): {(FILE, "post-checkout"): HOOK}}},
        {(FILE, ""): "x"},
        {(FOLDER, ""): {(FILE, "x"): "x"}},
    ],
    ids=repr,
)  # fmt: skip
async def test_no_tree_leads_out_of_the_workspace(
    origin: Repo, mirrors: Mirrors, workspace: Path, trap: Trap, tree: Tree
):
    commit_tree(origin, tree)
    before = names(workspace.parents[1])
    try:
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    except BuildError as error:
        assert str(error).isprintable()
    trap.assert_untouched()
    assert names(workspace.parents[1]) in (before, sorted([*before, "work"]))
    assert_only_a_repository(workspace)


def assert_only_a_repository(workspace: Path) -> None:
    """That there is a repository without hooks, or nothing."""
    if workspace.exists():
        assert names(workspace.parent) == ["workspace"]
        assert (workspace / ".git").is_dir() and not (workspace / ".git").is_symlink()
        assert not (workspace / ".git" / "hooks").exists()


def module(text: str, commit: str, path: str = "m") -> Tree:
    """A tree with a submodule in `path`, of which .gitmodules says `text`."""
    where: Tree = {(MODULE, path.rpartition("/")[2]): commit}
    for folder in reversed(path.split("/")[:-1]):
        where = {(FOLDER, folder): where}
    return {(FILE, ".gitmodules"): text, **where}


@pytest.mark.parametrize(
    "said",
    [
        '[submodule "m"]\n\tpath = m\n\turl = {url}\n\tupdate = !{program}\n',
        '[submodule "../../outside"]\n\tpath = m\n\turl = {url}\n',
        '[submodule "m"]\n\tpath = m\n\turl = -u{program}\n',
        '[submodule "m"]\n\tpath = m\n\turl = --upload-pack={program}\n',
        '[submodule "m"]\n\tpath = m\n\turl = ext::{program}\n',
        '[submodule "m"]\n\tpath = m\n\turl = "ssh://-oProxyCommand={program}/x"\n',
        '[submodule "m"]\n\tpath = m\n\turl = ./-u\n',
        '[submodule "m"]\n\tpath = ../../outside/m\n\turl = {url}\n',
        '[submodule "m"]\n\tpath = m/../../../outside\n\turl = {url}\n',
        '[submodule "m"]\n\tpath = .git/hooks\n\turl = {url}\n',
        '[submodule "m"]\n\tpath = -m\n\turl = {url}\n',
        '[include]\n\tpath = {program}\n[submodule "m"]\n\tpath = m\n\turl = {url}\n',
        '[core]\n\tfsmonitor = {program}\n[submodule "m"]\n\tpath = m\n\turl = {url}\n',
        '[submodule "core.fsmonitor={program}\\n[core]\\n\\tfsmonitor"]\n\tpath = m\n\turl = {url}\n',
    ],
)
async def test_no_list_of_submodules_leads_out_or_runs_anything(
    origin: Repo, mirrors: Mirrors, workspace: Path, trap: Trap, tmp_path: Path, said: str
):
    other = Repo(tmp_path / "repos" / "other")
    commit = other.commit({"post-checkout": HOOK})
    commit_tree(origin, module(said.format(url=other.url, program=trap.program), commit))
    try:
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    except BuildError as error:
        assert str(error).isprintable()
    # What was written into the configuration does nothing either when git works there once more.
    read(workspace, "status", "--porcelain", "--ignore-submodules=none")
    trap.assert_untouched()
    assert not (workspace / ".git" / "hooks").exists()


@pytest.mark.parametrize(
    "path", [".git/hooks", ".git/modules/x", "../outside/m", "a/../../outside", ".", ".git"]
)
async def test_no_submodule_is_put_where_git_would_not(
    origin: Repo, mirrors: Mirrors, workspace: Path, trap: Trap, tmp_path: Path, path: str
):
    other = Repo(tmp_path / "repos" / "other")
    commit = other.commit({"post-checkout": HOOK})
    commit_tree(origin, module(f'[submodule "m"]\n\tpath = {path}\n\turl = {other.url}\n', commit, path))
    with pytest.raises(BuildError) as error:
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert "invalid path" in str(error.value)
    trap.assert_untouched()


# Configuration of a repository on the same machine.


@pytest.mark.parametrize(
    "configuration",
    [
        "[uploadpack]\n\tpackObjectsHook = {program}\n",
        "[core]\n\tfsmonitor = {program}\n\tsshCommand = {program}\n\tgitProxy = {program}\n"
        "\tpager = {program}\n\taskPass = {program}\n\talternateRefsCommand = {program}\n",
        "[core]\n\thooksPath = {hooks}\n",
        "[credential]\n\thelper = !{program}\n",
        "[filter \"x\"]\n\tsmudge = {program}\n\tprocess = {program}\n\trequired = true\n",
        "[diff]\n\texternal = {program}\n",
        "[gc]\n\trecentObjectsHook = {program}\n",
    ],
)  # fmt: skip
async def test_the_configuration_of_a_repository_runs_nothing(
    origin: Repo, mirrors: Mirrors, workspace: Path, trap: Trap, configuration: str
):
    origin.commit(
        {"a": "1", ".gitattributes": "* filter=x diff=x\n", ".gitconfig": "[core]\n\tfsmonitor = x\n"}
    )
    hooks = origin.path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-upload-pack", "pre-upload-pack", "reference-transaction", "post-checkout"):
        (hooks / name).write_bytes(trap.program.read_bytes())
        (hooks / name).chmod(0o755)
    with (origin.path / ".git" / "config").open("a") as config:
        config.write(configuration.format(program=trap.program, hooks=hooks))
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert (workspace / "a").read_text() == "1"
    trap.assert_untouched()


async def test_the_trap_of_these_tests_snaps(
    origin: Repo, mirrors: Mirrors, trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # In the configuration of the server's user, where it counts.
    (tmp_path / "gitconfig").write_text(f"[uploadpack]\n\tpackObjectsHook = {trap.program}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    origin.commit({"a": "1"})
    await mirrors.fetch(origin.url)
    with pytest.raises(AssertionError):
        trap.assert_untouched()


@pytest.mark.parametrize("how", ["ext::{program}", "file://{other}"])
async def test_a_repository_that_lacks_objects_does_not_fetch_them(
    origin: Repo, mirrors: Mirrors, trap: Trap, tmp_path: Path, how: str
):
    # Else it would run what its own configuration names, or bring what lies outside of the allowed folders.
    origin.commit({"a": "missing"})
    (blob,) = [line.split()[2] for line in origin.git("ls-tree", "HEAD").splitlines()]
    other = Repo(trap.outside.parent / "other")
    other.commit({"a": "missing"})
    (origin.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    url = how.format(program=trap.program, other=other.path)
    for key, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "origin",
        "protocol.allow": "always", "protocol.ext.allow": "always",
        "remote.origin.promisor": "true", "remote.origin.url": url,
        "remote.origin.uploadpack": f"{trap.program} git-upload-pack",
    }.items():  # fmt: skip
        origin.git("config", key, value)
    assert f"unable to read {blob}" in await refusal(mirrors, origin.url)
    trap.assert_untouched()


async def test_the_servers_user_can_not_be_made_to_allow_more_protocols(
    mirrors: Mirrors, trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "gitconfig"
    config.write_text(
        "[protocol]\n\tallow = always\n[protocol \"ext\"]\n\tallow = always\n"
        f'[url "ext::{trap.program} "]\n\tinsteadOf = https://rewritten.example/\n'
        '[url "http://127.0.0.1:1/"]\n\tinsteadOf = https://plain.example/\n'
    )  # fmt: skip
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert "transport 'ext' not allowed" in await refusal(
        mirrors, "https://rewritten.example/x", branch="main"
    )
    assert "transport 'http' not allowed" in await refusal(mirrors, "https://plain.example/x", branch="main")
    trap.assert_untouched()


# Servers that lead elsewhere.


@pytest.fixture
def leading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a web server that leads everything to the address in `tmp_path`/location."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")

    class Leading(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", (tmp_path / "location").read_text())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leading) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "file://{path}/", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/",
                 "ext::{path}"]
)  # fmt: skip
async def test_a_web_server_can_lead_to_no_other_protocol(
    origin: Repo, mirrors: Mirrors, leading: str, tmp_path: Path, location: str
):
    origin.commit({"a": "1"})
    origin.git("update-server-info")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as listener:
        where = location.format(port=listener.server_port, path=origin.path / ".git")
        (tmp_path / "location").write_text(f"{where}info/refs?service=git-upload-pack")
        assert "unable to access" in await refusal(mirrors, f"{leading}/repo", branch="main")
        listener.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.socket.accept()


async def test_no_server_is_asked_from_where_else_to_download_whatever_the_user_has_configured(
    origin: Repo, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, trace = tmp_path / "user", tmp_path / "trace"
    config.write_text("[fetch]\n\turiProtocols = http,https\n[transfer]\n\tbundleURI = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_TRACE_PACKET", str(trace))
    origin.commit({"a": "1"})
    blob = origin.git("rev-parse", "HEAD:a")
    origin.git("config", "uploadpack.blobPackfileUri", f"{blob} {'1' * 40} https://elsewhere.invalid/pack")
    await mirrors.fetch(origin.url, "main")
    said = trace.read_text()
    assert "upload-pack> fetch=" in said and "packfile-uris" in said
    assert "fetch> packfile-uris" not in said and "> command=bundle-uri" not in said


async def test_very_many_branches_are_branches_although_they_are_not_all_read(origin: Repo, mirrors: Mirrors):
    commit = origin.commit({"a": "1"})
    lines = "".join(f"create refs/heads/{'n' * 200}-{number} {commit}\n" for number in range(5000))
    read(origin.path, "update-ref", "--stdin", text=lines.encode())
    origin.git("checkout", "--quiet", "--detach")
    assert "has no default branch" in await refusal(mirrors, origin.url)


# What is said for ever, and what is not for terminals.


async def test_what_a_server_says_is_bounded_and_moves_no_cursor(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "own-ssh"
    program.write_text(
        "#!/bin/sh\nyes 'remote: noise' | head -c 5000000 >&2\n"
        "printf '\\033[2Jremote: gone \\a\\n' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    reason = await refusal(mirrors, "git@127.0.0.1:repo", branch="main")
    assert len(reason) <= 1000
    assert reason.isprintable() and "[2Jremote: gone" in reason


async def test_a_git_that_prints_without_end_is_stopped(origin: Repo):
    # What is not text is decoded byte by byte, on the event loop: 64 MiB would take some seconds.
    origin.commit({".gitmodules": "x" * 2_000_000})
    with pytest.raises(GitError, match="git cat-file printed more than 1 MiB"):
        await git("cat-file", "blob", "HEAD:.gitmodules", cwd=origin.path)
    assert raw(origin.path, "cat-file", "blob", "HEAD:.gitmodules") == b"x" * 2_000_000


def test_what_git_says_of_many_long_names_is_read_in_linear_time():
    # Patterns that look from each word to the end take minutes for this.
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10, 10)); "
        "from rapidflow_web.source import git, ssh; "
        "ssh.explained('No ' * 1_000_000); ssh.explained('Host key for ' * 200_000); "
        "[git._words(text * 60_000, 'fetch', quiet=quiet) for quiet in (True, False) for text in "
        "(b'No host ', b'://a@', b'://', b'remote error: ', b'could not read Username for ')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_a_very_long_list_of_submodules_is_refused(origin: Repo, mirrors: Mirrors, workspace: Path):
    commit_tree(origin, module("[x]\n" * 7_000_000, "1" * 40))
    with pytest.raises(BuildError, match=r"\.gitmodules has more than 1 MiB"):
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)


@pytest.mark.parametrize("text", ["a\n" * 200_000, "path = m\n" * 100_000])
async def test_a_list_of_submodules_that_git_makes_long_is_not_kept(
    origin: Repo, mirrors: Mirrors, workspace: Path, text: str
):
    # Git prints the name of the section for each entry: a hundred gigabytes out of half a megabyte.
    commit_tree(origin, module(f'[submodule "{"n" * 100_000}"]\n{text}', "1" * 40))
    with pytest.raises(BuildError, match=r"\.gitmodules has too long names"):
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_git_that_goes_on_printing_when_it_is_stopped_leaves_no_descriptor_open(tmp_path: Path):
    before = open_files()
    with pytest.raises(GitError, match="printed more than 1 MiB"):
        await git("-c", "alias.endless=!trap '' TERM; yes", "endless", cwd=tmp_path)
    assert open_files() == before


async def test_many_entries_of_submodules_are_refused(origin: Repo, mirrors: Mirrors, workspace: Path):
    commit_tree(origin, module('[submodule "n"]\n' + "a\n" * 30_000, "1" * 40))
    with pytest.raises(BuildError, match=r"\.gitmodules has more than 20000 entries"):
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)


async def test_more_submodules_than_anybody_needs_are_refused(
    origin: Repo, mirrors: Mirrors, workspace: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workspace_module, "MAX_SUBMODULES", 3)
    commit = origin.commit({"a": "1"})
    text = "".join(f'[submodule "{n}"]\n\tpath = m{n}\n\turl = ../origin\n' for n in range(4))
    commit_tree(origin, {(FILE, ".gitmodules"): text, **{(MODULE, f"m{n}"): commit for n in range(4)}})
    with pytest.raises(BuildError, match="it has more than 3 submodules"):
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)


async def test_the_name_of_a_submodule_moves_no_cursor(origin: Repo, mirrors: Mirrors, workspace: Path):
    commit_tree(
        origin, module('[submodule "a\x1b[2J\u009b\u202eb"]\n\tpath = m\n\turl = /\u202e\n', "1" * 40)
    )
    with pytest.raises(BuildError) as error:
        await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert str(error.value).startswith("the submodule 'a") and str(error.value).isprintable()
