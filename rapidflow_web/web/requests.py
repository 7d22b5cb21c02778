"""What clients send, read strictly: an id, a query, a body. What is wrong becomes an error that says so."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from quart import g, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from rapidflow_web.builds.beginning import Cause
from rapidflow_web.errors import (
    BadRequest,
    Invalid,
    NotFound,
    Problem,
    RequestError,
    UnsupportedMediaType,
)
from rapidflow_web.pipeline.suggestions import did_you_mean, near, short
from rapidflow_web.web.body import PatientBody

LARGEST_ID = 2**63 - 1
_MOST_PROBLEMS = 100
"""What is said of a body; it may have a hundred thousand keys, and what each was meant to be takes time."""
_MOST_VALUES = 20_000
"""Of a JSON text: half a million empty objects take the better part of a second."""
_PATIENCE = 60.0
"""Seconds in which the next part of a large body has to come."""
_LONGEST_UPLOAD = 3600.0
"""Seconds."""
JSON = ("application/json",)
YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

M = TypeVar("M", bound=BaseModel)


class Model(BaseModel):
    """What is sent or taken. Compiled when first used, because a start would wait for all of them."""

    model_config = ConfigDict(defer_build=True)


_PAGE = re.compile(r"/(login|ui(/(?!jobs/[^/]+/log/).*)?)?")
"""What the log viewer fetches below a job's page is data."""


class TooLarge(RequestError):
    """A body of more than its limit."""

    status = 413


def is_page(path: str) -> bool:
    """Whether people look at what is at this path, rather than programs."""
    return _PAGE.fullmatch(path) is not None


def read_ids() -> None:
    """Makes numbers of the ids in the path, which routes take as `job_id` and the like. Raises `NotFound`."""
    values = request.view_args or {}
    for name, text in values.items():
        if name.endswith("_id"):
            values[name] = identifier(text, name.removesuffix("_id"))


def _digits(value: str) -> str:
    # Python reads signs, spaces, underscores and other alphabets' digits too, and no more than 4300 of them.
    if not re.fullmatch(r"[0-9]{1,1000}", value):
        raise ValueError("use a whole number from 0")
    return value


def _flag(value: str) -> bool:
    if value not in ("true", "false", "1", "0"):
        raise ValueError("use true or false")
    return value in ("true", "1")


Digits = BeforeValidator(_digits)
"""Makes a query value a number."""

Number = Annotated[int, Field(ge=0), Digits]
"""A query value that is a whole number from 0."""

Id = Annotated[int, Field(ge=0, le=LARGEST_ID), Digits]
"""A query value that is compared with ids."""

Flag = Annotated[bool, BeforeValidator(_flag)]
"""A query value that is true or false."""


def identifier(text: str, what: str) -> int:
    """An id out of a path. Raises `NotFound` for what can't be the id of a `what`."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > LARGEST_ID:
        raise NotFound(_no_id(text, what), _no_id(text, "build" if what == "job" else what))
    return int(text)


def _no_id(text: str, what: str) -> str:
    return f"there is no {what} '{text[:40]}'; the id of a {what} is a number like 12"


def query(model: type[M]) -> M:
    """The query of the request. Raises `BadRequest` for values and names that are not known."""
    values: dict[str, str] = {}
    for name, given in request.args.lists():
        if len(given) > 1:
            raise BadRequest(f"the query has '{name[:40]}' more than once")
        if name not in model.model_fields:
            raise BadRequest(f"unknown query parameter '{short(name)}'{_meant(name, model)}")
        if "\0" in given[0]:
            raise BadRequest(f"{name} has a NUL character, which nothing has")
        values[name] = given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise BadRequest(f"{first['loc'][0]}={first['input'][:40]}: {_sentence(first['msg'])}") from None


async def body(model: type[M]) -> M:
    """The JSON body of the request; an empty one is an empty object.

    Raises `UnsupportedMediaType`, `BadRequest` where it is not JSON, `Invalid` where it does not validate.
    """
    data = await content()
    if not data.strip():
        return validated(model, {})
    check_encoding()
    if media_type() not in JSON:
        raise UnsupportedMediaType("send the body as JSON, with the header Content-Type: application/json")
    return validated(model, parse_json(data))


async def no_body(model: type[BaseModel]) -> None:
    """Raises `Invalid` where a body was sent that nobody reads; an empty object is none.

    Ignored, a `dry_run` in it would remove builds. `model` is what the query takes.
    """
    try:
        data = b"".join((await content()).split())
    except RequestEntityTooLarge:
        data = b"more"
    if data not in (b"", b"{}", b"null"):
        names = ", ".join(model.model_fields)
        hint = f"; send {names} in the query" if names else ""
        raise Invalid([Problem("", f"this call takes no body{hint}")])


def check_encoding() -> None:
    """Raises `UnsupportedMediaType` where the body is compressed: it would only be no text."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(
            f"the body has the Content-Encoding {encoding[:40]}, which is not taken here; "
            "send it uncompressed"
        )


async def content() -> bytes:
    """The body of the request as it was sent. Raises `Unauthorized`, `Forbidden`."""
    data = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    # It may have taken a minute, and whoever is no administrator any more is not to add another one.
    await _let_in_again()
    return data


async def parts() -> AsyncIterator[bytes]:
    """A large body as it comes. Raises `Unauthorized`, `Forbidden` at its end, as `content` does.

    Raises `TooLarge` beyond its limit, and `RequestTimeout` where nothing comes for a minute.
    """
    deadline = asyncio.get_running_loop().time() + _LONGEST_UPLOAD
    body = aiter(request.body)
    while True:
        try:
            async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + _PATIENCE, deadline)):
                part = await anext(body)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise RequestTimeout from None
        except RequestEntityTooLarge:
            most = cast(PatientBody, request.body).limit or 0
            raise TooLarge(
                f"the working tree has more than {most // 1024**2} MiB when it is packed; leave files out by "
                ".gitignore, or have the administrator raise RAPIDFLOW_UPLOAD_LIMIT"
            ) from None
        yield part
    await _let_in_again()


async def form() -> MultiDict[str, str]:
    """The form that was sent. Raises `Unauthorized`, `Forbidden`."""
    fields = cast("MultiDict[str, str]", await request.form)
    await _let_in_again()
    return fields


async def _let_in_again() -> None:
    again: Callable[[], Awaitable[None]] | None = g.get("authorize_again")
    if again is not None:  # some routes are for everyone
        await again()


def started_by(means: str | None = None) -> str:
    """What a job says of who started it: the user, where there are users, else by which `means`."""
    if g.actor.name is not None:
        return g.actor.name
    if means is not None:
        return means
    return _program()


def _program() -> str:
    return "cli" if request.headers.get("User-Agent", "").startswith("rapidflow/") else "api"


def cause(means: str | None = None) -> Cause:
    """What starts a build that this request asks for."""
    return Cause(started_by(means), "api" if (means or _program()) == "api" else "manual")


def media_type() -> str:
    """The media type of the body, without parameters, in lower case."""
    return (request.mimetype or "").lower()


def parse_json(data: bytes) -> Any:
    """The value of a JSON text. Raises `BadRequest`, `Invalid` where an object has a key twice."""
    if _separators(data) > _MOST_VALUES:
        raise BadRequest(f"the body has more than {_MOST_VALUES} values; send less at once")
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
        # A lone surrogate is valid JSON and can't be stored.
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"the body is not valid JSON ({where}: {error.msg})") from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except UnicodeEncodeError:
        raise BadRequest("the body has half of a surrogate pair, which is not text") from None
    except (RecursionError, ValueError):
        raise BadRequest("the body is nested too deep or has a number that is too long") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        # One of the values would be ignored, and nobody could tell which was meant.
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise Invalid([Problem("", f"duplicate key '{short(twice)}'")])
    return made


def _separators(data: bytes) -> int:
    """About how many values a JSON text has; those of texts within it don't count."""

    def count(part: bytes) -> int:
        return part.count(b",") + part.count(b"[") + part.count(b"{")

    if count(data) <= _MOST_VALUES:
        return 0
    parts = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    return count(b"".join(parts[::2]))


def validated(model: type[M], value: Any) -> M:
    """The model of a value. Raises `Invalid` with all that does not validate."""
    if not isinstance(value, dict):
        raise Invalid([Problem("", "the body must be a JSON object")])
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        problems: list[Problem] = []
        every = error.errors(include_url=False, include_context=False, include_input=False)
        for found in every[:_MOST_PROBLEMS]:
            name = ".".join(str(part) for part in found["loc"])
            if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
                said = f"unknown key '{short(name)}'{_meant(name, model)}"
            else:
                said = f"{name or 'the body'}: {_sentence(found['msg'])}"
            problems.append(Problem(name, said))
        raise Invalid(problems) from None


def _meant(name: str, model: type[BaseModel]) -> str:
    """What was probably meant, or else what there is, to be added to what is said of an unknown name."""
    known = list(model.model_fields)
    if meant := near(name, known):
        return did_you_mean(meant)
    return f"; there is {', '.join(known)}" if known else ""


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
