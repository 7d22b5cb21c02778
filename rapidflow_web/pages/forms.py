"""What browsers send from forms, and the pages that answer them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from quart import Response, request

from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.web import requests
from rapidflow_web.web.templates import render


async def fields() -> dict[str, str]:
    """The fields of the form that was sent; of those with one name the first."""
    return (await requests.form()).to_dict()


async def chosen(name: str) -> list[str]:
    """What was ticked of the boxes with one name."""
    return (await requests.form()).getlist(name)


def mark(*stored: object) -> str:
    """Says in a form what it was made from, as its field `was`."""
    return hashlib.sha256(json.dumps(stored).encode()).hexdigest()[:16]


def is_old(form: Mapping[str, str], *stored: object) -> bool:
    """Whether what is `stored` has changed since the form was made: to store that would undo it unseen."""
    return form.get("was", mark(*stored)) != mark(*stored)


def lines(text: str) -> str:
    """The text as it was typed: forms send line ends as CRLF."""
    return text.replace("\r\n", "\n")


def whole(text: str, field: str, least: int, most: int) -> int:
    """The number that a field has. Raises `Invalid`."""
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise Invalid([Problem(field, f"{field}: use a whole number from {least} to {most}, not '{text[:20]}'")])


def number(text: str) -> int | None:
    """The number that a query has; None where it is none."""
    return int(text) if re.fullmatch("[1-9][0-9]{0,15}", text) else None


async def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page with a status that may be one of an error."""
    return Response(await render(template, **values), status)


def one_of(word: str, words: Sequence[str], field: str) -> str:
    """The word, which must be one of `words`. Raises `Invalid`."""
    if word not in words:
        raise Invalid([Problem(field, f"{field}: use one of {', '.join(words)}")])
    return word


def words(name: str, most: int) -> str:
    """What the query has by a name, as it is searched for: up to `most` characters, without NUL."""
    return request.args.get(name, "").replace("\0", "").strip()[:most]
