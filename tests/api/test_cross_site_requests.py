"""What another website makes a visitor's browser send is refused, with and without a login."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest

from rapidflow_web.web.route_roles import ROLES
from tests.support.headers import assert_safe
from tests.support.server import Server
from tests.support.users import add_user, session_of

CHANGING = sorted((method, rule) for method, rule in ROLES if method != "GET")
READING = sorted(rule for method, rule in ROLES if method == "GET")
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "none, cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://{host}.evil.example"},
    {"Origin": "http://{host}@evil.example"},
    {"Origin": "http://evil.example/{host}"},
    {"Origin": "{host}"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Origin": "http://[::1"},
    {"Origin": "http://{host}, https://evil.example"},
]


def address(rule: str) -> str:
    """An address that the rule matches, of things that are there where it has a number."""
    rule = rule.replace("<path:filename>", "css/base.css")
    rule = re.sub(r"<any\((\w+)[^)]*\):\w+>", r"\1", rule)
    return re.sub(r"<\w+>", "1", rule)


@pytest.fixture(scope="module", params=["nobody logged in", "an administrator logged in"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server and, in `cookie`, what the browser of somebody who may do everything sends along."""
    server = Server(tmp_path_factory.mktemp("victim") / "data", executor="process").start()
    server.run({"name": "victim", "steps": ["true"]})
    server.cookie = {}  # type: ignore[attr-defined]
    if request.param.startswith("an"):
        add_user(server, "root", "admin")
        server.cookie = {"Cookie": session_of(server, "root")}  # type: ignore[attr-defined]
    yield server
    server.stop()


def everything(server: Server) -> list[str]:
    """What there is on a server, for whoever may see it."""
    cookie: dict[str, str] = server.cookie  # type: ignore[attr-defined]
    paths = ("/pipelines", "/jobs", "/users", "/tokens", "/secrets", "/pipelines/1/visibility")
    return [server.get(path, cookie).text for path in paths]


def test_no_route_that_changes_something_takes_a_request_of_another_site(victim: Server) -> None:
    before, host = everything(victim), f"127.0.0.1:{victim.port}"
    cookie: dict[str, str] = victim.cookie  # type: ignore[attr-defined]
    for method, rule in CHANGING:
        for headers in FOREIGN:
            said = {name: value.format(host=host) for name, value in headers.items()}
            answer = victim.request(method, address(rule), None, {**cookie, **said})
            assert answer.status == 403, (method, rule, headers)
            assert "another website sent this request" in answer.text.lower()
            assert "set-cookie" not in answer.headers
    assert everything(victim) == before


def test_other_methods_and_unknown_addresses_are_refused_in_the_same_way(victim: Server) -> None:
    for method, path in (
        ("PATCH", "/pipelines/1"),
        ("POST", "/nothing"),
        ("PROPFIND", "/"),
        ("POST", "/static/x"),
    ):
        answer = victim.request(method, path, None, {"Origin": "https://evil.example"})
        assert answer.status in (403, 404, 405)
    # No header makes a request that reads one that changes something.
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        asked = victim.get("/pipelines/1", {**victim.cookie, header: "DELETE"})  # type: ignore[attr-defined]
        assert asked.status == 200
    assert victim.get("/pipelines/1?_method=DELETE", victim.cookie).status == 400  # type: ignore[attr-defined]


def test_requests_of_our_own_pages_and_of_programs_are_taken(server: Server) -> None:
    pipeline = server.pipeline({"name": "own", "steps": ["true"]})
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    for headers in ({}, own, {"Sec-Fetch-Site": "none"}):
        assert server.request("POST", f"/pipelines/{pipeline}/jobs", headers=headers).status == 201
    assert server.get("/jobs", {"Sec-Fetch-Site": "cross-site"}).status == 200


def test_a_name_counts_as_the_same_with_and_without_the_usual_port(named: Server) -> None:
    for host, origin in (
        ("under_score.example.org", "http://under_score.example.org"),
        ("build.example.org:443", "https://build.example.org"),
        ("build.example.org:80", "http://build.example.org"),
        ("[::1]:80", "http://[::1]"),
    ):
        answer = named.request("POST", "/logout", None, {"Host": host, "Origin": origin})
        assert answer.status == 303, host


def test_another_site_is_allowed_to_read_nothing(victim: Server) -> None:
    cookie: dict[str, str] = victim.cookie  # type: ignore[attr-defined]
    asking = {**cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    preflight = {
        **asking,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
        "Access-Control-Request-Private-Network": "true",
    }
    for rule in READING:
        for method, headers in (("GET", asking), ("OPTIONS", preflight)):
            answer = victim.request(method, address(rule), None, headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], rule
    for method, rule in CHANGING:
        answer = victim.request("OPTIONS", address(rule), None, preflight)
        assert not [name for name in answer.headers if name.startswith("access-control-")], (method, rule)


# Names that somebody else can point at this machine.

OWN = [
    "localhost", "localhost:{port}", "LocalHost:{port}", "localhost.", "localhost.:{port}", "a.b.localhost",
    "127.0.0.1", "127.0.0.1:{port}", "127.255.255.254", "192.0.2.1:80", "0.0.0.0", "[::1]", "[::1]:{port}",
    "[::ffff:127.0.0.1]:80", "[2001:DB8::1]", "{machine}", "{machine}:{port}", "{machine}.",
    "build.example.org", "BUILD.EXAMPLE.ORG:443", "under_score.example.org",
]  # fmt: skip
OTHER = [
    "evil.example", "evil.example:{port}", "EVIL.example.", "evil_.example", "_.evil.example:{port}",
    "localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost.example", "notlocalhost",
    "localhostevil", "127.0.0.1.nip.io", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[evil.example]",
    "[::1.evil]", "{machine}.evil.example", "sub.build.example.org", "build.example.org.evil.example", "-",
    "null",
]  # fmt: skip
NONE = [
    "", ".", "..", "*", "a..b", ".localhost", "localhost..", "a" * 64, f"{'a' * 64}.localhost", "localhost:",
    ":80", "localhost:abc", "localhost:123456", "localhost:80:80", "evil~.example", "localhost, evil.example",
    "localhost evil.example", "evil.example:80@localhost", "evil@localhost", "evil.example/localhost",
    "evil.example#.localhost", "evil.example?.localhost", "evil.example\\.localhost",
    "127.0.0.1:80.evil.example", "[::1].evil.example", "[::1", "::1", "::1.evil", "%6cocalhost",
    "l\xf6calhost", "localhost\t.evil",
]  # fmt: skip


@pytest.fixture(scope="module", params=["open", "with users"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"executor": "process", "hosts": "build.example.org, under_score.example.org"}
    server = Server(tmp_path_factory.mktemp("named") / "data", **settings).start()
    server.run({"name": "named", "steps": ["true"]})
    if request.param != "open":
        add_user(server, "root", "admin")
    yield server
    server.stop()


def test_the_server_answers_to_its_own_names_however_they_are_written(named: Server) -> None:
    for host in OWN:
        host = host.format(port=named.port, machine=socket.gethostname())
        assert named.get("/health", {"Host": host}).status == 200, host


def test_the_server_answers_to_no_other_name(named: Server) -> None:
    for host in OTHER:
        host = host.format(port=named.port, machine=socket.gethostname())
        for path in (
            "/health",
            "/jobs",
            "/",
            "/login",
            "/static/css/base.css",
            "/nothing",
            "/jobs/1/details",
        ):
            answer = named.get(
                path, {"Host": host, "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
            )
            assert answer.status == 403, (host, path)
            assert "this server does not accept requests for the host" in answer.text.lower()


def test_what_is_no_name_at_all_is_refused(named: Server) -> None:
    for host in NONE:
        for path in ("/health", "/nothing", "/jobs/1/details"):
            answer = named.get(path, {"Host": host})
            assert answer.status == 400, host
            assert_safe(answer, host)


def test_no_route_answers_to_another_name(named: Server) -> None:
    for method, rule in ROLES:
        answer = named.request(method, address(rule), None, {"Host": "evil.example"})
        assert answer.status == 403, (method, rule)


@pytest.mark.parametrize("who", [None, "open"])
def test_the_server_answers_only_to_its_own_names(new_server: Callable[..., Server], who: str | None) -> None:
    server = new_server(executor="process", hosts="build.example.org").start()
    if who is None:
        add_user(server, "root", "admin")
    job = "/health" if who is None else "/jobs"
    for host in ("evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example"):
        answer = server.get(job, {"Host": host})
        sentence = f"this server does not accept requests for the host '{host}'; add it to RAPIDFLOW_HOSTS"
        assert (answer.status, answer.json) == (403, {"error": sentence})
    for host in (f"localhost:{server.port}", "127.0.0.1", "[::1]:80", "a.localhost", "build.example.org:443",
                 "BUILD.example.org.", socket.gethostname()):  # fmt: skip
        assert server.get(job, {"Host": host}).status == 200, host


def test_kept_details_are_not_for_other_names(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.run({"name": "kept", "steps": ["true"]})["job"]["id"]
    for _ in range(3):
        assert server.get(f"/jobs/{job_id}/details").status == 200
        assert server.get(f"/jobs/{job_id}/details", {"Host": "evil.example"}).status == 403
