"""Calls of the API of a stand-in, as the server makes them."""

from __future__ import annotations

import pytest

from rapidflow_web.forges import base
from rapidflow_web.forges.base import Api, ForgeError
from tests.support.forges.stand_in import COMMIT, TOKEN, StandIn

HOOK = "https://builds.example.com/hooks/abc"
PAGE = "https://builds.example.com/jobs/1"


def api_of(forge: StandIn, token: str = TOKEN) -> Api:
    """The API of the stand-in's repository."""
    api = base.api_for(forge.name, forge.clone_url, token)
    assert api is not None
    return api


async def failure(forge: StandIn, *, token: str = TOKEN, commit: str = COMMIT) -> ForgeError:
    """What setting a status fails with."""
    with pytest.raises(ForgeError) as caught:
        await api_of(forge, token).set_status(commit, "rapidflow/app", "success", "ok", PAGE)
    assert TOKEN not in str(caught.value)
    return caught.value
