"""IP addresses: one client is not several, however its address is written."""

from __future__ import annotations

import pytest

from rapidflow_web import addresses
from rapidflow_web.accounts.authentication import Access
from rapidflow_web.errors import SettingsError
from rapidflow_web.settings import from_environment


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:DB8::1]:4711", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
        ("unknown", "unknown"),
        ("x" * 500, "x" * 64),
    ],
)
def test_an_address_has_one_form(written: str, address: str):
    assert addresses.plain(written) == address


def test_a_client_has_an_address_or_a_network_of_ipv6():
    assert addresses.client("::ffff:192.0.2.1") == addresses.client("192.0.2.1") == "192.0.2.1"
    assert addresses.client("2001:db8::1") == addresses.client("2001:db8::ffff:2") == "2001:db8::/64"
    assert addresses.client("2001:db8:0:1::1") != addresses.client("2001:db8::1")


@pytest.mark.parametrize("named", ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.0/104"])
def test_a_proxy_is_known_by_its_address_in_either_form(named: str):
    access = Access(from_environment({"RAPIDFLOW_PROXY_ADDRESSES": named}))
    assert access.is_proxy("127.0.0.1") and access.is_proxy("::ffff:127.0.0.1")
    assert not access.is_proxy("::1") and not access.is_proxy("192.0.2.1") and not access.is_proxy("")


def test_a_login_by_a_proxy_needs_the_address_of_the_proxy():
    with pytest.raises(SettingsError, match=r"RAPIDFLOW_PROXY_ADDRESSES is not set: name the addresses"):
        from_environment({"RAPIDFLOW_LOGIN": "proxy"})
    named = {"RAPIDFLOW_LOGIN": "proxy", "RAPIDFLOW_PROXY_ADDRESSES": "127.0.0.1"}
    assert from_environment(named).login == "proxy"
