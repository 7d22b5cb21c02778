"""Errors: one shape, the right status, a sentence that helps, whatever is sent."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.server import Answer, Server

GET = [
    "/jobs/{id}", "/jobs/{id}/details", "/jobs/{id}/logs", "/jobs/{id}/steps", "/jobs/{id}/timeline",
    "/steps/{id}", "/steps/{id}/logs", "/pipelines/{id}", "/pipelines/{id}/jobs",
]  # fmt: skip
POST = ["/pipelines/{id}/jobs", "/jobs/{id}/cancel", "/jobs/{id}/retry"]
ALLOWED = {
    "/health": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/ready": "GET, HEAD, OPTIONS",
    "/jobs": "GET, HEAD, OPTIONS",
    **dict.fromkeys([path.format(id=1) for path in GET], "GET, HEAD, OPTIONS"),
    "/jobs/1/cancel": "OPTIONS, POST",
    "/jobs/1/retry": "OPTIONS, POST",
    "/pipelines": "GET, HEAD, OPTIONS, POST",
    "/pipelines/1": "DELETE, GET, HEAD, OPTIONS, PUT",
    "/pipelines/1/jobs": "GET, HEAD, OPTIONS, POST",
    "/openapi.json": "GET, HEAD, OPTIONS",
}
NO_IDS = [
    "0",
    "-1",
    "abc",
    "1a",
    "01",
    "1.0",
    "1e3",
    "%20",
    "%00",
    "%ff",
    "٣",
    "999999999",
    "9" * 19,
    "9" * 400,
]
LIMIT = 1024 * 1024


def the_error(answer: Answer, status: int) -> str:
    """The sentence of an error, which has the one shape that all have."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    details = ["details"] if status == 422 else []
    assert list(answer.json) == ["error", *details]
    sentence = answer.json["error"]
    assert sentence and "\n" not in sentence
    assert "Traceback" not in answer.text and "<html" not in answer.text.lower()
    if details:
        assert answer.json["details"]
        assert sentence == answer.json["details"][0]["message"]
        for detail in answer.json["details"]:
            assert list(detail) in (["field", "message"], ["field", "message", "line", "column"])
    return sentence


def send(server: Server, method: str, path: str, body: bytes | None, media_type: str | None) -> Answer:
    return server.request(method, path, body, {"Content-Type": media_type} if media_type else None)


@pytest.fixture(scope="module")
def pipeline_id(server: Server) -> int:
    return server.pipeline({"name": "for errors", "steps": ["true"]})


@pytest.fixture(autouse=True, scope="module")
def nothing_failed_inside(server: Server) -> Iterator[None]:
    """The server has no error of its own to tell, after all that was sent."""
    yield
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", NO_IDS)
def test_what_is_not_the_id_of_anything_is_not_found(server: Server, number: str) -> None:
    number = quote(number, safe="%")
    for method, paths in (
        ("GET", GET),
        ("POST", POST),
        ("PUT", ["/pipelines/{id}"]),
        ("DELETE", ["/pipelines/{id}"]),
    ):
        for path in paths:
            answer = server.request(method, path.format(id=number))
            assert the_error(answer, 404).startswith(f"there is no {path.split('/')[1].removesuffix('s')} ")


def test_an_address_with_nothing_there_is_not_found(server: Server) -> None:
    for path in (
        "/nothing",
        "/jobs/",
        "/jobs/1/",
        "/JOBS",
        "/jobs/1/nothing",
        "/jobs//details",
        "/pipelines/1/2",
    ):
        assert the_error(server.get(path), 404) == "there is nothing at this address"


def test_a_wrong_method_is_told_the_right_ones(server: Server) -> None:
    for path, allowed in ALLOWED.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - {*allowed.split(", ")}:
            answer = server.request(method, path)
            assert the_error(answer, 405) == f"this address does not take this method; use {allowed}"
            assert answer.headers["allow"] == allowed


def test_no_accept_header_makes_errors_of_the_api_anything_but_json(server: Server, pipeline_id: int) -> None:
    for accept in ("text/html", "text/plain", "*/*", "nonsense", "application/xml;q=x"):
        headers = {"Accept": accept}
        the_error(server.get("/jobs/abc", headers), 404)
        the_error(server.get("/jobs?limit=x", headers), 400)
        the_error(server.request("PATCH", "/jobs", headers=headers), 405)
        the_error(server.request("POST", "/pipelines", b"{}", headers), 415)
        the_error(
            server.request("POST", "/pipelines", b"{}", {**headers, "Content-Type": "application/json"}), 422
        )
        the_error(server.request("POST", "/pipelines", b"x" * (LIMIT + 1), headers), 413)


def test_a_route_without_parameters_takes_none(server: Server, succeeded: dict[str, Any]) -> None:
    job_id, step_id = succeeded["job"]["id"], succeeded["steps"][0]["id"]
    for method, paths in (("GET", GET[:-1]), ("POST", POST)):
        for path in paths:
            number = step_id if path.startswith("/steps") else job_id
            answer = server.request(method, path.format(id=number) + "?folow=1")
            assert the_error(answer, 400) == "unknown query parameter 'folow'"
    assert the_error(server.get("/health?x"), 400) == "unknown query parameter 'x'"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the body is not valid JSON (line 1, column 2: Expecting property name"),
        (b'{"branch": }', "the body is not valid JSON (line 1, column 12: Expecting value)"),
        (b'\n{"a"', "the body is not valid JSON (line 2, column 5: Expecting ':' delimiter)"),
        (b"branch=main", "the body is not valid JSON (line 1, column 1: Expecting value)"),
        (
            b'{"branch": "a\nb"}',
            "the body is not valid JSON (line 1, column 14: Invalid control character at)",
        ),
        (b'{"branch": "main"} x', "the body is not valid JSON (line 1, column 20: Extra data)"),
        (b"{'branch': 1}", "the body is not valid JSON"),
        (b'{"branch": "\xff"}', "the body is not valid UTF-8"),
        (b"\xff\xfe{\x00}\x00", "the body is not valid UTF-8"),
        ('{"branch": "main"}'.encode("utf-16-le"), "the body is not valid JSON"),
        (b'{"branch": "\\ud800"}', "the body has half of a surrogate pair, which is not text"),
        (b'{"\\udfff": 1}', "the body has half of a surrogate pair, which is not text"),
        (b"[" * 10_000, "the body is nested too deep or has a number that is too long"),
        (b'{"a":' * 10_000, "the body is nested too deep or has a number that is too long"),
        (b'{"branch": ' + b"9" * 5000 + b"}", "the body is nested too deep or has a number that is too long"),
    ],
)
def test_what_is_not_json_is_not_understood(
    server: Server, pipeline_id: int, body: bytes, words: str
) -> None:
    for method, path in (
        ("POST", f"/pipelines/{pipeline_id}/jobs"),
        ("POST", "/pipelines"),
        ("PUT", f"/pipelines/{pipeline_id}"),
    ):
        answer = send(server, method, path, body, "application/json")
        assert the_error(answer, 400).startswith(words)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ("null", "", "the body must be a JSON object"),
        ("[]", "", "the body must be a JSON object"),
        ('"main"', "", "the body must be a JSON object"),
        ("NaN", "", "the body must be a JSON object"),
        ('{"branch": 7}', "branch", "branch: input should be a valid string"),
        ('{"branch": ["main"]}', "branch", "branch: input should be a valid string"),
        ('{"environments": null}', "environments", "environments: input should be a valid dictionary"),
        ('{"environments": [["A", 1]]}', "environments", "environments: input should be a valid dictionary"),
        ('{"environments": {"A": 8080}}', "environments.A", "environments.A: input should be a valid string"),
        ('{"environments": {"A": null}}', "environments.A", "environments.A: input should be a valid string"),
        ('{"environments": {"A": true}}', "environments.A", "environments.A: input should be a valid string"),
        ('{"Branch": "main"}', "Branch", "unknown key 'Branch', did you mean 'branch'?"),
        ('{"steps": []}', "steps", "unknown key 'steps'; there is branch, commit, tag, environments"),
        ('{"branch": ""}', "branch", "'' is not the name of a branch"),
        ('{"branch": "-x"}', "branch", "'-x' is not the name of a branch"),
        ('{"branch": "a b"}', "branch", "'a b' is not the name of a branch"),
        ('{"branch": "a\\u0000b"}', "branch", "'a"),
        ('{"environments": {"1A": "x"}}', "environments.1A", "'1A' is not a variable name"),
        ('{"environments": {"": "x"}}', "environments.", "'' is not a variable name"),
        ('{"environments": {"A B": "x"}}', "environments.A B", "'A B' is not a variable name"),
        ('{"environments": {"A": "x\\u0000"}}', "environments.A", "the value of A has a NUL character"),
        ('{"branch": "a", "branch": "b"}', "", "duplicate key 'branch'"),
        ('{"environments": {"A": "1", "B": "2", "A": "3"}}', "", "duplicate key 'A'"),
        ('{"\\ud800": 1, "\\ud800": 2}', "", "duplicate key '\\ud800'"),
    ],
)  # fmt: skip
def test_a_body_that_does_not_validate_says_which_field_and_why(
    server: Server, pipeline_id: int, body: str, field: str, words: str
) -> None:
    answer = send(server, "POST", f"/pipelines/{pipeline_id}/jobs", body.encode(), "application/json")
    assert the_error(answer, 422).startswith(words)
    assert answer.json["details"][0]["field"] == field


def test_a_name_that_is_refused_is_told_in_words(server: Server) -> None:
    answer = server.post("/pipelines", {"name": "a\nb", "config": "steps: ['true']\n"})
    assert the_error(answer, 422) == "name: use one line without control characters"
    answer = server.post("/users", {"name": "a b"})
    words = "'a b' is not a valid name; use at most 64 letters, digits and . _ - @"
    assert the_error(answer, 422) == f"name: {words}"


def test_all_that_is_wrong_is_told_at_once(server: Server, pipeline_id: int) -> None:
    body = {"branch": 1, "environments": {"A": 1, "B": "fine"}, "extra": None}
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", body)
    assert [detail["field"] for detail in answer.json["details"]] == ["branch", "environments.A", "extra"]
    the_error(answer, 422)
    bad = {"branch": "a..b", "environments": {"1": "", "2": ""}}
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", bad)
    assert [detail["field"] for detail in answer.json["details"]] == [
        "branch",
        "environments.1",
        "environments.2",
    ]
    # But not of a body that has little else.
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", {f"key-{number}": 0 for number in range(15_000)})
    assert len(answer.json["details"]) == 100


def test_exposing_ports_needs_the_port(server: Server) -> None:
    exposing = {"name": "web", "expose_ports": True, "steps": ["true"]}
    for port in (None, "", "0", "65536", "http", "8080 ", "٣", "1" * 5000):
        pipeline_id = server.pipeline(exposing | ({} if port is None else {"env": {"PORT": port}}))
        answer = server.post(f"/pipelines/{pipeline_id}/jobs")
        assert the_error(answer, 422) == "expose_ports needs the variable PORT, a number from 1 to 65535"
        assert answer.json["details"][0]["field"] == "environments.PORT"
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", {"environments": {"PORT": "8080"}})
    assert (answer.status, answer.json["expose_ports"]) == (201, True)
    server.wait_finished(answer.json["id"])


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/jsonx", "application", "application/json-patch+json", "nonsense", "\xff"],
)  # fmt: skip
def test_a_body_of_another_kind_is_not_taken(
    server: Server, pipeline_id: int, media_type: str | None
) -> None:
    for method, path in (("POST", "/pipelines"), ("PUT", f"/pipelines/{pipeline_id}")):
        sentence = the_error(send(server, method, path, b"{}", media_type), 415)
        assert (
            sentence == "send a pipeline as application/yaml, or as application/json with 'name' and 'config'"
        )
    answer = send(server, "POST", f"/pipelines/{pipeline_id}/jobs", b"{}", media_type)
    assert the_error(answer, 415) == "send the body as JSON, with the header Content-Type: application/json"


def test_a_missing_body_is_missed_where_one_is_needed(server: Server, pipeline_id: int) -> None:
    for method, path in (("POST", "/pipelines"), ("PUT", f"/pipelines/{pipeline_id}")):
        the_error(send(server, method, path, None, None), 415)
        the_error(send(server, method, path, None, "application/json"), 400)
        sentence = the_error(send(server, method, path, b"", "application/yaml"), 422)
        assert sentence == "the pipeline is empty; it needs at least 'name' and 'steps'"
        answer = send(server, method, path, b"{}", "application/json")
        assert the_error(answer, 422) == "config: field required"
        assert answer.json["details"] == [{"field": "config", "message": "config: field required"}]


def test_a_body_up_to_the_limit_is_taken_and_not_a_byte_more(server: Server, pipeline_id: int) -> None:
    exactly = b'{"name": "long", "config": "steps: [ls]"}'.ljust(LIMIT)
    assert send(server, "POST", "/pipelines", exactly, "application/json").status == 201
    for method, path in (
        ("POST", "/pipelines"),
        ("PUT", f"/pipelines/{pipeline_id}"),
        ("POST", f"/pipelines/{pipeline_id}/jobs"),
    ):
        answer = send(server, method, path, exactly + b"x", "application/yaml")
        assert the_error(answer, 413) == f"the request body is too large; at most {LIMIT} bytes are taken"


def test_a_body_over_the_limit_that_does_not_say_its_length_is_refused_too(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    chunks = iter([b"x" * 65536] * 17)
    connection.request(
        "POST", "/pipelines", chunks, {"Content-Type": "application/yaml"}, encode_chunked=True
    )
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    the_error(answer, 413)
    connection.close()


def test_a_body_that_announces_too_much_is_refused_before_it_comes(server: Server) -> None:
    head = (
        b"POST /pipelines HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n"
        b"Content-Length: 99999999\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("text", "field", "line", "column", "words"),
    [
        ("name: x\nsteps: [a]\nstpes: []", "stpes", 3, 1, "unknown key 'stpes', did you mean 'steps'?"),
        ("name: x\nsteps: [\n", "", 3, 1, "this is not YAML"),
        ("name: x\nname: y\nsteps: ['true']\n", "name", 2, 1, "duplicate key 'name', first used in line 1"),
        ("name: x\nsteps:\n  - content: 7\n", "steps[0].content", 3, 14, "'content' must be text, not "),
        ("name: x\nsteps: ['true']\nexpose_ports: maybe\n", "expose_ports", 3, 15, "'expose_ports' must be"),
        ("name: x\nsteps: ['true']\nbranch: a..b\n", "branch", 3, 9, "'a..b' is not the name of a branch"),
    ],
)
def test_a_problem_in_yaml_says_where_it_is(
    server: Server, text: str, field: str, line: int, column: int, words: str
) -> None:
    for body, media_type in (
        (text.encode(), "text/yaml"),
        (json.dumps({"config": text}).encode(), "application/json"),
    ):
        answer = send(server, "POST", "/pipelines", body, media_type)
        assert the_error(answer, 422).startswith(f"line {line}, column {column}: {words}")
        detail = answer.json["details"][0]
        assert (detail["field"], detail["line"], detail["column"]) == (field, line, column)


@pytest.mark.parametrize(
    "body",
    [
        b"\0",
        b"name: \x07",
        b"- " * 50_000,
        b"{" * 50_000,
        b"&a [*a, *a]",
        b"!!python/object:os.system x",
        b"%YAML 9",
        b"--- 1\n--- 2",
        b"\t",
        b"? [a]: b",
        b"7",
        b"null",
    ],
)
def test_yaml_that_is_no_pipeline_is_refused(server: Server, body: bytes) -> None:
    the_error(send(server, "POST", "/pipelines", body, "application/yaml"), 422)


@pytest.mark.parametrize("body", [b"\xff", b"name: \xe2\x82", "name: x".encode("utf-16")])
def test_yaml_that_is_not_utf_8_is_not_understood(server: Server, body: bytes) -> None:
    assert (
        the_error(send(server, "POST", "/pipelines", body, "text/yaml"), 400) == "the body is not valid UTF-8"
    )


def test_an_error_inside_is_told_without_its_cause(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("broken") / "data", executor="process").start()
    job_id = server.run({"name": "to be broken", "steps": ["true"]})["job"]["id"]
    server.stop()
    index = next(server.data.glob("logs/*/*.index"))
    index.unlink()
    index.mkdir()  # the log can't be opened
    server.start()
    answer = server.get(f"/jobs/{job_id}/logs")
    assert the_error(answer, 500) == "the server failed; its log says why"
    stream = server.get(f"/jobs/{job_id}/logs/stream")
    assert (stream.status, stream.text) == (500, "the server failed; its log says why\n")
    assert f"GET /jobs/{job_id}/logs failed" in server.log.read_text()
    server.stop()
