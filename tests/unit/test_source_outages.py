"""When a fetch is tried again, and how often."""

from __future__ import annotations

import pytest

from rapidflow_web.source import outages
from rapidflow_web.source.git import GitError

HTTPS = "fatal: unable to access 'https://forge.example/a.git/': "


class Clock:
    """Time that passes by sleeping alone."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages.asyncio, "get_running_loop", lambda: clock)
    monkeypatch.setattr(outages.asyncio, "sleep", clock.sleep)
    return clock


async def tries(*said: str) -> tuple[int, list[str], str | None]:
    """How often a fetch is made whose tries fail with `said`, what is told, and its error."""
    count, told, left = 0, list[str](), list(said)

    async def fetch() -> None:
        nonlocal count
        count += 1
        if left:
            raise GitError(left.pop(0))

    try:
        await outages.patiently(fetch, lambda detail, _done=None: told.append(detail))
    except GitError as error:
        return count, told, str(error)
    return count, told, None


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to connect to 10.0.0.1: 10.0.0.1[0: 10.0.0.1]: errno=Connection refused",
        "fatal: read error: Connection reset by peer",
        f"{HTTPS}Could not resolve host: forge.example",
        f"{HTTPS}Failed to connect to forge.example port 443 after 1 ms: Couldn't connect to server",
        f"{HTTPS}The requested URL returned error: 503",
        f"{HTTPS}The requested URL returned error: 429",
        f"{HTTPS}Empty reply from server",
        "unable to access 'https://forge.example/a.git': could not connect to forge.example: refused",
        "unable to access 'https://forge.example/a.git': forge.example does not answer",
        "unable to access 'https://forge.example/a.git': the host forge.example could not be resolved",
        "ssh: connect to host forge.example port 22: No route to host fatal: Could not read from remote",
        "kex_exchange_identification: Connection closed by remote host",
        "error: RPC failed; curl 56 Recv failure: Connection timed out fatal: early EOF",
        "fetch-pack: unexpected disconnect while reading sideband packet",
        "fatal: the remote end hung up unexpectedly",
    ],
)
async def test_an_absent_server_is_asked_again(said: str) -> None:
    assert await tries(said, said) == (3, [f"{said}; trying again"] * 2, None)


@pytest.mark.parametrize(
    "said",
    [
        "fatal: couldn't find remote ref refs/heads/nowhere",
        f"{HTTPS}The requested URL returned error: 403",
        "remote: Repository not found. fatal: repository 'https://forge.example/a.git/' not found",
        "git@forge.example: Permission denied (publickey). fatal: Could not read from remote repository.",
        "fatal: '/srv/a' does not appear to be a git repository",
        f"{HTTPS}SSL certificate problem: self-signed certificate",
        "unable to access 'https://10.0.0.1/a.git': 10.0.0.1 is in a private network or on this machine",
    ],
)
async def test_a_server_that_refuses_is_not_asked_again(said: str) -> None:
    assert await tries(said) == (1, [], said)


async def test_a_server_that_stays_away_is_given_up_after_a_minute(clock: Clock) -> None:
    said = "fatal: the remote end hung up unexpectedly"
    count, told, error = await tries(*[said] * 20)
    assert (count, told, error) == (8, [f"{said}; trying again"] * 7, said)
    assert clock.now - 1000 == 1 + 2 + 4 + 8 + 15 + 15 + 15


async def test_there_is_no_new_try_after_one_that_took_a_minute(clock: Clock) -> None:
    times = 0

    async def fetch() -> None:
        nonlocal times
        times += 1
        clock.now += 61
        raise GitError("ssh: connect to host forge.example port 22: Connection timed out")

    with pytest.raises(GitError):
        await outages.patiently(fetch, None)
    assert times == 2
