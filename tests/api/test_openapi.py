"""The OpenAPI document: valid and complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tests.support.openapi import BADGE, CALLS, HOOK, JSON, TEXT, operations

LISTS = (
    "/audit",
    "/jobs",
    "/pipelines",
    "/pipelines/{pipeline_id}/jobs",
    "/repositories",
    "/repositories/{repository_id}/deliveries",
    "/repositories/{repository_id}/events",
)
MAKING = (
    "/jobs/{job_id}/retry",
    "/pipelines",
    "/pipelines/{pipeline_id}/jobs",
    "/pipelines/{pipeline_id}/uploads",
    "/repositories",
    "/tokens",
    "/users",
)
PUBLIC = ("/health", "/ready", "/hooks/{key}", "/pipelines/{pipeline_id}/badge.svg")


def everywhere(value: Any) -> Iterator[dict[str, Any]]:
    """All objects inside a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everywhere(inner)


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "RapidFlow Web", "version": document["info"]["version"]}
    found = jsonschema_rs.validator_for(OPENAPI_31).iter_errors(document)
    assert [f"{error.instance_path}: {error.message}" for error in found] == []
    for schema in document["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)


def test_it_has_every_call_and_nothing_else(document: dict[str, Any]) -> None:
    assert {path: sorted(item) for path, item in document["paths"].items()} == CALLS


def test_every_call_is_described_and_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for _, path, operation in operations(document):
        assert operation["summary"].endswith(".")
        given = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
        assert given == re.findall(r"{(\w+)}", path)
        for parameter in operation["parameters"]:
            assert parameter["in"] == "path" or parameter["description"]
        for response in operation["responses"].values():
            assert response["description"]


def test_every_call_but_those_for_anyone_says_that_it_needs_a_token(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for _, path, operation in operations(document):
        assert operation["security"] == ([] if path in PUBLIC else [{"token": []}]), path


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = {inner["$ref"] for inner in everywhere(document) if "$ref" in inner}
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def test_every_call_documents_its_errors_in_the_one_shape(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        statuses = {"401", "403"}
        if path != BADGE:
            statuses.add("400")
        if "{" in path and path != BADGE:
            statuses.add("404")
        if path.endswith(("/approve", "/reject")) or (method, path) in (
            ("post", "/repositories"),
            ("post", "/repositories/{repository_id}/secret"),
            ("post", "/users"),
            ("put", "/pipelines/{pipeline_id}"),
        ):
            statuses.add("409")
        if (
            method == "put"
            or path.endswith(("/approve", "/reject"))
            or (method, path)
            in (
                ("post", "/pipelines"),
                ("post", "/pipelines/{pipeline_id}/jobs"),
                ("post", "/jobs/{job_id}/retry"),
                ("post", "/repositories"),
                ("post", "/tokens"),
                ("post", "/users"),
            )
        ):
            statuses |= {"413", "415", "422"}
        if path.endswith(("/refs", "/uploads")) or path == HOOK:
            statuses.add("413")
        if method != "get" and path in (
            "/me/password",
            "/pipelines/{pipeline_id}/jobs",
            "/pipelines/{pipeline_id}/uploads",
            "/jobs/{job_id}/retry",
        ):
            statuses.add("429")
        if path.endswith(("/stream", "/services/{name}/logs")):
            statuses.add("416")
        assert {status for status in operation["responses"] if "400" <= status < "500"} == statuses
        for status in statuses:
            (media_type, content), *others = operation["responses"][status]["content"].items()
            assert not others
            if path.endswith(("/stream", "/services/{name}/logs")):
                assert (media_type, content["schema"]) == (TEXT, {"type": "string"})
            else:
                assert (media_type, content["schema"]) == (JSON, {"$ref": "#/components/schemas/Error"})


def test_what_is_made_answers_201_with_its_place_and_lists_link_to_the_next_page(
    document: dict[str, Any],
) -> None:
    for method, path, operation in operations(document):
        responses = operation["responses"]
        makes = method == "post" and path in MAKING
        assert ("201" in responses) == makes
        assert ("202" in responses) == path.endswith(("/replay", "/refs", "/{key}"))
        assert ("200" in responses) == (not makes and not path.endswith("/refs"))
        if makes:
            assert "Location" in responses["201"]["headers"]
        is_list = method == "get" and path in LISTS
        assert ("Link" in responses.get("200", {}).get("headers", {})) == is_list


def test_bodies_are_required_where_they_are_and_optional_where_they_are(document: dict[str, Any]) -> None:
    bodies = {
        (method, path): operation["requestBody"]
        for method, path, operation in operations(document)
        if "requestBody" in operation
    }
    yaml = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"]
    found = {call: (body["required"], list(body["content"])) for call, body in bodies.items()}
    assert found == {
        ("post", "/pipelines"): (True, [JSON, *yaml]),
        ("put", "/pipelines/{pipeline_id}"): (True, [JSON, *yaml]),
        ("post", "/pipelines/{pipeline_id}/jobs"): (False, [JSON]),
        ("post", "/jobs/{job_id}/retry"): (False, [JSON]),
        ("post", "/pipelines/{pipeline_id}/uploads"): (True, ["application/octet-stream"]),
        ("put", "/me/password"): (True, [JSON]),
        ("put", "/pipelines/{pipeline_id}/visibility"): (True, [JSON]),
        ("put", "/pipelines/{pipeline_id}/secrets/{name}"): (True, [JSON]),
        ("put", "/secrets/{name}"): (True, [JSON]),
        ("post", "/tokens"): (True, [JSON]),
        ("post", "/users"): (True, [JSON]),
        ("post", "/repositories"): (True, [JSON]),
        ("put", "/repositories/{repository_id}"): (False, [JSON]),
        ("post", "/repositories/{repository_id}/refs"): (True, [TEXT]),
        ("post", "/hooks/{key}"): (True, [JSON, "application/x-www-form-urlencoded"]),
        ("post", "/jobs/{job_id}/approve"): (True, [JSON]),
        ("post", "/jobs/{job_id}/reject"): (True, [JSON]),
        ("put", "/users/{user_id}"): (False, [JSON]),
    }


def test_the_stream_is_text_with_its_parameters_and_headers(document: dict[str, Any]) -> None:
    stream = document["paths"]["/jobs/{job_id}/logs/stream"]["get"]
    assert [(parameter["name"], parameter["in"]) for parameter in stream["parameters"]] == [
        ("job_id", "path"),
        ("follow", "query"),
        ("since", "query"),
        ("offset", "query"),
        ("tail", "query"),
        ("Range", "header"),
    ]
    for status, headers in (
        ("200", {"RapidFlow-Offset", "Content-Length", "Accept-Ranges"}),
        ("206", {"RapidFlow-Offset", "Content-Length", "Accept-Ranges", "Content-Range"}),
        ("416", {"Content-Range"}),
    ):
        assert set(stream["responses"][status]["headers"]) == headers
        assert list(stream["responses"][status]["content"]) == [TEXT]


def test_the_log_of_a_service_is_text_like_the_stream(document: dict[str, Any]) -> None:
    paths = document["paths"]
    log = paths["/jobs/{job_id}/services/{name}/logs"]["get"]
    assert [parameter["name"] for parameter in log["parameters"]] == [
        "job_id", "name", "follow", "offset", "Range"
    ]  # fmt: skip
    stream = paths["/jobs/{job_id}/logs/stream"]["get"]
    assert all(log["responses"][status] == stream["responses"][status] for status in ("200", "206", "416"))


def test_query_parameters_are_documented_as_they_are_taken(document: dict[str, Any]) -> None:
    jobs = {
        parameter["name"]: parameter["schema"]
        for parameter in document["paths"]["/jobs"]["get"]["parameters"]
    }
    assert list(jobs) == ["limit", "before", "status", "branch", "pipeline_id", "lead_id"]
    assert (jobs["limit"]["minimum"], jobs["limit"]["maximum"], jobs["limit"]["default"]) == (1, 200, 50)
    assert jobs["status"]["enum"] == ["pending", "running", "success", "failed", "cancelled"]
    assert (jobs["before"]["type"], jobs["before"]["minimum"]) == ("integer", 0)
