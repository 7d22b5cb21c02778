"""The forms in which programs print a secret, told by what programs really print."""

from __future__ import annotations

import base64
import json
import subprocess
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidflow_web.logs.masking.forms import LEAST_BYTES, decoded, encoded, forms
from rapidflow_web.logs.masking.masker import Masker

SIMPLE = "hunter2-correct-horse"
QUOTED = 'it\'s a "p@ss" $word! <a>&b;#~^*(c) \\ é/=+€'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAo\nx/+9z'\tq==\n-----END KEY-----\n"
VALUES = st.sampled_from([SIMPLE, QUOTED, KEY])


def masked(secret: str, output: bytes) -> bytes:
    masker = Masker([secret], at_line_start=False)
    return masker.mask(decoded(output)).encode()


def run(*command: str, locale: str = "C.UTF-8") -> bytes:
    """What a command prints, on both streams."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, env={"LC_ALL": locale}
    ).stdout


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("secret", [SIMPLE, QUOTED, KEY, "tab\there\x01\x1b é"])
def test_commands_that_a_shell_prints_before_it_runs_them(secret: str, shell: str, locale: str) -> None:
    got = masked(secret, run(shell, "-c", 'set -x; : --password "$1"', "sh", secret, locale=locale))
    assert got.replace(b"'", b"").replace(b"\n", b"") == b"+ : --password ***"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("secret", [SIMPLE, QUOTED, KEY, "~begins with it", "tab\there\x01\x1b é"])
def test_what_bash_quotes(secret: str, locale: str) -> None:
    got = masked(secret, run("bash", "-c", 'printf "<%q> <%s>" "$1" "${1@Q}"', "bash", secret, locale=locale))
    assert got.replace(b"$", b"").replace(b"'", b"").replace(b"\\n", b"") == b"<***> <***>"


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("secret", [SIMPLE, QUOTED, "abcdef"])
def test_base64_of_a_text_that_has_it_somewhere(secret: str, before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        got = masked(secret, encode(encoded(f"{before}{secret}:after")))
        plain = encode(encoded(f"{before}{secret}:after"))
        begin, end = got.split(b"***")
        # At most a character on either side also depends on what is beside it.
        assert plain.startswith(begin)
        assert plain.endswith(end)
        assert len(begin) <= len(before) * 4 / 3 + 1
        assert len(end) <= len(":after==") * 4 / 3 + 1


@pytest.mark.parametrize("command", [["base64"], ["base64", "-w", "64"], ["base64", "-w", "0"]])
@pytest.mark.parametrize("secret", [SIMPLE, QUOTED * 3, KEY * 4])
def test_base64_that_a_program_breaks_into_lines(secret: str, command: list[str]) -> None:
    printed = subprocess.run(command, input=encoded(secret), capture_output=True, check=True).stdout
    got = masked(secret, printed)
    assert all(len(part) < LEAST_BYTES for part in got.replace(b"\n", b"").split(b"***"))


@given(VALUES, st.booleans())
def test_json(secret: str, ascii_only: bool) -> None:
    text = json.dumps({"password": secret.strip()}, ensure_ascii=ascii_only)
    assert masked(secret, encoded(text)) == b'{"password": "***"}'
    assert masked(secret, encoded(text.replace("/", "\\/"))) == b'{"password": "***"}'
    for_pages = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    assert masked(secret, encoded(for_pages)) == b'{"password": "***"}'


@given(VALUES, st.sampled_from(["", "/", "!'()*", "!#$&'()*+,/:;=?@"]))
def test_urls(secret: str, safe: str) -> None:
    value = secret.strip()
    assert masked(secret, quote(value, safe).encode()) == b"***"
    assert masked(secret, quote_plus(value).encode()) == b"***"
    assert masked(secret, urlencode({"p": value, "q": 1}).encode()) == b"p=***&q=1"
    lower = "".join(f"%{byte:02x}" if byte > 127 else chr(byte) for byte in encoded("é€"))
    assert masked("é€é€", f"?p={lower}{lower}&q".encode()) == b"?p=***&q"


def test_every_line_of_a_secret_and_all_of_it_in_a_terminal() -> None:
    lines = KEY.splitlines()
    assert masked(KEY, lines[1].encode()) == b"***"
    assert masked(KEY, f"  {lines[0]}\n  {lines[2]}\n".encode()) == b"  ***\n  ***\n"
    assert masked(KEY, KEY.replace("\n", "\r\n").encode()) == b"***\r\n"
    # A line that is short is only masked where the whole stands.
    short = "one\ntwo\nthree"
    assert masked(short, b"<one\ntwo\nthree> two") == b"<***> two"


def test_hexadecimal_digits() -> None:
    digits = encoded(SIMPLE).hex()
    assert masked(SIMPLE, f"<{digits}> <{digits.upper()}>".encode()) == b"<***> <***>"


@given(st.text(max_size=100))
def test_no_form_is_short_or_begins_or_ends_in_white_space(text: str) -> None:
    for form in forms(text):
        assert len(form) >= LEAST_BYTES
        assert form == form.strip()


def test_a_short_value_has_no_form() -> None:
    assert forms("short") == forms("  short\n") == set()
    assert b"longer" in forms("  longer\n")
