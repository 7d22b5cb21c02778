"""Bodies of deliveries that were kept without their headers."""

from __future__ import annotations

import pytest

from rapidflow_web.forges.base import Unreadable, read
from rapidflow_web.forges.guessing import likely_headers
from tests.support import payloads


@pytest.mark.parametrize("name", payloads.names())
def test_a_body_without_headers_is_read_like_one_with_them(name: str) -> None:
    body = (payloads.FOLDER / f"{name}.json").read_bytes()
    forge, event = payloads.forge_of(name), payloads.event_of(name)
    right = read(payloads.headers_for(forge, event, body), body)
    assert read(likely_headers(None, body), body) == right
    assert read(likely_headers(forge, body), body) == right


def test_what_has_the_form_of_no_forge_is_read_as_a_plain_delivery() -> None:
    body = b'{"ref": "refs/heads/main"}'
    assert likely_headers(None, body) == ()
    assert read((), body).changes[0].ref == "refs/heads/main"


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(Unreadable, match="not JSON"):
        likely_headers(None, b"{")
