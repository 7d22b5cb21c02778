"""Passwords in clone URLs: taken out of the URL and of the text around it."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.clone_credentials import Login, login_for, login_in, taken_out, without_password
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.pipeline.repositories import check_url

TOKEN = "glpat-0123456789abcdefghij"
REST = "name: ä 😀 # https://\nsteps: ['true'] \n"


@pytest.mark.parametrize(
    ("url", "public", "login"),
    [
        ("https://anna:s3cret@host/x", "https://anna@host/x", ("https://host", "anna", "s3cret")),
        ("https://anna:p%40ss%3A@HOST:443/x", "https://anna@HOST:443/x", ("https://host", "anna", "p@ss:")),
        ("https://:token@host:8443/x", "https://host:8443/x", ("https://host:8443", "git", "token")),
        ("https://a%40b:p@[::1]/x", "https://a%40b@[::1]/x", ("https://[::1]", "a@b", "p")),
        ("https://a:b@c@host/x@y:z", "https://a@host/x@y:z", ("https://host", "a", "b@c")),
        (f"https://{TOKEN}@host/x", "https://host/x", ("https://host", "git", TOKEN)),
        (f"https://{TOKEN}:@host/x", "https://host/x", ("https://host", "git", TOKEN)),
        (f"https://{TOKEN}:x-oauth-basic@host/x", "https://host/x", ("https://host", "git", TOKEN)),
        ("https://gitlab+deploy-token-12345@host/x", "https://gitlab+deploy-token-12345@host/x", None),
        ("https://anna@host/x", "https://anna@host/x", None),
        ("https://anna:@host/x", "https://anna:@host/x", None),
        ("https://host/x:y@z", "https://host/x:y@z", None),
        ("git@host:x", "git@host:x", None),
        ("file:///x:y@z", "file:///x:y@z", None),
    ],
)
def test_a_password_is_taken_out_of_a_url(url: str, public: str, login: tuple[str, str, str] | None):
    assert without_password(url) == public
    assert login_in(url) == (Login(*login) if login is not None else None)


def test_a_login_is_for_one_server_and_one_user():
    login = login_for("https://anna@host:8443/x", "s3cret")
    for url in ("https://anna@host:8443/other", "https://HOST:8443/x"):
        assert login.fits(url)
    for url in (
        "https://anna@host/x", "https://berta@host:8443/x", "https://host.example:8443/x",
        "https://host:8443.example/x", "ssh://anna@host:8443/x", "http://host:8443/x", "git@host:x",
    ):  # fmt: skip
        assert not login.fits(url), url
    assert "s3cret" not in repr(login)


@pytest.mark.parametrize("url", ["ssh://host/x", "git@host:x", ""])
def test_only_https_takes_a_password(url: str):
    with pytest.raises(ValueError, match="only a repository whose URL begins with https://"):
        login_for(url, "s3cret")
    for scheme in ("ssh", "git"):
        with pytest.raises(
            ValueError, match=f"git takes no password from a URL that begins with {scheme}://"
        ):
            check_url(f"{scheme}://anna:s3cret@host/x", ())


def test_a_password_of_several_lines_is_refused():
    with pytest.raises(ValueError, match="a password for git is one line"):
        login_for("https://anna@host/x", "a\nhost=evil")
    with pytest.raises(ValueError, match="without control characters"):
        check_url("https://anna:a%0ahost=evil@host/x", ())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("repo_name:   https://u:p%40w@h/x  # c", "repo_name:   https://u@h/x  # c"),
        ('repo_name: "https://u:pw@h/x" # pw', 'repo_name: "https://u@h/x" # pw'),
        ("repo_name: &x 'https://u:pw@h/x'", "repo_name: &x 'https://u@h/x'"),
        ("repo_name: &x 'https://u:it''s@h/x'", "repo_name: &x 'https://u@h/x'"),
        ('repo_name: !!str "https://u:p\\x61ss@h/x"', 'repo_name: !!str "https://u@h/x"'),
        ('repo_name: "https://u:\\\n  pw@h/x"', 'repo_name: "https://u@h/x"'),
        ("repo_name: >-\n  https://u:pw@h/x", "repo_name: >-\n  https://u@h/x"),
        ("repo_name: https://:pw@h/x", "repo_name: https://h/x"),
        ("env: {A: &x https://u:pw@h/x}\nrepo_name: *x", "env: {A: &x https://u@h/x}\nrepo_name: *x"),
        ("repo_name: https://u:u@h/u:u@x", "repo_name: https://u@h/u:u@x"),
    ],
)
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_all_but_the_password_stays_as_it_was_written(line: str, expected: str, begin: str, end: str):
    text = f"{begin}{REST}{line}\n".replace("\n", end)
    public, url = taken_out(text)
    assert public == f"{begin}{REST}{expected}\n".replace("\n", end)
    assert url == parse(text).repo_name
    assert url is not None and parse(public).repo_name == without_password(url)
    assert taken_out(public) == (public, None)


def test_json_with_escaped_slashes_is_taken_for_what_it_is():
    text = '{"name":"a","repo_name":"https:\\/\\/u:pw@h\\/x","steps":["a"]}'
    assert taken_out(text) == ('{"name":"a","repo_name":"https://u@h/x","steps":["a"]}', "https://u:pw@h/x")


def test_what_is_no_url_with_a_password_stays():
    for text in ("", "name: a", "- a", "repo_name: [https://u:pw@h/x]", "env: {A: 'https://u:pw@h/x'}"):
        assert taken_out(text) == (text, None)


def test_no_message_about_a_url_has_its_password():
    for url in ("http://u:s3cret@h/x", "https:/u:s3cret@h/x", "https://u:s3cret@/x",
                "https://u:s3cret@h", "ssh://u:s3cret@h/x", "https://u:s3cret@h:port/x"):  # fmt: skip
        with pytest.raises(Invalid) as error:
            parse(f"name: a\nsteps: [a]\nrepo_name: {url}\n")
        assert "s3cret" not in str(error.value), url
