"""What the OpenAPI document says, and answers held against it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from tests.support.server import Answer, Server

JSON, TEXT = "application/json", "text/plain"
BADGE, HOOK = "/pipelines/{pipeline_id}/badge.svg", "/hooks/{key}"
CALLS = {
    "/audit": ["get"],
    "/deliveries/{delivery_id}": ["get"],
    "/deliveries/{delivery_id}/replay": ["post"],
    "/health": ["get"],
    "/hooks/{key}": ["post"],
    "/jobs": ["get"],
    "/jobs/{job_id}": ["get"],
    "/jobs/{job_id}/activity": ["get"],
    "/jobs/{job_id}/approve": ["post"],
    "/jobs/{job_id}/cancel": ["post"],
    "/jobs/{job_id}/details": ["get"],
    "/jobs/{job_id}/logs": ["get"],
    "/jobs/{job_id}/logs/stream": ["get"],
    "/jobs/{job_id}/services/{name}/logs": ["get"],
    "/jobs/{job_id}/reject": ["post"],
    "/jobs/{job_id}/retry": ["post"],
    "/jobs/{job_id}/steps": ["get"],
    "/jobs/{job_id}/timeline": ["get"],
    "/me": ["get"],
    "/nodes": ["get"],
    "/me/password": ["put"],
    "/metrics": ["get"],
    "/pipelines": ["get", "post"],
    "/pipelines/{pipeline_id}": ["delete", "get", "put"],
    "/pipelines/{pipeline_id}/badge.svg": ["get"],
    "/pipelines/{pipeline_id}/explain": ["get"],
    "/pipelines/{pipeline_id}/jobs": ["get", "post"],
    "/pipelines/{pipeline_id}/secrets": ["get"],
    "/pipelines/{pipeline_id}/secrets/{name}": ["delete", "put"],
    "/pipelines/{pipeline_id}/uploads": ["post"],
    "/pipelines/{pipeline_id}/visibility": ["get", "put"],
    "/prune": ["post"],
    "/ready": ["get"],
    "/repositories": ["get", "post"],
    "/repositories/{repository_id}": ["delete", "get", "put"],
    "/repositories/{repository_id}/connect": ["post"],
    "/repositories/{repository_id}/deliveries": ["get"],
    "/repositories/{repository_id}/events": ["get"],
    "/repositories/{repository_id}/poll": ["post"],
    "/repositories/{repository_id}/refs": ["post"],
    "/repositories/{repository_id}/secret": ["post"],
    "/secrets": ["get"],
    "/secrets/{name}": ["delete", "put"],
    "/steps/{step_id}": ["get"],
    "/steps/{step_id}/logs": ["get"],
    "/tokens": ["get", "post"],
    "/tokens/{token_id}": ["delete"],
    "/users": ["get", "post"],
    "/users/{user_id}": ["delete", "put"],
}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


class Truth:
    """Holds answers against what the document says of them."""

    def __init__(self, server: Server, document: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        self.headers = dict(headers)
        self.seen: set[tuple[str, str, str]] = set()
        self._server = server
        self._document = document

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        media_type: str = JSON,
        more: Mapping[str, str] = {},
        **ids: Any,
    ) -> Answer:
        """Sends a request; fails where the answer is not as documented."""
        bare, _, query = path.partition("?")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        address = f"{bare.format(**ids)}?{query}" if query else bare.format(**ids)
        headers = {"Content-Type": media_type} if data is not None else {}
        if query.startswith("Range="):
            address, headers = bare.format(**ids), {"Range": query.removeprefix("Range=")}
        answer = self._server.request(method, address, data, {**self.headers, **headers, **more})
        documented = self._document["paths"][bare][method.lower()]["responses"][str(answer.status)]
        self.seen.add((method.lower(), bare, str(answer.status)))
        media = answer.headers.get("content-type", "").partition(";")[0]
        assert answer.status == 304 or media in documented["content"]
        if media == JSON:
            self._validate(documented["content"][JSON]["schema"], answer.json)
        own = {name.lower() for name in documented.get("headers", {})}
        said = {
            name
            for name in ("location", "rapidflow-offset", "content-range", "accept-ranges")
            if name in answer.headers
        }
        assert said <= own | ({"content-length"} & own)
        return answer

    def _validate(self, schema: dict[str, Any], value: Any) -> None:
        whole = {**schema, "components": self._document["components"]}
        found = jsonschema_rs.Draft202012Validator(whole).iter_errors(value)
        assert [f"{error.instance_path}: {error.message}" for error in found] == []
        self._in_order(schema, value)

    def _in_order(self, schema: dict[str, Any], value: Any) -> None:
        """Fields are sent in the order in which they are documented, and none that are not."""
        if "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if isinstance(value, dict) and "properties" in schema:
            order = [name for name in schema["properties"] if name in value]
            assert list(value) == order
            for name in order:
                self._in_order(schema["properties"][name], value[name])
        if isinstance(value, list):
            array = next((one for one in schema.get("anyOf", ()) if "items" in one), schema)
            for entry in value:
                self._in_order(array["items"], entry)
