from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from rapidflow_web.forges import base, client
from rapidflow_web.forges.base import Api, ForgeError, State
from tests.support import forges
from tests.support.forges import COMMIT, TOKEN, Canned, GitHub, GitLab, StandIn
from tests.support.payloads import SECRET

HOOK = "https://builds.example.com/hooks/abc"
PAGE = "https://builds.example.com/jobs/1"
STATES: list[State] = ["pending", "running", "success", "failure", "cancelled"]


@pytest.fixture(params=forges.ALL, ids=lambda kind: kind.name)
async def forge(request: pytest.FixtureRequest) -> AsyncIterator[StandIn]:
    """Each of the forges in turn."""
    async with forges.running(request.param()) as stand_in:
        yield stand_in
        assert getattr(stand_in, "violations", []) == []


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    """GitHub."""
    async with forges.running(GitHub()) as stand_in:
        yield stand_in


def api_of(forge: StandIn, token: str = TOKEN) -> Api:
    """The API of the stand-in's repository."""
    api = base.api_for(forge.name, forge.clone_url, token)
    assert api is not None
    return api


def url_of(hook: dict) -> str:
    """Where the webhook sends to."""
    return hook["config"]["url"] if "config" in hook else hook["url"]


def secret_of(hook: dict) -> str:
    """The secret that it has."""
    return hook["config"]["secret"] if "config" in hook else hook.get("token") or hook["secret"]


async def failure(forge: StandIn, *, token: str = TOKEN, commit: str = COMMIT) -> ForgeError:
    """What setting a status fails with."""
    with pytest.raises(ForgeError) as caught:
        await api_of(forge, token).set_status(commit, "rapidflow/app", "success", "ok", PAGE)
    assert TOKEN not in str(caught.value)
    return caught.value


async def test_a_webhook_is_made_with_its_secret_and_the_events_that_count(forge: StandIn) -> None:
    hook_id = await api_of(forge).connect(HOOK, SECRET)

    ((stored_id, hook),) = forge.hooks.items()
    assert hook_id == stored_id
    assert url_of(hook) == HOOK and secret_of(hook) == SECRET
    assert hook.get("active", True) and hook.get("config", {}).get("content_type", "json") == "json"
    if forge.name == "gitlab":
        assert hook["push_events"] and hook["tag_push_events"] and hook["merge_requests_events"]
        assert base64.b64decode(hook["signing_token"].removeprefix("whsec_")).decode() == SECRET
    elif forge.name == "bitbucket":
        assert {"repo:push", "pullrequest:created", "pullrequest:updated"} <= set(hook["events"])
    else:
        assert hook["events"] == ["push", "pull_request"]


async def test_a_webhook_with_the_same_url_is_brought_up_to_date_and_no_second_one_made(
    forge: StandIn,
) -> None:
    await api_of(forge).connect("https://elsewhere.example.com/hook", "1" * 32)
    first = await api_of(forge).connect(HOOK, "2" * 32)

    second = await api_of(forge).connect(HOOK, SECRET)

    assert sorted(map(url_of, forge.hooks.values())) == [HOOK, "https://elsewhere.example.com/hook"]
    assert secret_of(forge.hooks[second]) == SECRET
    # A change would leave the secret of Gitea's webhook as it was.
    assert (first == second) is (forge.name not in ("gitea", "forgejo"))


async def test_a_webhook_is_found_on_a_later_page(forge: StandIn) -> None:
    await api_of(forge).connect(f"{HOOK}/0", SECRET)
    (template,) = forge.hooks.values()
    for number in range(1, 120):
        url = f"{HOOK}/{number}"
        copy = {**template, "id": number + 1000, "uuid": f"{{{number}}}"}
        copy |= {"config": {**template["config"], "url": url}} if "config" in template else {"url": url}
        forge.hooks[copy["uuid"] if forge.name == "bitbucket" else str(copy["id"])] = copy

    await api_of(forge).connect(f"{HOOK}/119", SECRET)

    assert len(forge.hooks) == 120


async def test_a_webhook_is_removed_and_one_that_is_gone_is_no_error(forge: StandIn) -> None:
    hook_id = await api_of(forge).connect(HOOK, SECRET)

    await api_of(forge).disconnect(hook_id)
    await api_of(forge).disconnect(hook_id)

    assert forge.hooks == {}


WORDS = {
    "github": ["pending", "pending", "success", "failure", "error"],
    "gitlab": ["pending", "running", "success", "failed", "canceled"],
    "gitea": ["pending", "pending", "success", "failure", "error"],
    "forgejo": ["pending", "pending", "success", "failure", "error"],
    "bitbucket": ["INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"],
}


@pytest.mark.parametrize("state", STATES)
async def test_each_state_is_said_in_the_words_of_the_forge(forge: StandIn, state: State) -> None:
    await api_of(forge).set_status(COMMIT, "rapidflow/app", state, "Step 2 failed", PAGE)

    (status,) = forge.statuses
    assert (status.get("status") or status["state"]) == WORDS[forge.name][STATES.index(state)]
    assert status["description"] == "Step 2 failed"
    assert (status.get("target_url") or status["url"]) == PAGE
    assert (status.get("context") or status["name"]) == "rapidflow/app"


async def test_the_same_state_twice_is_no_error(forge: StandIn) -> None:
    for state in (
        "pending",
        "pending",
        "running",
        "running",
        "pending",
        "success",
        "success",
        "pending",
        "failure",
    ):
        await api_of(forge).set_status(COMMIT, "rapidflow/app", state, state, PAGE)

    newest = forge.statuses[-1]
    assert (newest.get("status") or newest["state"]) == WORDS[forge.name][STATES.index("failure")]


async def test_other_refusals_of_gitlab_are_errors() -> None:
    async with forges.running(GitLab()) as gitlab:
        gitlab.first = [Canned(400, body='{"message": "Cannot transition status via :drop from :canceled"}')]
        error = await failure(gitlab)

        assert error.permanent and "Cannot transition status via :drop" in str(error)


async def test_long_texts_are_cut_to_what_the_forge_takes(forge: StandIn) -> None:
    for end in ("a", "b"):
        await api_of(forge).set_status(COMMIT, "rapidflow/" + "x" * 300 + end, "success", "é\n" * 300, PAGE)

    contexts = [status.get("key") or status.get("context") or status["name"] for status in forge.statuses]
    assert len(set(contexts)) == 2
    assert all(len(context) == (40 if forge.name == "bitbucket" else 255) for context in contexts)
    description = forge.statuses[0]["description"]
    assert description.startswith("é é é") and description.endswith("…")
    assert len(description) == (140 if forge.name == "github" else 255)


async def test_a_short_context_stays_as_it_is() -> None:
    assert client.shortened("x" * 40, 40) == "x" * 40
    assert client.cut(" a  b\nc ", 5) == "a b c"
    assert client.cut("abcdef", 5) == "abcd…"


async def test_a_token_that_was_revoked_is_said_to_be(forge: StandIn) -> None:
    error = await failure(forge, token="revoked-token")

    assert error.status == 401 and error.permanent
    assert "does not accept the token: it may be expired or revoked" in str(error)
    assert "revoked-token" not in str(error)


NEEDS = {
    "github": "the scope admin:repo_hook",
    "gitlab": "the scope api, and the role Maintainer",
    "gitea": "the scope write:repository",
    "forgejo": "the scope write:repository",
    "bitbucket": "the scope webhook",
}


async def test_a_token_that_may_not_make_webhooks_is_told_what_it_needs(forge: StandIn) -> None:
    forge.may_hook = False

    with pytest.raises(ForgeError) as caught:
        await api_of(forge).connect(HOOK, SECRET)

    assert caught.value.status == 403 and caught.value.permanent
    assert str(caught.value).startswith(f"the token may not make webhooks: it needs {NEEDS[forge.name]}")


async def test_a_repository_that_is_not_there_is_said_to_be_hidden_or_gone(forge: StandIn) -> None:
    url = forge.clone_url.replace("/app.git", "/other.git")
    api = base.api_for(forge.name, url, TOKEN)
    assert api is not None

    with pytest.raises(ForgeError, match=r"shows no '.*team/other' to this token") as caught:
        await api.connect(HOOK, SECRET)

    assert caught.value.permanent


async def test_an_unknown_commit_is_an_error_for_good(forge: StandIn) -> None:
    error = await failure(forge, commit="d" * 40)

    assert error.permanent and error.status in (404, 422)


async def test_gitlab_says_that_it_takes_no_addresses_of_its_own_network() -> None:
    async with forges.running(GitLab()) as gitlab:
        with pytest.raises(
            ForgeError, match="addresses of its own network only where its administrator allows"
        ):
            await api_of(gitlab).connect("http://10.0.0.1/hooks/x", SECRET)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409])
async def test_what_may_pass_is_no_error_for_good(github: GitHub, status: int) -> None:
    github.first = [Canned(status, body="<html>Bad gateway</html>")]

    error = await failure(github)

    assert error.status == status and not error.permanent and error.retry_at is None
    await api_of(github).set_status(COMMIT, "rapidflow/app", "success", "ok", PAGE)


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_the_seconds_of_retry_after_are_kept_to(github: GitHub, status: int) -> None:
    github.first = [Canned(status, {"Retry-After": "120"}, '{"message": "Slow down"}')]

    before = time.time()
    error = await failure(github)

    assert error.retry_at is not None and before + 120 <= error.retry_at <= time.time() + 120
    assert not error.permanent and error.status == status and "(Slow down)" in str(error)


async def test_retry_after_may_be_a_date(github: GitHub) -> None:
    moment = int(time.time()) + 300
    github.first = [Canned(429, {"Retry-After": formatdate(moment, usegmt=True)})]

    assert (await failure(github)).retry_at == moment


@pytest.mark.parametrize(
    "names", [("X-RateLimit-Remaining", "X-RateLimit-Reset"), ("RateLimit-Remaining", "RateLimit-Reset")]
)
async def test_calls_that_are_used_up_wait_for_their_reset(github: GitHub, names: tuple[str, str]) -> None:
    reset = int(time.time()) + 1800
    github.first = [
        Canned(
            403, dict(zip(names, ("0", str(reset)), strict=True)), '{"message": "API rate limit exceeded"}'
        )
    ]

    error = await failure(github)

    assert error.retry_at == reset and not error.permanent
    assert "allows no more calls before" in str(error)


async def test_a_secondary_limit_without_a_time_means_a_minute(github: GitHub) -> None:
    github.first = [Canned(403, body='{"message": "You have exceeded a secondary rate limit."}')]

    before = time.time()
    error = await failure(github)

    assert error.retry_at is not None and before + 60 <= error.retry_at <= time.time() + 60


@pytest.mark.parametrize("value", ["9" * 400, "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_nobody_is_made_to_wait_for_ever(github: GitHub, value: str) -> None:
    github.first = [Canned(429, {"Retry-After": value})]

    error = await failure(github)

    assert error.retry_at is not None and error.retry_at <= time.time() + 24 * 60 * 60


@pytest.mark.parametrize("value", ["soon", "-5", "", "١٢", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9"])
async def test_a_retry_after_that_is_none_does_no_harm(github: GitHub, value: str) -> None:
    github.first = [Canned(429, {"Retry-After": value} if value.isascii() else {})]

    error = await failure(github)

    assert error.status == 429 and error.retry_at is not None and error.retry_at <= time.time() + 60


async def test_a_redirect_within_the_host_is_followed(github: GitHub) -> None:
    at = f"{github.url}/api/v3/repos/team/app/statuses/{COMMIT}"
    github.first = [Canned(307, {"Location": at})]

    await api_of(github).set_status(COMMIT, "rapidflow/app", "success", "ok", PAGE)

    assert [call.method for call in github.calls] == ["POST", "POST"] and len(github.statuses) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_takes_the_token_to_another_host(github: GitHub, status: int) -> None:
    async with forges.running(GitHub()) as other:
        github.first = [Canned(status, {"Location": f"{other.url}/api/v3/repos/team/app/hooks"})]

        with pytest.raises(ForgeError, match="elsewhere: has the repository moved") as caught:
            await api_of(github).connect(HOOK, SECRET)

        assert caught.value.permanent and other.calls == []


@pytest.mark.parametrize("location", ["", "::", "http://[", "/x" * 5000])
async def test_redirects_have_an_end(github: GitHub, location: str) -> None:
    github.first = [Canned(307, {"Location": location})] * 10

    error = await failure(github)

    assert str(error) and len(github.calls) <= 4


async def test_an_answer_is_read_up_to_a_mebibyte(github: GitHub) -> None:
    github.first = [Canned(200, body="x" * (1024 * 1024 + 1))]

    assert "more than 1 MiB" in str(await failure(github))


@pytest.mark.parametrize(
    "body", ["", "[]", "<html>", '{"id": "x"}', '{"id": null}', "[" * 100_000, "[7]", "null"]
)
async def test_an_answer_that_is_no_api_is_an_error(forge: StandIn, body: str) -> None:
    forge.first = [Canned(200, body=body)] * 30

    with pytest.raises(ForgeError, match="does not answer like the API of a forge"):
        await api_of(forge).connect(HOOK, SECRET)


async def test_what_the_forge_says_is_cut_and_safe_to_show(github: GitHub) -> None:
    github.first = [Canned(422, body='{"message": "a\\u001b[31m\\n' + "x" * 5000 + '"}')]

    said = str(await failure(github))

    assert said.isprintable() and len(said) < 400


async def test_a_server_that_is_not_there_is_said_to_be() -> None:
    async with forges.running(GitHub()) as github:
        pass

    error = await failure(github)

    assert error.status == 0 and not error.permanent and "does not answer" in str(error)


async def test_a_server_that_hangs_is_given_up(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_TIMEOUT", client.aiohttp.ClientTimeout(total=0.2))
    hold = asyncio.Event()
    github.first = [Canned(200, hold=hold.wait())]

    error = await failure(github)
    hold.set()

    assert "did not answer within" in str(error) and not error.permanent


async def test_a_proxy_of_the_environment_is_used_but_no_login_of_netrc(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = tmp_path / "netrc"  # type: ignore[operator]
    netrc.write_text("machine forge.example login someone password else")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", github.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    github.first = [Canned(201, body="{}")]
    api = base.api_for("github", "http://forge/team/app.git", TOKEN)
    assert api is not None

    await api.set_status(COMMIT, "rapidflow/app", "success", "ok", PAGE)

    (call,) = github.calls
    assert call.headers["Host"] == "forge" and call.headers["Authorization"] == f"Bearer {TOKEN}"


BASES = [
    ("github", "https://github.com/team/app.git", "https://api.github.com/repos/team/app"),
    ("github", "git@github.com:team/app.git", "https://api.github.com/repos/team/app"),
    ("github", "ssh://git@ssh.github.com:443/team/app", "https://api.github.com/repos/team/app"),
    (
        "github",
        "https://github.example.com:8443/team/app",
        "https://github.example.com:8443/api/v3/repos/team/app",
    ),
    ("github", "https://acme.ghe.com/team/app.git", "https://api.acme.ghe.com/repos/team/app"),
    ("gitlab", "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4/projects/a%2Fb%2Fc"),
    ("gitlab", "ssh://git@altssh.gitlab.com:443/a/b.git", "https://gitlab.com/api/v4/projects/a%2Fb"),
    ("gitlab", "ssh://git@git.example.com:2222/a/b.git", "https://git.example.com/api/v4/projects/a%2Fb"),
    ("gitea", "https://git.example.com/team/app.git", "https://git.example.com/api/v1/repos/team/app"),
    ("gitea", "https://example.com/git/team/app.git", "https://example.com/git/api/v1/repos/team/app"),
    ("forgejo", "git@codeberg.org:team/app.git", "https://codeberg.org/api/v1/repos/team/app"),
    ("forgejo", "git://codeberg.org:9418/team/app", "https://codeberg.org/api/v1/repos/team/app"),
    (
        "bitbucket",
        "https://me@bitbucket.org/team/app.git",
        "https://api.bitbucket.org/2.0/repositories/team/app",
    ),
    ("bitbucket", "git@altssh.bitbucket.org:team/app", "https://api.bitbucket.org/2.0/repositories/team/app"),
    ("gitea", "http://localhost:3000/team/app", "http://localhost:3000/api/v1/repos/team/app"),
    ("gitea", "http://gitea:3000/team/app", "http://gitea:3000/api/v1/repos/team/app"),
    ("gitea", "http://10.1.2.3:3000/team/app", "http://10.1.2.3:3000/api/v1/repos/team/app"),
    ("gitea", "http://[::1]:3000/team/app", "http://[::1]:3000/api/v1/repos/team/app"),
    ("gitea", "ssh://git@[fd00::1]:22/team/app", "https://[fd00::1]/api/v1/repos/team/app"),
    # Nobody sends a token through the internet in clear.
    ("gitea", "http://git.example.com:3000/team/app", "https://git.example.com/api/v1/repos/team/app"),
    (
        "gitea",
        "https://git.example.com/te%20am/a%26p.git",
        "https://git.example.com/api/v1/repos/te%20am/a%26p",
    ),
    (
        "gitea",
        "https://user:pass@git.example.com/team/app.git/",
        "https://git.example.com/api/v1/repos/team/app",
    ),
]


@pytest.mark.parametrize(("forge", "clone_url", "expected"), BASES)
def test_the_api_is_at_the_host_of_the_clone_url(forge: str, clone_url: str, expected: str) -> None:
    api = base.api_for(forge, clone_url, TOKEN)

    assert api is not None
    below = getattr(api, "_repository", "") or getattr(api, "_project", "")
    assert f"{api._client._base}{below}" == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("forge", "clone_url"),
    [
        ("git", "https://github.com/team/app.git"),
        ("github", "file:///srv/team/app.git"),
        ("github", "/srv/team/app.git"),
        ("github", "https://github.com/app.git"),
        ("github", "https://github.com/team/../app"),
        ("github", "https://github.com/team/a%2Fb"),
        ("github", "https://github.com//app"),
        ("github", "https://[/team/app"),
        ("github", "https://github.com:x/team/app"),
        ("github", ""),
    ],
)
def test_there_is_not_always_an_api(forge: str, clone_url: str) -> None:
    assert base.api_for(forge, clone_url, TOKEN) is None


@pytest.mark.parametrize(
    ("url", "forge"),
    [
        ("https://github.com/team/app", "github"),
        ("git@github.com:team/app.git", "github"),
        ("https://GITHUB.com/team/app", "github"),
        ("https://github.example.com/team/app", "github"),
        ("https://acme.ghe.com/team/app", "github"),
        ("ssh://git@gitlab.example.com:2222/team/app", "gitlab"),
        ("https://gitlab.com/team/app", "gitlab"),
        ("https://gitea.com/team/app", "gitea"),
        ("https://codeberg.org/team/app", "forgejo"),
        ("https://forgejo.example.com/team/app", "forgejo"),
        ("https://bitbucket.org/team/app", "bitbucket"),
        # That is another product than Bitbucket Cloud.
        ("https://bitbucket.example.com/scm/team/app.git", "git"),
        ("https://git.example.com/github.com/app", "git"),
        ("https://github.com.example.com/team/app", "github"),
        ("https://notgithub.com/team/app", "git"),
        ("file:///srv/github.com/app", "git"),
        ("https://[", "git"),
        ("", "git"),
    ],
)
def test_the_forge_is_guessed_from_the_host(url: str, forge: str) -> None:
    assert base.guess(url) == forge and forge in base.NAMES
