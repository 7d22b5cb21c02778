"""Which clone URLs and branches a pipeline may name."""

from __future__ import annotations

import subprocess

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.pipeline.repositories import check_branch, check_url, file_path


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/user/repo",
        "https://github.com/user/repo.git/",
        "https://user:p%40ss@host.example:8443/a/b/c.git",
        "https://[::1]:8443/repo",
        "ssh://git@github.com/user/repo.git",
        "ssh://git@host:2222/~user/repo",
        "git://host/repo",
        "git@github.com:user/repo.git",
        "host:repo",
        "git@host:/srv/repo",
        "git@host:~/repo",
        "https://host/ümlaut",
    ],
)
def test_a_clone_url_is_taken_as_it_is(url: str):
    assert check_url(url, ()) == url


@pytest.mark.parametrize(
    "url",
    [
        "-oProxyCommand=id",
        "--upload-pack=id",
        "--upload-pack=id@host:repo",
        "-oProxyCommand=id@host:repo",
        "ssh://-oProxyCommand=id/repo",
        "ssh://-oProxyCommand=id@host/repo",
        "ssh://user@-oProxyCommand=id/repo",
        "ssh://%2doProxyCommand=id/repo",
        "user@-oProxyCommand:repo",
        "host:-oProxyCommand=id",
        "git://-c/repo",
    ],
)
def test_what_a_program_could_take_for_an_option_is_refused(url: str):
    with pytest.raises(ValueError, match="'repo_name' must"):
        check_url(url, ("/",))


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "ext::id",
        "fd::17",
        "host::repo",
        "ext::ssh://host/repo",
        "transport::https://host/repo",
    ],
)
def test_a_helper_program_can_not_be_named(url: str):
    with pytest.raises(ValueError, match=r"'repo_name' must be a clone URL|can't be fetched by"):
        check_url(url, ("/",))


@pytest.mark.parametrize(
    "scheme", ["http", "ftp", "ftps", "rsync", "git+ssh", "ext", "HTTPS", "javascript", ""]
)
def test_other_schemes_are_refused(scheme: str):
    with pytest.raises(ValueError) as error:
        check_url(f"{scheme}://host/repo", ("/",))
    assert str(error.value) == f"repositories can't be fetched by '{scheme}'; use https, ssh, git or file"


@pytest.mark.parametrize(
    "url",
    [
        "https:/host/repo",
        "file:/srv/repo",
        "FILE:x",
        "./repo",
        "../repo",
        "repo",
        "~/repo",
        ".",
        "C:",
        "a/b:c",
        ":repo",
    ],
)
def test_a_plain_path_is_no_url(url: str):
    with pytest.raises(ValueError) as error:
        check_url(url, ("/",))
    assert str(error.value) == (
        "'repo_name' must be a clone URL that begins with https://, ssh://, git:// or file://, "
        f"or one like git@host:path, not '{url}'"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "https://host/a b",
        "https://host/a\nb",
        "https://host/\0",
        "https://host/\x7f",
        "\thttps://host/a",
    ],
)
def test_a_url_has_no_spaces_or_control_characters(url: str):
    with pytest.raises(ValueError, match=r"without spaces$"):
        check_url(url, ("/",))


@pytest.mark.parametrize(
    "url", ["git://host/repo%0ahost=other", "https://host/%0D%0Ax", "ssh://host/%00", "https://host/%7f"]
)
def test_a_url_has_no_control_characters_in_disguise(url: str):
    with pytest.raises(ValueError, match="without control characters"):
        check_url(url, ())


@pytest.mark.parametrize(
    "rest", ["", "/", "/repo", "host", "host/", "user@/repo", ":80/repo", "host:x/repo", "[::1/repo"]
)
def test_a_url_names_a_host_and_a_path(rest: str):
    with pytest.raises(ValueError) as error:
        check_url(f"ssh://{rest}", ())
    assert str(error.value) == "'repo_name' must name a host and a path, like ssh://example.com/user/repo"


@pytest.mark.parametrize(
    "url",
    ["file:///srv/git/repo", "file:///srv/git", "file:///srv/git/a/../repo", "file:///srv/git/%72epo",
     "file:///srv//git/./repo/", "file:///srv/git/%ff", "file:///srv/git/%252e%252e/x"],
)  # fmt: skip
def test_a_file_below_an_allowed_folder_is_taken(url: str):
    assert check_url(url, ("/opt", "/srv/git")) == url


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "file:///srv/gitother", "file:///srv", "file:///", "file:///srv/git/../other",
     "file:///srv/git/%2e%2e/other", "file:///srv/git%2f..%2fother", "file:////srv/git/repo", "file:///%ff"],
)  # fmt: skip
def test_a_file_elsewhere_is_refused_and_the_way_to_allow_it_told(url: str):
    with pytest.raises(ValueError) as error:
        check_url(url, ("/srv/git", "/opt"))
    assert "is not below an allowed folder (/srv/git, /opt)" in str(error.value)
    assert "RAPIDFLOW_FILE_ROOTS" in str(error.value)
    assert str(error.value).isprintable()


def test_without_allowed_folders_no_file_is_taken():
    with pytest.raises(ValueError, match=r"is not below an allowed folder \(none is set\)"):
        check_url("file:///srv/git/repo", ())


def test_the_root_folder_allows_all_files():
    assert check_url("file:///srv/git/repo", ("/",))


@pytest.mark.parametrize("url", ["file://host/repo", "file://repo", "file://", "file:///a%00b"])
def test_a_file_has_an_absolute_path(url: str):
    with pytest.raises(ValueError, match="a file repository needs an absolute path"):
        check_url(url, ("/",))


def test_the_path_of_a_file_is_decoded_once():
    assert file_path("file:///a%20b/%2541") == "/a b/%41"


BRANCHES = [
    "main", "a/b/c", "release-1.2", "ümlaut", "a@b", "@a", "a.lockx", "x" * 250, "#1", "a]", "{a}", "$(id)",
    "a'b", "refs/heads/a", "héad", "Head", "a/-b",
    "", "-a", "--all", "HEAD", "a b", "a\tb", "a\nb", "a\0b", "a\x7f", "a~1", "a^", "a:b", "a?", "a*", "a[b",
    "a\\b", "a..b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a@{1}",
]  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_branch_is_what_git_takes_for_one(branch: str):
    git = None
    if "\0" not in branch:
        git = subprocess.run(
            ["git", "check-ref-format", "--branch", branch], capture_output=True, check=False
        )
    if git is not None and git.returncode == 0:
        assert check_branch(branch) == branch
    else:
        with pytest.raises(ValueError, match="is not the name of a branch"):
            check_branch(branch)


@pytest.mark.parametrize("branch", ["@", "x" * 251, "ü" * 126, "\ud800", "a\udcff", "HEAD\n"])
def test_a_branch_that_only_makes_trouble_is_refused_in_printable_words(branch: str):
    with pytest.raises(ValueError, match="is not the name of a branch") as error:
        check_branch(branch)
    assert str(error.value).isprintable()


def test_a_pipeline_may_use_files_only_below_the_folders_it_is_parsed_with():
    text = "name: x\nsteps: [ls]\nrepo_name: file:///srv/git/repo"
    assert parse(text, ("/srv/git",)).repo_name == "file:///srv/git/repo"
    with pytest.raises(Invalid, match="is not below an allowed folder"):
        parse(text, ("/srv/other",))


def test_path_is_answered_with_its_url():
    for path, meant in (
        ("/srv/git/my app", None),
        ("/srv/git/app", "file:///srv/git/app"),
        ("/\ud800", "file:///%3F"),
    ):
        with pytest.raises(ValueError, match="clone URL" if meant is None else f"; use {meant}$"):
            check_url(path, ())


def test_refused_folder_is_answered_with_the_setting_to_restart_with():
    with pytest.raises(ValueError, match=r"by restarting the server with RAPIDFLOW_FILE_ROOTS=/folder$"):
        check_url("file:///srv/git/app", ())
