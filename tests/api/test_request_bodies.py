"""Bodies of any bytes: an answer that is documented, and never the failure of the server."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.server import Server

PATIENT = settings(
    deadline=timedelta(seconds=20),
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NEARLY = [b"name: x\nsteps: [ls]\n", b'{"name": "x", "config": "name: x\\nsteps: [ls]"}']
"""What would be taken; cut up and filled with anything, it seldom is."""
BODIES = st.binary(max_size=60) | st.builds(
    lambda text, at, cut, more: text[:at] + more + text[at + cut :],
    st.sampled_from(NEARLY),
    st.integers(0, 50),
    st.integers(0, 8),
    st.binary(max_size=8)
    | st.sampled_from([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xfe\xff"]),
)
TYPES = st.sampled_from(
    [
        "application/yaml",
        "text/yaml; charset=utf-16",
        "application/json",
        "application/json; charset=latin1",
        "",
        "x",
    ]
)


@pytest.mark.parametrize("odd", ["\ue000", "\u202e", "\u200b", "\x85"])
def test_what_an_error_quotes_shows_what_can_not_be_printed_as_an_escape(server: Server, odd: str) -> None:
    quoted, json_type = quote(odd), {"Content-Type": "application/json"}
    pipeline = server.pipeline({"name": "some", "steps": ["true"]})
    for method, path, body in (
        ("POST", "/pipelines", json.dumps({odd: 1})),
        ("POST", "/pipelines", json.dumps({"name": "x", "config": f"name: x\nsteps: [ls]\na{odd}b: 1\n"})),
        ("POST", "/repositories", json.dumps({"url": f"https://a{odd}b/c"})),
        ("POST", f"/pipelines/{pipeline}/jobs", json.dumps({"environments": {f"A{odd}": "b"}})),
        ("PUT", f"/secrets/A{quoted}", json.dumps({"value": "a value"})),
        ("GET", f"/jobs?status=a{quoted}b", None),
        ("GET", f"/jobs?a{quoted}b=1", None),
        ("GET", f"/a{quoted}b", None),
    ):
        answer = server.request(method, path, body, json_type if body else None)
        assert 400 <= answer.status < 500, (path, answer.text)
        assert answer.json["error"].isprintable(), (path, answer.text)
        assert all(one["message"].isprintable() for one in answer.json.get("details", ())), answer.text
    refused = server.request("POST", "/pipelines", json.dumps({"config": "", f"a{odd}b": 1}), json_type)
    shown = "a b" if odd[0].isspace() else f"a{ascii(odd)[1:-1]}b"
    assert refused.json["error"].startswith(f"unknown key '{shown}'")


def test_a_compressed_body_is_refused_as_one(server: Server) -> None:
    pipeline = server.pipeline({"name": "some", "steps": ["true"]})
    for path, media_type in (
        ("/pipelines", "application/yaml"),
        ("/pipelines", "application/json"),
        (f"/pipelines/{pipeline}/jobs", "application/json"),
    ):
        headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
        answer = server.request("POST", path, gzip.compress(NEARLY[0]), headers)
        assert answer.status == 415
        assert answer.json["error"] == (
            "the body has the Content-Encoding gzip, which is not taken here; send it uncompressed"
        )
    plain = {"Content-Type": "application/yaml", "Content-Encoding": "identity"}
    assert server.request("POST", "/pipelines", NEARLY[0], plain).status == 201


def test_body_that_a_call_does_not_take_is_refused_so_that_nothing_is_done(server: Server) -> None:
    job = server.start_job({"name": "x", "steps": ["sleep 1000"]})
    running = f"/jobs/{job}/cancel"
    for path, body, error in (
        ("/prune", '{"dry_run": true}', "this call takes no body; send dry_run in the query"),
        ("/prune?dry_run=true", "dry_run=true", "this call takes no body; send dry_run in the query"),
        (running, '{"part": "deploy"}', "this call takes no body"),
        (running, "x" * 2_000_000, "this call takes no body"),
    ):
        answer = server.request("POST", path, body, {"Content-Type": "application/json"})
        assert (answer.status, answer.json["error"]) == (422, error)
    assert not server.get(f"/jobs/{job}").json["cancelled"]
    for path, body in (("/prune", " { }\n"), ("/prune", "null"), ("/prune", ""), (running, "{}")):
        assert server.request("POST", path, body, {"Content-Type": "application/json"}).status == 200


@given(body=BODIES, media_type=TYPES)
@example(body=json.dumps({"\ue000": 1}).encode(), media_type="application/json")
@example(body=NEARLY[0].decode().encode("utf-16"), media_type="application/yaml")
@example(body=b"1" * 5000, media_type="application/json")
@example(body=b"[" * 100_000, media_type="application/json")
@PATIENT
def test_any_body_gets_a_documented_answer(server: Server, body: bytes, media_type: str) -> None:
    for method, path, good in (("POST", "/pipelines", 201), ("POST", "/ui/pipelines/check", 200)):
        answer = server.request(method, path, body, {"Content-Type": media_type})
        assert answer.status in (good, 400, 415, 422), answer.text
        if path == "/pipelines" and answer.status != good:
            assert answer.json["error"].isprintable()
        if answer.status == 422 and media_type.startswith("application/yaml"):
            assert all(
                "line" in problem or "the pipeline is empty" in problem["message"]
                for problem in answer.json["details"]
            )
