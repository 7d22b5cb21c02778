"""Where two logs first differ."""

from __future__ import annotations

import pytest

from rapidflow_web.logs.difference import first_difference

SAME = [
    (b"took 3.2s\n", b"took 14.85s\n"),
    (b"Fri Nov 27 18:07:03 UTC 2026\n", b"Sat Feb 7 01:00:00 UTC 2027\n"),
    (b"at 0x7ffdeadbeef of d044f9e0\n", b"at 0x12 of 1660cd10aa\n"),
    (b"\x1b[32mok\x1b[0m\n", b"ok\n"),
    (b"a  b\n", b"a b\n"),
    (b"10%\r50%\rdone\n", b"done\n"),
    (b"", b""),
    (b"ended", b"ended\n"),
    (b"id 550e8400-e29b-41d4-a716-446655440000", b"id 6fa459ea-ee8a-3ca4-894e-db77e160355e"),
    (b"mac 02:42:ac:11:00:02", b"mac 02:42:ac:1b:0f:02"),
    (b"ip fe80::1ff:fe23", b"ip fe80::2a0:98"),
    (b"2026-11-27T10:00:00Z up", b"2026-11-27T10:00:00.123Z up"),
    (b"2026-11-27 10:00:00,123 up", b"2026-11-28 10:00:01 up"),
    (b"at 10:00:00.5 up", b"at 9:59 up"),
    (b"done in 850ms.", b"done in 1.2s."),
    (b"took 1m 2s, ok", b"took 59s, ok"),
    (b"took 1 minute, 2 seconds", b"took 59 secs"),
    (b"in /tmp/tmp.aB3xYz/x", b"in /tmp/tmp.Qk9LmN/x"),
    (b"in /tmp/tmpab1d_xyz/x", b"in /tmp/tmpqwert_yu/x"),
    (b"sha512-abcDEF+/==", b"sha512-xyzDEF+/=="),
    (b"sha256:abcdefg rest", b"sha256:hijklmn rest"),
    # What a bar of progress ends with, however long it ran.
    (b"10%\r" * 2000 + b"done", b"done"),
]
DIFFER = [
    (b"took 3 tries", b"took 3 turns"),
    (b"std::vector", b"std::string"),
    (b"in /tmp/one/x", b"in /tmp/two/x"),
    (b"10%\r" * 2000 + b"done", b"10%\r" * 2000 + b"failed"),
    (b"5 is", b"5 ms"),
    (b"ok", b"ok\nmore"),
    (b"line\n\n", b"line\n"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_times_numbers_hashes_and_addresses_make_no_difference(one: bytes, other: bytes):
    assert first_difference(b"first\n" + one, b"first\n" + other) is None


@pytest.mark.parametrize(("one", "other"), DIFFER)
def test_what_is_no_time_number_or_address_makes_a_difference(one: bytes, other: bytes):
    assert first_difference(b"first\n" + one, b"first\n" + other) is not None


def test_the_first_line_that_says_something_else_is_found():
    found = first_difference(b"at 1\nok\nlast\n", b"at 2\nfailed\nlast\n")
    assert found is not None
    assert (found.line, found.one, found.other) == (1, "ok", "failed")


def test_a_log_may_end_earlier():
    found = first_difference(b"ok", b"ok\nmore\nand more")
    assert found is not None
    assert (found.line, found.one, found.other) == (1, None, "more")
    assert (found.at_one, found.at_other) == (2, 3)


def test_a_log_that_goes_on_ends_nowhere():
    one, other = b"a 1\nb 2\nc is cut", b"a 10\nb 20\nc is cut off\nmore\n"
    assert first_difference(one, other, one_goes_on=True) is None
    assert first_difference(other, one, other_goes_on=True) is None
    found = first_difference(one, other)
    assert found is not None and found.line == 2
    # One of them really ended before.
    found = first_difference(b"a 1\n", other, other_goes_on=True)
    assert found is not None and (found.line, found.one, found.at_one) == (1, None, 4)


def test_lines_that_are_the_same_byte_for_byte_are_counted():
    lines = b"the same\n" * 50_000
    found = first_difference(lines + b"one\n", lines + b"other\n")
    assert found is not None
    assert (found.line, found.one, found.other, found.at_one) == (50_000, "one", "other", len(lines))
