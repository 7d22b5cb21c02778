"""Which errors of a database pass by themselves, and what is said of the others."""

from __future__ import annotations

import contextlib

import pytest
from quart import Quart
from tortoise.exceptions import IntegrityError, OperationalError

from rapidflow_web.db.database import patient
from rapidflow_web.web import errors


@pytest.mark.parametrize(
    ("error", "tried"), [(IntegrityError("duplicate key"), 1), (OperationalError("database is locked"), 2)]
)
async def test_only_what_may_pass_by_itself_is_tried_again(error: OperationalError, tried: int):
    tries = 0

    @patient
    async def create() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error

    with pytest.raises(IntegrityError) if tried == 1 else contextlib.nullcontext():
        await create()
    assert tries == tried


async def test_a_request_that_another_one_crossed_is_a_conflict():
    app = Quart("test")
    errors.install(app, 1000, 1000)

    @app.post("/tokens")
    async def create() -> str:
        raise IntegrityError("violates foreign key constraint")

    answer = await app.test_client().post("/tokens")
    assert answer.status_code == 409
    assert "at the same moment; look at it and try again" in (await answer.get_json())["error"]
