"""Documents a route for the OpenAPI document: what it takes, what it sends, which errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from quart_schema import OpenAPIProvider
from quart_schema.validation import QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, QUART_SCHEMA_RESPONSE_ATTRIBUTE
from werkzeug.routing.rules import Rule

from rapidflow_web.api import schemas
from rapidflow_web.web.requests import YAML

V = TypeVar("V", bound=Callable[..., Any])

_ATTRIBUTE = "_rapidflow_operation"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_NEXT = {
    "Link": {"description": 'The next page: `<url>; rel="next"`.', "schema": {"type": "string"}},
}
_LOCATION = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
_ERRORS = {
    400: "The request can't be done in the present state of what it names, or can't be understood.",
    404: "There is no such thing.",
    413: "The body is too large.",
    415: "The body is of a kind that is not taken here.",
    416: "The bytes asked for begin past the end.",
    422: "The body does not validate.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of a route beyond what quart-schema finds by itself."""

    returns: type[BaseModel] | None
    status: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = False
    yaml: bool = False
    errors: tuple[int, ...] = ()
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    responses: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: bool = False


def operation(
    returns: type[BaseModel] | None,
    *,
    status: int = 200,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    body_required: bool = False,
    yaml: bool = False,
    errors: tuple[int, ...] = (),
    listed: bool = False,
    text: bool = False,
    responses: Mapping[str, Any] | None = None,
) -> Callable[[V], V]:
    """Documents the decorated route; `returns` is None for one without a JSON body.

    `listed` routes have a Link header, `yaml` ones take YAML text as well, `text` ones send errors as text.
    """

    def decorate(view: V) -> V:
        headers: dict[str, Any] = {**(_NEXT if listed else {}), **(_LOCATION if status == 201 else {})}
        # The query is checked on every route, and so is the body where there is one.
        always: tuple[int, ...] = (400, 413, 415, 422) if body else (400,)
        setattr(
            view,
            _ATTRIBUTE,
            Operation(
                returns, status, query, body, body_required, yaml, tuple(sorted({*errors, *always})),
                headers, responses or {}, text,
            ),
        )  # fmt: skip
        if query is not None:
            setattr(view, QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, query)
        models: dict[int, tuple[type[BaseModel], None]] = {400: (schemas.Error, None)}
        if returns is not None:
            models[status] = (returns, None)
        setattr(view, QUART_SCHEMA_RESPONSE_ATTRIBUTE, models)
        return view

    return decorate


class Provider(OpenAPIProvider):
    """Builds the document from the operations; pages and files are not part of it."""

    def generate_rules(self) -> Any:
        """The rules of the API."""
        views = self._app.view_functions
        return [rule for rule in super().generate_rules() if hasattr(views[rule.endpoint], _ATTRIBUTE)]

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str | None:
        """The name of the view, which is unique."""
        return func.__name__

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """What quart-schema builds, with bodies, headers, text and errors as they really are."""
        paths, components = super().build_paths(rule)
        view: Any = self._app.view_functions[rule.endpoint]
        documented: Operation = getattr(view, _ATTRIBUTE)
        for methods in paths.values():
            for entry in methods.values():
                self._complete(entry, documented, components)
        return paths, components

    def _complete(self, entry: dict[str, Any], documented: Operation, components: dict[str, Any]) -> None:
        for parameter in entry["parameters"]:
            if parameter["in"] == "path":
                parameter["schema"] = {"type": "integer", "minimum": 1}
            parameter["schema"].pop("default", None)
        responses: dict[str, Any] = {}
        error_schema = {"$ref": "#/components/schemas/Error"}
        built = entry["responses"]
        if documented.returns is not None:
            responses[str(documented.status)] = built[documented.status]
            if documented.headers:
                responses[str(documented.status)]["headers"] = dict(documented.headers)
        components["Error"] = _own_schema(built[400], components)
        responses.update(documented.responses)
        for status in documented.errors:
            content = _TEXT if documented.text else {"application/json": {"schema": error_schema}}
            responses[str(status)] = {"description": _ERRORS[status], "content": content}
        entry["responses"] = responses
        if documented.body is not None:
            body, definitions = self.build_request_body(documented.body, _json_source())
            body["required"] = documented.body_required
            if documented.yaml:
                for media_type in YAML:
                    body["content"][media_type] = {"schema": {"type": "string"}}
            entry["requestBody"] = body
            components.update(definitions)


def _own_schema(response: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    return response["content"]["application/json"]["schema"]


def _json_source() -> Any:
    from quart_schema import DataSource

    return DataSource.JSON
