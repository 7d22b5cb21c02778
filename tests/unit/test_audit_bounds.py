"""The audit log takes a bounded number of lines, whatever is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.db import audit, users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import Deed


@pytest.fixture(autouse=True)
async def database(tmp_path: Path) -> AsyncIterator[None]:
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    yield
    await close_database()


async def lines() -> list[tuple[str, str, int, int]]:
    return [(one.actor, one.address, one.status, one.count) for one in await Deed.all().order_by("id")]


async def test_failed_logins_are_counted_by_name_and_address():
    await users.create("anna", "viewer", None)
    for _ in range(5):
        for name in ("anna", "nobody", "my password", "x" * 10_000, "an\0na"):
            await audit.note_failed_login(name, "192.0.2.1", 401)
    await audit.note_failed_login("anna", "192.0.2.2", 401)
    assert await lines() == [
        ("anna", "192.0.2.1", 401, 5),
        (audit.UNKNOWN, "192.0.2.1", 401, 20),
        ("anna", "192.0.2.2", 401, 1),
    ]


async def test_what_is_refused_again_is_counted_and_what_is_done_again_is_not():
    for status in (403, 201) * 3:
        await audit.note("anna", "192.0.2.1", "jobs.retry_job", "/jobs/1/retry", status)
    await audit.note("anna", "192.0.2.1", "jobs.retry_job", "/jobs/2/retry", 403)
    assert sorted(count for _, _, _, count in await lines()) == [1, 1, 1, 1, 3]


async def test_a_line_is_counted_on_for_an_hour(monkeypatch: pytest.MonkeyPatch):
    now = 1_000_000_000_000
    for minutes in (0, 59, 61, 62):
        monkeypatch.setattr(audit, "now_ms", lambda at=minutes: now + at * 60_000)
        await audit.note_failed_login("bob", "192.0.2.9", 401)
    assert [count for _, _, _, count in await lines()] == [2, 2]


async def test_strangers_push_out_no_lines_but_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "_MOST_FAILED_LOGINS", 20)
    monkeypatch.setattr(audit, "_MOST_REFUSED", 30)
    monkeypatch.setattr(audit, "_MOST", 100)
    monkeypatch.setattr(audit, "_TRIMMED_EVERY", 10)
    await audit.note("root", "192.0.2.1", "users.create_user", "/users", 201)
    for number in range(200):
        await audit.note_failed_login("x", f"2001:db8::{number:x}", 401)
    for number in range(200):
        await audit.note("anna", "192.0.2.1", "jobs.cancel_job", f"/jobs/{number}/cancel", 404)
    assert await Deed.filter(status__lt=400).count() == 1
    assert 20 <= await Deed.filter(status=401).count() <= 30
    assert 30 <= await Deed.filter(status=404).count() <= 40
    assert await Deed.filter(target="/jobs/199/cancel").exists()
    for _ in range(300):
        await audit.note("root", "192.0.2.1", "pipelines.create_pipeline", "/pipelines", 201)
    await audit.forget(0)
    assert await Deed.all().count() == 100


async def test_nothing_in_it_changes_how_the_rest_is_read():
    await audit.note("a\x9b31mb", "", "secrets.put_secret", "/secrets/\u202eevil\n\0\ud800", 422)
    (line,) = await Deed.all()
    assert (line.actor, line.target) == ("a\\x9b31mb", "/secrets/\\u202eevil\\n\\x00\\ud800")
