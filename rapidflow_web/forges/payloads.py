"""Reads the bodies of deliveries, which may be large and are written by others."""

from __future__ import annotations

import json
from json import scanner
from typing import Any, NoReturn

from rapidflow_web.forges.shapes import Unreadable

_FORM = "application/x-www-form-urlencoded"
_PIECE = 64 * 1024
_MOST_FIELDS = 100
_MOST_VALUES = 1_000_000
"""They take up to 120 MB of memory. The longest deliveries list hundreds of thousands of file names."""
_FAST = 256 * 1024
"""Bytes. The decoder in C lets no other thread run until it is done, for 25 MB half a second."""


def parsed(body: bytes, content_type: str) -> object:
    """The JSON of a body, or of the field `payload` of a form. Raises `Unreadable`."""
    if content_type.partition(";")[0].strip().lower() == _FORM:
        body = _form_field(body, b"payload")
    if body.count(b",") + body.count(b"{") + body.count(b"[") > _MOST_VALUES:
        raise Unreadable(f"the body has more than {_MOST_VALUES:,} values")
    try:
        text = body.decode("utf-8-sig")
        return (_FAST_DECODER if len(body) <= _FAST else _FAIR_DECODER).decode(text)
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"the body is not JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise Unreadable("the body is nested too deeply") from None
    except ValueError:
        # A number with more digits than Python converts.
        raise Unreadable("the body has a number that is too long") from None


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is no number", "", 0)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse)


def _fair_decoder() -> json.JSONDecoder:
    """The decoder in Python: four times as slow, but other threads may run meanwhile."""
    decoder: Any = _decoder()
    decoder.scan_once = getattr(scanner, "py_make_scanner")(decoder)  # noqa: B009
    return decoder


_FAST_DECODER = _decoder()
_FAIR_DECODER = _fair_decoder()


def _form_field(body: bytes, name: bytes) -> bytes:
    rest = body
    for _ in range(_MOST_FIELDS):
        field, separator, rest = rest.partition(b"&")
        key, _, value = field.partition(b"=")
        if key == name:
            return _decoded(value)
        if not separator:
            break
    raise Unreadable("the form has no field 'payload': set the content type of the webhook to JSON")


def _decoded(value: bytes) -> bytes:
    """Like `unquote_to_bytes`, which makes an object of each escape: of 25 MB a gigabyte."""
    decoded = bytearray()
    begin = 0
    while begin < len(value):
        end = min(begin + _PIECE, len(value))
        # An escape is three bytes; none is cut in two.
        cut = value.rfind(b"%", end - 2, end)
        if end < len(value) and cut > begin:
            end = cut
        decoded += _unquoted(value[begin:end].replace(b"+", b" "))
        begin = end
    return bytes(decoded)


def _unquoted(piece: bytes) -> bytes:
    first, *others = piece.split(b"%")
    parts = [first]
    for part in others:
        try:
            parts += (bytes.fromhex(part[:2].decode("ascii")), part[2:])
        except ValueError:
            parts += (b"%", part)
    return b"".join(parts)
