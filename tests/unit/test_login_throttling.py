"""Logins against a database: who is slowed down by whose failures."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import argon2
import pytest

from rapidflow_web.accounts import credentials, throttle
from rapidflow_web.accounts.authentication import Access
from rapidflow_web.db import audit, users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import Session, User
from rapidflow_web.errors import TooManyRequests, Unauthorized
from rapidflow_web.settings import from_environment

RIGHT, WRONG = "correct horse", "wrong horse"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
async def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Access]:
    # Time stands still, and hashes are made in less of it.
    monkeypatch.setattr(throttle, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    cheap = argon2.PasswordHasher(1, 8, 1)
    monkeypatch.setattr(credentials, "_hasher", lambda: cheap)
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    hashed = credentials.hashed(RIGHT)
    for name in ("root", "eve"):
        await users.create(name, "admin", hashed)
    yield Access(from_environment({}))
    await close_database()


async def log_in(access: Access, name: str, address: str, session: str | None = None) -> str:
    session = await access.log_in(name, RIGHT, address, session)
    await audit.note(name, address, audit.LOG_IN, "/login", 303)
    return session


async def fail(access: Access, name: str, address: str, times: int) -> int:
    """Tries wrong passwords; how many were looked at."""
    tried = 0
    for _ in range(times):
        try:
            await access.log_in(name, WRONG, address)
        except TooManyRequests:
            continue
        except Unauthorized:
            tried += 1
    return tried


async def test_a_login_of_ones_own_does_not_let_one_try_the_passwords_of_others(access: Access):
    tried = 0
    for _ in range(8):
        tried += await fail(access, "root", HERE, 2)
        with contextlib.suppress(TooManyRequests):
            await log_in(access, "eve", HERE)
    assert tried <= 5
    for number in range(10):
        tried += await fail(access, f"other{number}", HERE, 1)
    assert tried <= 5


async def test_nobody_locks_out_a_user_where_that_user_has_logged_in_before(access: Access):
    await log_in(access, "root", HERE)
    await fail(access, "root", ELSEWHERE, 8)
    with pytest.raises(TooManyRequests):
        await log_in(access, "root", "203.0.113.5")
    await log_in(access, "root", HERE)
    # Also after a restart, and where others fail from the same address.
    access = Access(from_environment({}))
    for number in range(8):
        await fail(access, f"other{number}", HERE, 1)
    with pytest.raises(TooManyRequests):
        await log_in(access, "eve", HERE)
    await log_in(access, "root", HERE)
    # Who tries the password of that user there is slowed down nevertheless.
    assert await fail(access, "root", HERE, 20) == 5


async def test_nobody_locks_out_a_user_who_is_logged_in(access: Access):
    session = await log_in(access, "root", HERE)
    await fail(access, "root", ELSEWHERE, 8)
    root = await users.named("root")
    assert root is not None
    assert await access.is_password(root, RIGHT)
    again = await log_in(access, "root", "203.0.113.5", session)
    assert await access.of_session(session) is None
    assert await access.of_session(again) is not None
    # A session that somebody stole is not good for guessing the password.
    looked_at = 0
    for _ in range(20):
        try:
            await access.is_password(root, WRONG)
            looked_at += 1
        except TooManyRequests:
            pass
    assert looked_at == 5


async def test_the_session_of_another_user_exempts_nobody(access: Access):
    session = await log_in(access, "eve", ELSEWHERE)
    await fail(access, "root", ELSEWHERE, 8)
    with pytest.raises(TooManyRequests):
        await access.log_in("root", RIGHT, ELSEWHERE, session)


async def test_a_network_of_ipv6_is_one_client(access: Access):
    tried = 0
    for number in range(20):
        tried += await fail(access, f"name{number}", f"2001:db8::{number:x}", 1)
    assert tried == 5


async def test_no_name_fills_the_memory(access: Access):
    for number in range(3):
        await fail(access, str(number) + "x" * 10_000, f"192.0.2.{number}", 1)
    keys = [key for failures in access._throttle._failures.values() for key in failures]
    assert max(len(key) for key in keys) < 200


async def test_no_flood_has_the_failures_of_a_user_forgotten(access: Access, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throttle, "_MOST", 30)
    assert await fail(access, "root", HERE, 8) == 5
    for number in range(40):
        await fail(access, f"other{number}", f"198.51.100.{number}", 1)
    assert await fail(access, "root", "203.0.113.5", 8) == 0


async def test_a_site_of_ipv6_is_bounded_whatever_addresses_it_uses(access: Access):
    tried = 0
    for number in range(30):
        tried += await fail(access, f"name{number}", f"2001:db8:1:{number:x}::1", 1)
    assert tried == 20
    assert await fail(access, "eve", "2001:db8:2::1", 1) == 1, "another site is not concerned"
    # Nor is who has logged in from there before.
    await audit.note("root", "2001:db8:1:7::1", audit.LOG_IN, "/login", 303)
    await log_in(access, "root", "2001:db8:1:7::2")


async def test_a_word_that_is_no_session_logs_out_nobody(access: Access):
    session = await log_in(access, "root", HERE)
    assert await access.of_session(session) is not None
    assert not await access.log_out("no session")
    assert await access.of_session(session) is not None
    assert await access.log_out(session)
    assert await access.of_session(session) is None


async def test_what_is_shown_as_a_session_is_no_token(access: Access):
    session = await log_in(access, "root", HERE)
    assert await access.of_session(session) is not None
    with pytest.raises(Unauthorized):
        await access.of_token(session)


async def test_a_user_has_a_hundred_sessions_at_most(access: Access):
    root = await User.get(name="root")
    for number in range(105):
        await users.begin_session(root, f"digest {number}", 2**60)
    kept = {session.digest for session in await Session.filter(user_id=root.id)}
    assert kept == {f"digest {number}" for number in range(5, 105)}
