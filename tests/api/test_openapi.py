"""The OpenAPI document: valid, complete, and true of every kind of answer that is really sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tests.support import payloads
from tests.support.repos import Repo
from tests.support.repositories import ZERO, definition, events
from tests.support.server import Answer, Server, wait_for
from tests.support.users import PASSWORD, session_of

JSON, TEXT = "application/json", "text/plain"
METHODS = ("get", "post", "put", "delete", "patch", "head", "options", "trace")
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
    "/jobs/{job_id}/reject": ["post"],
    "/jobs/{job_id}/retry": ["post"],
    "/jobs/{job_id}/steps": ["get"],
    "/jobs/{job_id}/timeline": ["get"],
    "/me": ["get"],
    "/me/password": ["put"],
    "/metrics": ["get"],
    "/pipelines": ["get", "post"],
    "/pipelines/{pipeline_id}": ["delete", "get", "put"],
    "/pipelines/{pipeline_id}/badge.svg": ["get"],
    "/pipelines/{pipeline_id}/explain": ["get"],
    "/pipelines/{pipeline_id}/jobs": ["get", "post"],
    "/pipelines/{pipeline_id}/secrets": ["get"],
    "/pipelines/{pipeline_id}/secrets/{name}": ["delete", "put"],
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
    "/repositories",
    "/tokens",
    "/users",
)
PUBLIC = ("/health", "/ready", "/hooks/{key}", "/pipelines/{pipeline_id}/badge.svg")
BADGE, HOOK = "/pipelines/{pipeline_id}/badge.svg", "/hooks/{key}"
REPOSITORIES = (
    *(path for path in CALLS if path.startswith(("/repositories", "/deliveries"))),
    HOOK,
    BADGE,
    "/pipelines/{pipeline_id}/explain",
    "/jobs/{job_id}/approve",
    "/jobs/{job_id}/reject",
)
ACCOUNTS = (
    "/audit",
    "/me",
    "/pipelines/{pipeline_id}/secrets",
    "/pipelines/{pipeline_id}/secrets/{name}",
    "/me/password",
    "/pipelines/{pipeline_id}/visibility",
    "/secrets",
    "/secrets/{name}",
    "/tokens",
    "/tokens/{token_id}",
    "/users",
    "/users/{user_id}",
)


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    answer = server.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    return answer.json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


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
                ("post", "/repositories"),
                ("post", "/tokens"),
                ("post", "/users"),
            )
        ):
            statuses |= {"413", "415", "422"}
        if path.endswith("/refs") or path == HOOK:
            statuses.add("413")
        if path in ("/me/password", "/pipelines/{pipeline_id}/jobs", "/jobs/{job_id}/retry") and (
            method != "get"
        ):
            statuses.add("429")
        if path.endswith("/stream"):
            statuses.add("416")
        assert {status for status in operation["responses"] if "400" <= status < "500"} == statuses
        for status in statuses:
            (media_type, content), *others = operation["responses"][status]["content"].items()
            assert not others
            if path.endswith("/stream"):
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


def test_query_parameters_are_documented_as_they_are_taken(document: dict[str, Any]) -> None:
    jobs = {
        parameter["name"]: parameter["schema"]
        for parameter in document["paths"]["/jobs"]["get"]["parameters"]
    }
    assert list(jobs) == ["limit", "before", "status", "branch", "pipeline_id"]
    assert (jobs["limit"]["minimum"], jobs["limit"]["maximum"], jobs["limit"]["default"]) == (1, 200, 50)
    assert jobs["status"]["enum"] == ["pending", "running", "success", "failed", "cancelled"]
    assert (jobs["before"]["type"], jobs["before"]["minimum"]) == ("integer", 0)


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


def test_every_kind_of_answer_is_as_documented(
    server: Server,
    document: dict[str, Any],
    succeeded: dict[str, Any],
    failed: dict[str, Any],
    cancelled: dict[str, Any],
    new_name: Callable[[], str],
) -> None:
    truth = Truth(server, document)
    for details in (succeeded, failed, cancelled):
        ids = {"job_id": details["job"]["id"], "step_id": details["steps"][-1]["id"]}
        for path, methods in CALLS.items():
            elsewhere = path in ACCOUNTS or path in REPOSITORIES
            if methods == ["get"] and "pipeline" not in path and not elsewhere:
                truth.ask("GET", path, **ids)
                truth.ask("GET", f"{path}?unknown=1", **ids)
                if "{" in path:
                    truth.ask("GET", path, job_id=10**9, step_id=10**9)
        truth.ask("GET", "/jobs/{job_id}/logs/stream?Range=bytes=5-", **ids)
        truth.ask("GET", "/jobs/{job_id}/logs/stream?Range=bytes=99999-", **ids)
        truth.ask("POST", "/jobs/{job_id}/cancel", **ids)
    truth.ask("GET", "/jobs?limit=1")
    truth.ask("POST", "/prune?dry_run=true")
    truth.ask("POST", "/prune?dry_run=perhaps")
    config = "name: documented\nsteps:\n  - {name: one, content: echo up; exec sleep 1000}\n"
    wrong = "name: documented\nstep: []\n"
    made = truth.ask("POST", "/pipelines", body={"name": new_name(), "config": config}).json["id"]
    truth.ask("POST", "/pipelines", body=config.encode(), media_type="application/yaml")
    none: dict[str, Any] = {"pipeline_id": 10**9}
    for method, path in (("POST", "/pipelines"), ("PUT", "/pipelines/{pipeline_id}")):
        for body, media_type in (
            ({"config": config}, JSON),
            ({"config": wrong}, JSON),
            ({}, JSON),
            (b"{", JSON),
            (b"x" * (1024 * 1024 + 1), JSON),
            (b"x", TEXT),
            (b"\xff", "text/yaml"),
        ):
            truth.ask(method, path, body=body, media_type=media_type, pipeline_id=made)
    truth.ask("PUT", "/pipelines/{pipeline_id}", body={"config": config}, **none)
    jobs = "/pipelines/{pipeline_id}/jobs"
    job_id = truth.ask("POST", jobs, body={"environments": {"A": "1"}}, pipeline_id=made).json["id"]
    for body, media_type in (({"x": 1}, JSON), (b"[", JSON), (b"x", TEXT), (b"x" * (1024 * 1024 + 1), JSON)):
        truth.ask("POST", jobs, body=body, media_type=media_type, pipeline_id=made)
    truth.ask("POST", jobs, **none)
    for path in ("/pipelines/{pipeline_id}", jobs, f"{jobs}?limit=0", "/pipelines/{pipeline_id}?x=1"):
        truth.ask("GET", path, pipeline_id=made)
        truth.ask("GET", path, **none)
    truth.ask("GET", "/pipelines")
    truth.ask("GET", "/pipelines?limit=x")
    server.wait_output(job_id, "up")
    for path in (
        "activity",
        "details",
        "logs",
        "steps",
        "timeline",
        "logs/stream",
        "logs/stream?Range=bytes=1-",
    ):
        truth.ask("GET", f"/jobs/{{job_id}}/{path}", job_id=job_id)
    truth.ask("POST", "/jobs/{job_id}/retry", job_id=job_id)
    truth.ask("POST", "/jobs/{job_id}/cancel", job_id=job_id)
    retried = truth.ask("POST", "/jobs/{job_id}/retry", job_id=job_id).json["id"]
    truth.ask("POST", "/jobs/{job_id}/cancel", job_id=retried)
    for call in ("cancel", "retry"):
        truth.ask("POST", f"/jobs/{{job_id}}/{call}", job_id=10**9)
    truth.ask("DELETE", "/pipelines/{pipeline_id}", pipeline_id=made)
    truth.ask("DELETE", "/pipelines/{pipeline_id}", **none)
    truth.ask("DELETE", "/pipelines/{pipeline_id}?x=1", **none)
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
    }
    # What it takes to see these is in the tests of the engine that is away, of who may do what, and of how
    # many builds may wait.
    unseen = {
        (method, path, status)
        for method, path, status in documented
        if status in ("401", "403", "429") or path in ACCOUNTS or path in REPOSITORIES
    }
    assert documented - truth.seen == unseen | {
        ("get", "/ready", "503"),
        # A pipeline that stands in a repository
        ("put", "/pipelines/{pipeline_id}", "409"),
    }


def test_every_answer_about_users_and_secrets_is_as_documented(
    new_server: Callable[..., Server], document: dict[str, Any]
) -> None:
    server = new_server(executor="process").start()
    truth = Truth(server, document)
    truth.ask("POST", "/tokens", body={"name": "nobody's"})
    truth.ask("POST", "/users", body={"name": "root"})
    for body, media_type in (
        ({"name": "root", "role": "admin", "password": PASSWORD}, JSON),
        ({}, JSON),
    ):
        truth.ask("POST", "/users", body=body, media_type=media_type)
    truth.headers = {"Cookie": session_of(server, "root")}
    ids = {"user_id": truth.ask("POST", "/users", body={"name": "anna"}).json["id"], "name": "KEY"}
    ids["pipeline_id"] = truth.ask("POST", "/pipelines", body={"config": "name: a\nsteps: ['true']\n"}).json[
        "id"
    ]
    ids["token_id"] = truth.ask("POST", "/tokens", body={"name": "ci"}).json["id"]
    none = {"user_id": 10**9, "pipeline_id": 10**9, "token_id": 10**9, "name": "NONE"}
    good = {
        ("PUT", "/me/password"): {"password": PASSWORD, "new_password": PASSWORD},
        ("POST", "/users"): {"name": "anna"},
        ("PUT", "/users/{user_id}"): {"role": "builder"},
        ("POST", "/tokens"): {"name": "more"},
        ("PUT", "/secrets/{name}"): {"value": "a secret"},
        ("PUT", "/pipelines/{pipeline_id}/secrets/{name}"): {"value": "a secret"},
        ("PUT", "/pipelines/{pipeline_id}/visibility"): {"restricted": True, "users": ["anna"]},
    }
    calls = [(method.upper(), path) for path in ACCOUNTS for method in sorted(CALLS[path])[::-1]]
    for method, path in calls:
        for query in ("", "?unknown=1"):
            body = good.get((method, path))
            truth.ask(method, f"{path}{query}", body=body, **ids)
            truth.ask(method, f"{path}{query}", body=body, **none)
        if (method, path) in good:
            for wrong, media_type in (
                (b"[", JSON),
                (b"{}", TEXT),
                ({"x": 1}, JSON),
                (b"x" * (1024 * 1024 + 1), JSON),
            ):
                truth.ask(method, path, body=wrong, media_type=media_type, **ids)
        truth.headers, headers = {}, truth.headers
        assert truth.ask(method, path, body=good.get((method, path)), **ids).status == 401
        truth.headers = {**headers, "Host": "elsewhere.example"}
        assert truth.ask(method, path, body=good.get((method, path)), **ids).status == 403
        truth.headers = headers
    truth.ask("GET", "/audit?limit=1")
    truth.ask("DELETE", "/secrets/{name}", name="NEVER")
    for _ in range(9):
        truth.ask("PUT", "/me/password", body={"password": "wrong", "new_password": PASSWORD})
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if path in ACCOUNTS
    }
    # A secret that is not there is made.
    assert documented - truth.seen == {("put", "/secrets/{name}", "404")}


def test_every_answer_about_repositories_is_as_documented(
    new_server: Callable[..., Server], document: dict[str, Any], repo: Repo
) -> None:
    server = new_server(executor="process", file_roots=str(repo.path.parent), hook_body_limit="64k").start()
    truth = Truth(server, document)
    repo.commit({".rapidflow/one.yml": definition("one"), ".rapidflow/two.yml": "name: two\nstep: []\n"})
    added = truth.ask("POST", "/repositories", body={"url": repo.url}).json
    assert added["problems"][0]["path"] == ".rapidflow/two.yml"
    ids: dict[str, Any] = {
        "repository_id": added["id"],
        "pipeline_id": added["pipelines"][0]["id"],
        "delivery_id": 1,
    }
    ids["key"] = added["hook_url"].rpartition("/")[2]
    truth.ask("POST", "/repositories", body={"url": repo.url})
    truth.ask("PUT", "/pipelines/{pipeline_id}", body={"config": "name: a\nsteps: ['true']\n"}, **ids)

    def delivery(body: bytes, secret: str = added["hook_secret"], event: str = "push") -> Answer:
        headers = dict(payloads.headers_for("github", event, body, secret))
        headers["X-GitHub-Delivery"] = str(len(truth.seen)) + event + secret[:3]
        return truth.ask("POST", HOOK, body=body, more=headers, **ids)

    def handled(answer: Answer) -> None:
        wait_for(lambda: server.get(f"/deliveries/{answer.json['delivery']}").json["handled_at"], "handled")

    repo.git("update-ref", "refs/pull/1/head", repo.git("commit-tree", "-m", "more", "HEAD^{tree}"))
    fork = repo.git("rev-parse", "refs/pull/1/head")
    truth.ask("PUT", "/repositories/{repository_id}", body={"poll": "10s", "forks": "approve"}, **ids)
    handled(delivery(json.dumps(payloads.payload("github-push")).encode()))
    delivery(b"{}", event="ping")
    assert delivery(b"{}", secret="wrong").status == 401
    delivery(b"{")
    delivery(b"x" * (64 * 1024 + 1))
    truth.ask("POST", HOOK, body=b"{}", key="nothing")
    refs, lines = "/repositories/{repository_id}/refs", f"{ZERO} {fork} refs/heads/main\n".encode()
    truth.ask("POST", refs, body=b"x" * (1024 * 1024 + 1), media_type=TEXT, **ids)
    truth.ask("POST", refs, body=b"lines", media_type=TEXT, **ids)
    handled(truth.ask("POST", refs, body=lines, media_type=TEXT, **ids))
    assert events(server, added["id"])
    truth.ask("POST", "/deliveries/{delivery_id}/replay", **ids)
    truth.ask("POST", "/deliveries/{delivery_id}/replay?dry_run=true", **ids)
    truth.ask("POST", "/deliveries/{delivery_id}/replay?dry_run=x", **ids)
    for query in ("ref=main", "ref=nothing", "commit=" + fork):
        truth.ask("GET", f"/pipelines/{{pipeline_id}}/explain?{query}", **ids)
    started = server.post(f"/pipelines/{ids['pipeline_id']}/jobs", {"commit": fork})
    ids["job_id"] = started.json["id"]
    wait_for(lambda: "approval" in (server.job(ids["job_id"])["waits_for"] or ""), "it waits for approval")
    for call in ("/jobs/{job_id}/approve", "/jobs/{job_id}/reject"):
        truth.ask("POST", call, body={"commit": ZERO}, **ids)
    for wrong, media_type in (({}, JSON), (b"[", JSON), (b"x", TEXT), (b"x" * (1024 * 1024 + 1), JSON)):
        for call in ("/jobs/{job_id}/approve", "/jobs/{job_id}/reject"):
            truth.ask("POST", call, body=wrong, media_type=media_type, **ids)
        truth.ask("POST", "/repositories", body=wrong, media_type=media_type)
        body = {"poll": "never"} if wrong == {} else wrong
        truth.ask("PUT", "/repositories/{repository_id}", body=body, media_type=media_type, **ids)
    truth.ask("POST", "/jobs/{job_id}/approve", body={"commit": fork}, **ids)
    again = server.post(f"/pipelines/{ids['pipeline_id']}/jobs", {"commit": fork}).json["id"]
    wait_for(lambda: "approval" in (server.job(again)["waits_for"] or ""), "it waits for approval")
    truth.ask("POST", "/jobs/{job_id}/reject", body={"commit": fork}, job_id=again)
    tag = truth.ask("GET", BADGE, **ids).headers["etag"]
    truth.ask("GET", BADGE, more={"If-None-Match": tag}, **ids)
    truth.ask("POST", "/repositories/{repository_id}/secret", **ids)
    truth.ask("POST", "/repositories/{repository_id}/poll", **ids)
    none: dict[str, Any] = dict.fromkeys(ids, 10**9)
    for path in REPOSITORIES:
        for method in (method.upper() for method in CALLS[path] if method != "delete"):
            body = {"commit": ZERO} if path.startswith("/jobs/") else {} if method == "PUT" else None
            if path.endswith("/explain"):
                truth.ask(method, f"{path}?ref=main", **none)
            elif path != HOOK:
                truth.ask(
                    method,
                    path,
                    body=body if body is not None else lines,
                    media_type=JSON if body is not None else TEXT,
                    **none,
                )
            if path not in (BADGE, HOOK):
                truth.ask(method, f"{path}?unknown=1", body=body, **ids)
            if method == "GET":
                truth.ask(method, path, **ids)
    truth.ask("POST", "/repositories/{repository_id}/connect", **ids)
    repo.path.rename(repo.path.with_name("elsewhere"))
    truth.ask("POST", "/repositories/{repository_id}/poll", **ids)
    for query in ("?unknown=1", "", ""):
        truth.ask("DELETE", f"/repositories/{{repository_id}}{query}", **ids)
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if path in REPOSITORIES and status not in ("401", "403")
    }
    # What connects has an API; that is in the tests of forges.
    connected = ("post", "/repositories/{repository_id}/connect", "200")
    assert documented - truth.seen == {connected}
    assert ("post", HOOK, "401") in truth.seen
