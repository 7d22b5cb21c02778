"""What browsers send from forms, and the pages that answer them."""

from __future__ import annotations

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


async def edited(stored: Mapping[str, str]) -> dict[str, str]:
    """The fields by their names as they were typed, or, if nobody touched them, as they are `stored` by now.

    So a form in an old page does not undo what others changed meanwhile. It has what a field began with as
    `was_NAME`.
    """
    form = await fields()
    typed = {name: form.get(name, "").strip() for name in stored}
    return {
        name: now if typed[name] == form.get(f"was_{name}") else typed[name] for name, now in stored.items()
    }


async def ticked(name: str, stored: Sequence[str]) -> list[str]:
    """What was ticked of the boxes with one name, and those that nobody touched as they are `stored` by now.

    The form has those that were ticked at first as `was_NAME`, with spaces between them.
    """
    form = await requests.form()
    now, began = form.getlist(name), form.get(f"was_{name}", " ".join(stored)).split()
    kept = [one for one in stored if one in now or one not in began]
    return [*kept, *(one for one in now if one not in (*stored, *began))]


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
