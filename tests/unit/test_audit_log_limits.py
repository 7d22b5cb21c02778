"""The audit log takes a bounded number of lines, whatever is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.db import audit, sql, users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import AuditEntry, Token


@pytest.fixture(autouse=True)
async def database(tmp_path: Path) -> AsyncIterator[None]:
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    yield
    await close_database()


async def lines() -> list[tuple[str, str, int, int]]:
    return [(one.actor, one.address, one.status, one.count) for one in await AuditEntry.all().order_by("id")]


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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the log a small one."""
    monkeypatch.setattr(audit, "_MOST_FAILED_LOGINS", 20)
    monkeypatch.setattr(audit, "_MOST_REFUSED", 30)
    monkeypatch.setattr(audit, "_MOST_DONE", 100)
    monkeypatch.setattr(audit, "_TRIMMED_EVERY", 10)


async def create(actor: str, number: int) -> None:
    await audit.note(actor, "192.0.2.1", "users.create_token", f"/tokens ({number})", 201)


@pytest.mark.usefixtures("small")
async def test_strangers_push_out_no_lines_but_their_own():
    await audit.note("root", "192.0.2.1", "users.create_user", "/users", 201)
    for number in range(200):
        await audit.note_failed_login("x", f"2001:db8::{number:x}", 401)
    for number in range(200):
        await audit.note("anna", "192.0.2.1", "jobs.cancel_job", f"/jobs/{number}/cancel", 404)
    assert await AuditEntry.filter(status__lt=400).count() == 1
    assert 20 <= await AuditEntry.filter(status=401).count() <= 30
    assert 30 <= await AuditEntry.filter(status=404).count() <= 40
    assert await AuditEntry.filter(target="/jobs/199/cancel").exists()
    for number in range(130):
        await create("root", number)
    await audit.forget(0)
    assert await AuditEntry.filter(status__lt=400).count() == 100


@pytest.mark.usefixtures("small")
async def test_a_flood_of_one_user_pushes_out_no_line_of_another():
    for number in range(20):
        await create("root", number)
        await create("root (command line)", number)
        await audit.note("root", "192.0.2.1", "jobs.cancel_job", f"/jobs/{number}/cancel", 404)
    # With sessions and with tokens, each of another name.
    for number in range(80):
        await create("vera", number)
        await create(f"vera (token {number})", number)
        await audit.note("vera", "192.0.2.2", "jobs.cancel_job", f"/jobs/{number}/cancel", 403)
    await audit.forget(0)
    kept = {
        user: await AuditEntry.filter(user_name=user, status__lt=400).count() for user in ("root", "vera")
    }
    assert kept == {"root": 20, "vera": 60}
    assert await AuditEntry.filter(user_name="root (command line)").count() == 20
    assert await AuditEntry.filter(user_name="root", status=404).count() == 15, "half of what is refused"
    assert await AuditEntry.filter(target="/tokens (79)").count() == 2, "the newest stay"
    assert len(await audit.listed(user="root", limit=100)) == 55
    assert len(await audit.listed(user="vera (token 79)")) == 1


@pytest.mark.parametrize(
    ("counts", "share"), [((), 10), ((3, 7), 10), ((3, 8), 7), ((2, 9, 9), 4), ((1,) * 20, 0), ((11,), 10)]
)
def test_who_has_fewer_lines_leaves_the_rest_to_the_others(counts: tuple[int, ...], share: int):
    assert audit._share(counts, 10) == share
    assert sum(min(count, share) for count in counts) <= 10


_INDEX = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%user_name%'"


async def test_lines_and_tokens_of_an_older_version_are_told_apart(tmp_path: Path):
    anna, root = await users.create("anna", "viewer", None), await users.create("root", "admin", None)
    assert anna is not None and root is not None
    for number, (user, role, only) in enumerate(
        ((anna, "viewer", None), (root, "admin", None), (root, "builder", None), (anna, "viewer", [1]))
    ):
        await users.create_token(user.id, "a", role, only, f"{number}", None, limited=False)
    for actor in ("anna", "anna (token a (token b))", "root (command line)"):
        await create(actor, 1)
    for statement in (
        *(f"DROP INDEX {name}" for (name,) in await sql.rows(_INDEX)),
        "ALTER TABLE deed DROP COLUMN user_name",
        "ALTER TABLE token DROP COLUMN limited",
        "DELETE FROM tortoise_migrations WHERE name LIKE '0008%'",
    ):
        await sql.rows(statement)
    await close_database()
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    assert [one.user_name for one in await AuditEntry.all().order_by("id")] == [
        "anna", "anna", "root (command line)"
    ]  # fmt: skip
    assert [one.limited for one in await Token.all().order_by("id")] == [False, False, True, True]


async def test_nothing_in_it_changes_how_the_rest_is_read():
    await audit.note("a\x9b31mb", "", "secrets.put_secret", "/secrets/\u202eevil\n\0\ud800", 422)
    (line,) = await AuditEntry.all()
    assert (line.actor, line.target) == ("a\\x9b31mb", "/secrets/\\u202eevil\\n\\x00\\ud800")


@pytest.mark.parametrize("length", [145, 146, 160, 161, 100_000])
async def test_a_name_of_any_length_can_be_asked_for(length: int):
    assert await audit.listed(user="x" * length) == []
