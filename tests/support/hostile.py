"""Bytes that were made to take long, or to confuse. Whatever is found to do so is added here."""

from __future__ import annotations

import json

KIB = 1024

OUTPUTS: dict[str, bytes] = {
    "12,000 carriage returns": b"\r" * 12_000,
    "256 KiB of carriage returns": b"\r" * (256 * KIB),
    "carriage returns after text": b"x\r" * (128 * KIB),
    "carriage returns and newlines": b"\r\n\r" * (80 * KIB),
    "backspaces": b"x\b" * (128 * KIB),
    "escapes": b"\x1b" * (256 * KIB),
    "colours": b"\x1b[31m" * (50 * KIB),
    "a colour without end": b"\x1b[" + b"1;" * (128 * KIB),
    "a link without end": b"\x1b]8;;" + b"x" * (256 * KIB),
    "links": b"\x1b]8;;x\x07" * (30 * KIB),
    "a line without end": b"a" * (8 * KIB * KIB),
    "empty lines": b"\n" * (1024 * KIB),
    "broken UTF-8": b"\xff\xfe" * (128 * KIB),
    "markup": b"<script>&\"'" * (24 * KIB),
    "groups": b"::group::x\n" * (100 * KIB),
    "groups and ends": b"::group::x\n::endgroup::\n" * (50 * KIB),
    "sections": b"section_start:1:a[section_end:1:" * (30 * KIB),
    "sections of Buildkite": b"--- x\n+++ y\n" * (50 * KIB),
    "dashes before an error": (b"-" * 1990 + b" error\n") * 500,
    "errors without end": b"error " * (100 * KIB),
    "spaces before an error": (b" " * 1990 + b"error\n") * 500,
    "masks": b"::add-mask::\n" * (50 * KIB),
    "a mask without end": b"::add-mask::" + b"x" * (256 * KIB),
    "NUL": b"\0" * (256 * KIB),
}

BODIES: dict[str, tuple[str, bytes]] = {
    "nested JSON": ("application/json", b"[" * 100_000),
    "a long number": ("application/json", b'{"name": ' + b"9" * 100_000 + b"}"),
    "many keys": ("application/json", json.dumps({f"k{n}": n for n in range(20_000)}).encode()),
    "a long string": ("application/json", b'{"name": "' + b"\\u0000" * 40_000 + b'"}'),
    "no JSON": ("application/json", b"\xff" * 100_000),
}

HEADERS: dict[str, str] = {
    "Range": "bytes=" + "0-0," * 1500,
    "Cookie": "a=" + ";" * 6000,
    "Accept": "*/*;q=" + "0" * 6000,
    "If-None-Match": '"' * 6000,
    "Authorization": "Basic " + "=" * 6000,
    "X-Forwarded-For": "1," * 3000,
    "Host": "a." * 3000,
    "Content-Type": "application/json;" + " ;" * 3000,
}
"""Each is sent by itself, and below the limit of heads."""

PATTERNS = ("(?:aa?)*c", "(a|a)+c", "(x+x+)+y", "(.*)*(.*)*=", "^(([a-z])+.)+[A-Z]([a-z])+$", "\\r*\\r*x")
"""Regular expressions that backtrack."""
