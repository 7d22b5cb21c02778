from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import aiohttp
import pytest

from rapidflow_web import outgoing
from rapidflow_web.forges import base, client
from rapidflow_web.forges.base import ForgeError
from tests.support import forges
from tests.support.forges import COMMIT, TOKEN, Canned, GitHub
from tests.support.forges.calls import HOOK, PAGE, api_of, failure
from tests.support.payloads import SECRET


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    """GitHub."""
    async with forges.running(GitHub()) as stand_in:
        yield stand_in


async def test_a_short_context_stays_as_it_is() -> None:
    assert client.shortened("x" * 40, 40) == "x" * 40
    assert client.cut(" a  b\nc ", 5) == "a b c"
    assert client.cut("abcdef", 5) == "abcd…"


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
    assert "limits API calls; the next is allowed at" in str(error)


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


@pytest.mark.parametrize("value", ["soon", "-5", "", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9"])
async def test_a_retry_after_that_is_none_does_no_harm(github: GitHub, value: str) -> None:
    github.first = [Canned(429, {"Retry-After": value})]

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

        with pytest.raises(ForgeError, match="to another server; if the repository has moved") as caught:
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
    monkeypatch.setattr(outgoing, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    hold = asyncio.Event()
    github.first = [Canned(200, hold=hold.wait())]

    error = await failure(github)
    hold.set()

    assert "did not answer within" in str(error) and not error.permanent


async def test_a_proxy_of_the_environment_is_used_but_no_login_of_netrc(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine forge login someone password else")
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
