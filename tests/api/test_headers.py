"""What every answer says to browsers, whoever sends it: the pages, the API, the framework, the connection."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator

import pytest

from rapidflow_web.web import assets
from rapidflow_web.web.route_roles import ROLES
from rapidflow_web.web.security_headers import HEADERS
from tests.api.test_cross_site_requests import address
from tests.support.headers import assert_safe
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user, session_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module", params=["open", "with users"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("serving") / "data", executor="process", body_limit="2k").start()
    server.run({"name": "a build", "steps": ["echo out"]})
    if request.param != "open":
        add_user(server, "root", "admin")
    yield server
    server.stop()


def test_the_policy_lets_pages_run_only_what_is_ours() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    # Of scripts inside a page, only the one that is ours.
    whole = (assets.folder("static") / "js/whole.js").read_bytes()
    digest = base64.b64encode(hashlib.sha256(whole).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"


def test_every_route_says_so_with_every_method(serving: Server) -> None:
    for method, rule in ROLES:
        if rule.endswith("/badge.svg"):
            continue  # other sites may show it
        for asked in {method, "HEAD", "OPTIONS", "TRACE", "PATCH"} - {"DELETE"}:
            if (asked, rule) not in (("POST", "/prune"),):
                answer = serving.request(asked, address(rule).replace("1", "999"), None)
                assert_safe(answer, (asked, rule, answer.status))


def test_every_kind_of_answer_says_so(serving: Server) -> None:
    cookie: dict[str, str] = {}
    if serving.get("/jobs").status == 401:
        cookie = {"Cookie": session_of(serving, "root")}
    stream, static = "/jobs/1/logs/stream", "/static/css/base.css"
    etag = serving.get(static).headers["etag"]
    state = serving.get("/ui/overview", cookie).headers["etag"]
    asked: list[tuple[int, str, str, dict[str, str], bytes | None]] = [
        *[(200, "GET", "/jobs/1/details", cookie, None)] * 3,  # from the third on it is sent as it is kept
        (200, "GET", "/", cookie, None),
        (200, "GET", stream, cookie, None),
        (206, "GET", stream, {**cookie, "Range": "bytes=1-"}, None),
        (416, "GET", stream, {**cookie, "Range": "bytes=999-"}, None),
        (400, "GET", f"{stream}?since=x", cookie, None),
        (404, "GET", "/jobs/9/logs/stream", cookie, None),
        (200, "GET", static, {}, None),
        (304, "GET", static, {"If-None-Match": etag}, None),
        (206, "GET", static, {"Range": "bytes=0-9"}, None),
        (404, "GET", "/static/none", {}, None),
        (404, "GET", "/static/../../etc/passwd", {}, None),
        (304, "GET", "/ui/overview", {**cookie, "If-None-Match": state}, None),
        (303, "GET", "/docs", cookie, None),
        (303, "GET", "/ui", cookie, None),
        (404, "GET", "/nothing", cookie, None),
        (404, "GET", "/nothing", {**cookie, "Accept": "text/html"}, None),
        (404, "GET", "/ui/jobs/99", cookie, None),
        (405, "POST", "/health", {}, None),
        (403, "GET", "/health", {"Host": "evil.example"}, None),
        (403, "POST", "/login", {"Origin": "https://evil.example"}, None),
        (413, "POST", "/pipelines", {**cookie, "Content-Type": "text/yaml"}, b"#" * 4000),
        (415, "POST", "/pipelines", {**cookie, "Content-Type": "text/x"}, b"#"),
        (422, "POST", "/pipelines", {**cookie, "Content-Type": "text/yaml"}, b"#"),
        (400, "POST", "/pipelines", {**cookie, "Content-Type": "application/json"}, b"{"),
        (401, "GET", "/jobs", {"Authorization": "Bearer wrong"}, None),
        (401, "POST", "/login", FORM, b"name=x&password=y"),
        (303, "POST", "/logout", {}, None),
    ]
    for status, method, path, headers, body in asked:
        answer = serving.request(method, path, body, headers)
        assert answer.status == status, (method, path, headers, answer.text)
        assert_safe(answer, (status, method, path))


def test_a_failure_and_a_refused_connection_say_so_too(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", connections="3").start()
    server.run({"name": "a build", "steps": ["echo out"]})
    server.stop()
    index = next(server.data.glob("logs/*/*.index"))
    index.unlink()
    index.mkdir()  # the log can't be opened
    server.start()
    for path in ("/jobs/1/logs", "/jobs/1/logs/stream"):
        failed = server.get(path)
        assert failed.status == 500
        assert_safe(failed, path)
    with contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        refused = server.get("/health")
    assert refused.status == 503
    assert_safe(refused, "too many")


def test_a_cookie_is_for_the_server_alone_on_every_way_in_and_out(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", hosts="build.example.org").start()
    add_user(server, "root", "admin")
    form = f"name=root&password={PASSWORD.replace(' ', '+')}"
    for path, body, extra in (
        ("/login", form, {}),
        ("/logout", None, {}),
        ("/login", form, {"Host": "build.example.org"}),
    ):
        for proto, secure in ((None, False), ("http", False), ("https", True), ("HTTPS", True)):
            headers = {**FORM, **extra, **({"X-Forwarded-Proto": proto} if proto else {})}
            answer = server.request("POST", path, body, headers)
            assert answer.status == 303
            parts = {part.strip() for part in answer.headers["set-cookie"].split(";")}
            assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= parts
            assert ("Secure" in parts) == secure
            assert not [part for part in parts if part.startswith("Domain")]
