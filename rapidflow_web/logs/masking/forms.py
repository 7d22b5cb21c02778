"""In which forms a secret may stand in the output of a build."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

LEAST_BYTES = 6
"""What is shorter is not masked: it stands in other words, too."""

_SAFE_IN_URLS = ("", "/", "!'()*", "!$&'()*+,;=", "$&+=:@", "!#$&'()*+,/:;=?@")
"""What different programs leave as it is in a URL, besides letters, digits and -._~"""
_WRAPPED = (76, 64)
"""The columns at which `base64` and `openssl base64` begin a new line."""
_REPEATED = 64
"""Bytes from which on a form that only repeats itself is masked: more would be compared at every byte."""
_CERTAIN = 16
_HTML = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})
_WITH_BACKSLASH = re.compile(r"""^[~#]|[ !"$&'()*,;<>?\[\\\]^`{|}]""")
_ANSI_C = {"\a": r"\a", "\b": r"\b", "\x1b": r"\E", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t",
           "\v": r"\v", "\\": r"\\", "'": r"\'"}  # fmt: skip


def forms(secret: str) -> set[bytes]:
    """All that is to be masked for a secret, none of it shorter than `LEAST_BYTES`.

    White space around it does not count, so no form ends in a newline. Bytes that are not UTF-8 stand in
    `secret` as surrogates (see `decoded`).
    """
    text = secret.strip()
    if len(encoded(text)) < LEAST_BYTES:
        return set()
    found = {form for form in _forms_of(text) if len(form) >= LEAST_BYTES}
    found.update(line for line in map(bytes.strip, encoded(text).splitlines()) if len(line) >= LEAST_BYTES)
    return {part for form in found for part in _without_repeats(form)}


def encoded(text: str) -> bytes:
    """The bytes of what `decoded` gave."""
    return text.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """The text in `data`, from which the same bytes can be had again."""
    return data.decode("utf-8", "surrogateescape")


def _forms_of(text: str) -> Iterator[bytes]:
    unix = text.replace("\r\n", "\n")
    # A terminal makes two characters of each newline.
    for version in {text, unix, unix.replace("\n", "\r\n")}:
        data = encoded(version)
        yield data
        yield data.hex().encode()
        yield data.hex().upper().encode()
        yield from _base64(data)
        yield from _in_urls(data)
        for text_form in (*_in_json(version), *_in_shells(version)):
            yield encoded(text_form)


def _without_repeats(form: bytes) -> tuple[bytes, ...]:
    """The form; of one that repeats its first bytes to the end, a beginning and an end that cover it all."""
    period = 0
    while len(form) > 2 * _REPEATED:
        period = form.find(form[:_CERTAIN], period + 1, _REPEATED + _CERTAIN)
        if period < 0:
            break
        if form.startswith(form[period:]):
            size = -(-_REPEATED // period) * period
            return form[:size], form[-size:]
    return (form,)


def _base64(data: bytes) -> Iterator[bytes]:
    """Base64, wherever in the encoded text `data` begins; characters that also depend on what is around it
    are left out.
    """
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            whole = encode(b"\0" * offset + data)
            yield whole[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        certain = encode(data)[: len(data) * 8 // 6]
        for width in _WRAPPED:
            if len(certain) > width:
                yield from (certain[begin : begin + width] for begin in range(0, len(certain), width))


def _in_urls(data: bytes) -> Iterator[bytes]:
    texts = {quote(data, safe) for safe in _SAFE_IN_URLS}
    # Forms, as different languages send them.
    texts |= {quote_plus(data), quote_plus(data, "*").replace("~", "%7E")}
    for text in texts:
        yield text.encode()
        yield re.sub("%..", lambda code: code[0].lower(), text).encode()


def _in_json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for form in (escaped, escaped.replace("/", "\\/"), escaped.translate(_HTML)):
            yield form
            yield re.sub(r"\\u....", lambda code: "\\u" + code[0][2:].upper(), form)


def _in_shells(text: str) -> Iterator[str]:
    """As `set -x` and `printf %q` print it."""
    yield text.replace("'", "'\\''")
    yield shlex.quote(text)[1:-1] if "'" in text else text
    yield _WITH_BACKSLASH.sub(lambda special: "\\" + special[0], text)
    if not text.isprintable() or not text.isascii():
        for is_plain in (str.isprintable, str.isascii):
            yield "".join(_ansi_c(character, is_plain(character)) for character in text)


def _ansi_c(character: str, is_plain: bool) -> str:
    if character in _ANSI_C:
        return _ANSI_C[character]
    if is_plain and character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in encoded(character))
