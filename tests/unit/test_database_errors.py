"""Which errors of a database pass by themselves, and what is said of the others."""

from __future__ import annotations

import pytest
from quart import Quart
from tortoise.exceptions import IntegrityError, OperationalError

from rapidflow_web.db.database import patient
from rapidflow_web.web import errors


async def test_what_is_refused_by_a_constraint_is_not_tried_for_ever():
    tries = 0

    @patient
    async def create() -> None:
        nonlocal tries
        tries += 1
        raise IntegrityError("duplicate key")

    with pytest.raises(IntegrityError):
        await create()
    assert tries == 1


async def test_what_a_database_refuses_that_is_away_is_tried_again():
    tries = 0

    @patient
    async def create() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OperationalError("database is locked")

    await create()
    assert tries == 2


async def test_a_request_that_another_one_crossed_is_a_conflict():
    app = Quart("test")
    errors.install(app, 1000, 1000)

    @app.post("/tokens")
    async def create() -> str:
        raise IntegrityError("violates foreign key constraint")

    answer = await app.test_client().post("/tokens")
    assert answer.status_code == 409
    assert "at the same moment; look at it and try again" in (await answer.get_json())["error"]
