"""Bodies of any bytes: an answer that is documented, and never the failure of the server."""

from __future__ import annotations

from datetime import timedelta

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


@given(body=BODIES, media_type=TYPES)
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
