"""Routes of the API: `operation` reads the query, and documents what a route takes and sends."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from quart import Quart, Response, request
from quart.json.provider import DefaultJSONProvider
from quart.typing import ResponseReturnValue
from quart_schema import OpenAPIProvider, QuartSchema, hide
from werkzeug.routing.rules import Rule

from rapidflow_web.api import query_schemas, schemas
from rapidflow_web.web import requests, route_roles
from rapidflow_web.web.services import services

View = Callable[..., Awaitable[Response]]

_ID = re.compile(r"<(\w+)>")
_PATTERNS = {"name": "^[A-Za-z_][A-Za-z0-9_]{0,254}$", "key": "^[A-Za-z0-9_-]{1,100}$"}
"""Of what the path has besides ids."""
_ATTRIBUTE = "_rapidflow_operation"
_READING = ("GET", "HEAD", "OPTIONS")
_REFERENCE = "#/components/schemas/{model}"
_SECURITY = "token"
_SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API token. A server without users, reachable only from its own machine, needs none.",
}
_ERRORS = {
    400: "Invalid request, or not possible in the current state.",
    401: "Not authenticated.",
    403: "Not permitted, or not from this origin.",
    404: "Not found.",
    409: "Conflicts with existing data.",
    413: "The body is too large.",
    415: "The media type of the body is not supported.",
    422: "The body does not validate.",
    429: "Too many attempts; the header Retry-After says when to try again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A plain text answer: its OpenAPI responses by status, errors that only it has included.

    `text_errors` tells whether its other errors are plain text, too.
    """

    responses: Mapping[str, Mapping[str, Any]]
    request_headers: Mapping[str, str]
    text_errors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and sends."""

    answer: type[BaseModel] | Text
    status: int
    query: type[BaseModel]
    body: type[BaseModel] | None
    yaml: bool
    text: Sequence[str]
    listed: bool
    conflict: bool
    throttled: bool
    lenient: bool
    other: Mapping[int, str]


def operation(
    answer: type[BaseModel] | Text,
    *,
    status: int = 200,
    query: type[BaseModel] = query_schemas.NoQuery,
    body: type[BaseModel] | None = None,
    yaml: bool = False,
    text: Sequence[str] = (),
    listed: bool = False,
    conflict: bool = False,
    throttled: bool = False,
    lenient: bool = False,
    other: Mapping[int, str] | None = None,
) -> Callable[[View], View]:
    """Makes a route of the decorated view.

    The view is given the `query`, if it has one, and what the path has. `body` only
    documents what the view itself reads, and `yaml` that it may be YAML text too; `text` are the
    media types of one that only the view understands. `listed` answers have a Link header,
    `conflict` says that 409 may be answered, `throttled` that 429 may. With `lenient` the view
    reads path and query itself, and nothing in them is an error. `other` are statuses with which
    the same answer may come, and what they mean.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        async def route(**path: int | str) -> Response:
            if lenient:
                return await view(**path)
            wanted = requests.query(query)
            if body is None and not text and request.method not in _READING:
                await requests.no_body(query)
            return await (view(**path) if query is query_schemas.NoQuery else view(wanted, **path))

        documented = Operation(
            answer=answer,
            status=status,
            query=query,
            body=body,
            yaml=yaml,
            text=text,
            listed=listed,
            conflict=conflict,
            throttled=throttled,
            lenient=lenient,
            other=other or {},
        )
        setattr(route, _ATTRIBUTE, documented)
        return route

    return decorate


class Documentation(QuartSchema):
    """Serves the document, which a thread makes at the first request: the loop would be held for too long."""

    @hide
    async def openapi(self) -> ResponseReturnValue:
        """The OpenAPI document."""
        await asyncio.to_thread(self.openapi_provider.schema)
        return await super().openapi()


class Provider(OpenAPIProvider):
    """Makes the document of all operations; pages and files are not part of it."""

    def __init__(self, app: Quart, extension: QuartSchema) -> None:
        super().__init__(app, extension)
        # The order of fields is part of what is documented.
        cast(DefaultJSONProvider, app.json).sort_keys = False

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        document = super().schema()
        if (public := services().settings.public_url) is not None:
            document["servers"] = [{"url": str(public)}]
        document["components"]["securitySchemes"] = {_SECURITY: _SECURITY_SCHEME}
        return document

    def schema(self) -> dict[str, Any]:
        """The document. The routes do not change, so it is made once."""
        return self._document

    def generate_rules(self) -> list[Rule]:
        """The rules of the API, in the order of their paths."""
        views = self._app.view_functions
        rules = [rule for rule in self._app.url_map.iter_rules() if hasattr(views[rule.endpoint], _ATTRIBUTE)]
        return sorted(rules, key=lambda rule: rule.rule)

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The rule's path with its operation, and the schemas that it refers to."""
        view = self._app.view_functions[rule.endpoint]
        documented: Operation = getattr(view, _ATTRIBUTE)
        ids: list[str] = _ID.findall(rule.rule)
        summary, _, description = (inspect.getdoc(view) or "").partition("\n")
        entry: dict[str, Any] = {
            "operationId": view.__name__,
            "summary": summary,
            "description": description.strip(),
            "parameters": _parameters(documented, ids),
        }
        if documented.body is not None:
            entry["requestBody"] = _request_body(documented.body, documented.yaml)
        elif documented.text:
            content = {media_type: {"schema": {"type": "string"}} for media_type in documented.text}
            entry["requestBody"] = {"required": True, "content": content}
        entry["responses"] = _responses(documented, has_id=bool(ids))
        methods = list(self.generate_methods(rule))
        public = all(route_roles.needed(method, rule.rule) is route_roles.PUBLIC for method in methods)
        entry["security"] = [] if public else [{_SECURITY: list[str]()}]
        path = _ID.sub(r"{\1}", rule.rule)
        return {path: {method.lower(): entry for method in methods}}, _schemas(documented)


def _parameters(documented: Operation, ids: list[str]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in ids:
        schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": requests.LARGEST_ID}
        if documented.lenient:
            schema = {"type": "string"}
        elif not name.endswith("_id"):
            schema = {"type": "string", "pattern": _PATTERNS[name]}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    for name, schema in documented.query.model_json_schema().get("properties", {}).items():
        description = schema.pop("description")
        if schema["default"] is None:
            del schema["default"]
        parameters.append({"name": name, "in": "query", "description": description, "schema": schema})
    if isinstance(documented.answer, Text):
        for name, description in documented.answer.request_headers.items():
            parameters.append({"name": name, "in": "header", **header(description)})
    return parameters


def _request_body(body: type[BaseModel], yaml: bool) -> dict[str, Any]:
    content: dict[str, Any] = _json(body)
    if yaml:
        content |= {media_type: {"schema": {"type": "string"}} for media_type in requests.YAML}
    # An absent body counts as an empty object.
    more = body.model_config.get("json_schema_extra")
    required = any(field.is_required() for field in body.model_fields.values()) or (
        isinstance(more, dict) and "minProperties" in more
    )
    return {"required": required, "content": content}


def _responses(documented: Operation, *, has_id: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if isinstance(documented.answer, Text):
        error_content = text() if documented.answer.text_errors else _json(schemas.Error)
    else:
        error_content = _json(schemas.Error)
        success: dict[str, Any] = {
            "description": inspect.getdoc(documented.answer),
            "content": _json(documented.answer),
        }
        if documented.listed:
            success["headers"] = {"Link": header('The next page: `<url>; rel="next"`.')}
        if documented.status == 201:
            success["headers"] = {"Location": header("The path of the new resource.")}
        responses[str(documented.status)] = success
        for status, meaning in documented.other.items():
            responses[str(status)] = {**success, "description": meaning}
    statuses = [401, 403]
    if not documented.lenient:
        statuses += [400, *([404] if has_id else []), *([409] if documented.conflict else [])]
    statuses += [413, 415, 422] if documented.body else [413] if documented.text else []
    statuses += [429] if documented.throttled else []
    for status in statuses:
        responses[str(status)] = {"description": _ERRORS[status], "content": error_content}
    if isinstance(documented.answer, Text):
        responses |= documented.answer.responses
    return dict(sorted(responses.items()))


def _schemas(documented: Operation) -> dict[str, Any]:
    models = [schemas.Error, documented.answer, documented.body]
    used = [(model, "validation") for model in models if isinstance(model, type)]
    _, definitions = models_json_schema(used, ref_template=_REFERENCE)  # pyright: ignore[reportArgumentType]
    return definitions["$defs"]


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


def text() -> dict[str, Any]:
    """The content of a plain text answer."""
    return {"text/plain": {"schema": {"type": "string"}}}


def header(description: str, kind: str = "string") -> dict[str, Any]:
    """A header of a response."""
    return {"description": description, "schema": {"type": kind}}
