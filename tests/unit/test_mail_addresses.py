"""Which mail addresses are taken."""

from __future__ import annotations

from email.headerregistry import Address

import pytest

from rapidflow_web.pipeline.mail_addresses import is_address


@pytest.mark.parametrize(
    "text", ["team@example.com", "a.b+c@x-y.de", "root@localhost", f"{'a' * 64}@b", "o'neil@1.example"]
)
def test_an_address_that_is_taken_can_be_sent_to(text: str) -> None:
    assert is_address(text)
    assert Address(addr_spec=text).addr_spec == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "@b", "a@", "a@b@c", "a..b@c.de", ".a@c.de", "a.@c.de", "a@c..de", "a@.de", "a@de.", "a@-b",
     "a b@c", "a@b\n", "ä@b", f"{'a' * 65}@b", f"{'a.' * 40}a@b", f"a@{'b.' * 130}c", "'a'@\"b\""],
)  # fmt: skip
def test_what_no_mail_can_be_sent_to_is_none(text: str) -> None:
    assert not is_address(text)


def test_a_long_text_is_judged_at_once() -> None:
    assert not is_address("a." * 1_000_000 + "@")
    assert not is_address("a." * 126 + "@")
