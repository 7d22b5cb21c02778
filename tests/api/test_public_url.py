"""A server below a path of a proxy: every address that it sends has the path, and it takes both forms."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rapidflow_web.public_url import parse_public_url
from tests.support.prefix_proxy import PrefixProxy
from tests.support.server import Answer, Server
from tests.support.users import PASSWORD, add_user, as_, token_of

PREFIX = "/team/rapidflow"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Ask = Callable[..., Answer]


class Addresses(HTMLParser):
    """The addresses in a page by what they are for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.every: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and value.startswith("/") and name != "title":
                self.every.add(value)
                if name in ("href", "src", "hx-get"):
                    self.links.add(value)


class Seen:
    """The server as it is seen through its proxy."""

    def __init__(self, server: Server, proxy: PrefixProxy) -> None:
        self.server, self.proxy = server, proxy
        self.cookie: dict[str, str] = {}

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        through = Server(self.server.data)
        through.port = self.proxy.port
        return through.request(method, path, body, {**self.cookie, **headers})

    def beside(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """The same, asked of the server itself."""
        return self.server.request(method, path, body, headers)


@pytest.fixture(scope="module", params=["stripped", "as it is"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    proxy = PrefixProxy(PREFIX, strip=request.param == "stripped")
    folder = tmp_path_factory.mktemp("public")
    server = Server(folder / "data", executor="process", public_url=f"{proxy.url}/").start()
    proxy.lead_to(server.port)
    for _ in range(2):
        server.run({"name": "a build", "steps": ["echo out"]})
    add_user(server, "root", "admin")
    yield Seen(server, proxy)
    proxy.close()
    server.stop()


def test_the_ready_message_names_the_url_of_browsers(seen: Seen) -> None:
    assert f"RapidFlow Web is ready: {seen.proxy.url} (here {seen.server.url})" in seen.server.log.read_text()


def test_a_login_leads_on_below_the_path(seen: Seen) -> None:
    page = seen.request("GET", f"{PREFIX}/ui/users")
    assert (page.status, page.headers["location"]) == (303, f"{PREFIX}/login?next=%2Fui%2Fusers")
    part = seen.request("GET", f"{PREFIX}/ui/overview", **{"HX-Request": "true"})
    assert (part.status, part.headers["hx-redirect"]) == (401, f"{PREFIX}/login")
    here = {"HX-Request": "true", "HX-Current-URL": f"{seen.proxy.url}/ui/builds?status=failed"}
    part = seen.request("GET", f"{PREFIX}/ui/builds/list", **here)
    assert part.headers["hx-redirect"] == f"{PREFIX}/login?next=%2Fui%2Fbuilds%3Fstatus%3Dfailed"
    form = f"name=root&password={PASSWORD.replace(' ', '+')}&next=%2Fui%2Fusers"
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(seen.proxy.url))
    own = {**FORM, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    done = seen.request("POST", f"{PREFIX}/login", form, **own)
    assert (done.status, done.headers["location"]) == (303, f"{PREFIX}/ui/users")
    cookie = done.headers["set-cookie"]
    assert f"Path={PREFIX};" in f"{cookie};" and "Secure" not in cookie
    foreign = seen.request("POST", f"{PREFIX}/login", form, **{**FORM, "Origin": "https://evil.example"})
    assert foreign.status == 403
    seen.cookie = {"Cookie": cookie.partition(";")[0]}


def test_every_address_in_every_page_has_the_path_and_leads_somewhere(seen: Seen) -> None:
    waiting, known = [f"{PREFIX}/"], {f"{PREFIX}/"}
    while waiting:
        path = waiting.pop()
        answer = seen.request("GET", path)
        assert answer.status in (200, 303), path
        assert answer.headers.get("location", PREFIX).startswith(PREFIX)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        found = Addresses(answer.text)
        assert [one for one in found.every if not one.startswith(f"{PREFIX}/")] == [], path
        fresh = {one.partition("#")[0] for one in found.links} - known
        known |= fresh
        waiting += fresh
    pages = {one.removeprefix(PREFIX).partition("?")[0] for one in known}
    assert {"/ui/jobs/1", "/ui/pipelines/1", "/ui/pipelines/new", "/ui/users", "/ui/audit", "/ui/secrets",
            "/ui/account", "/ui/api", "/openapi.json", "/jobs/1/logs/stream"} <= pages  # fmt: skip
    missing = seen.request("GET", f"{PREFIX}/ui/jobs/99")
    assert missing.status == 404 and f'href="{PREFIX}/"' in missing.text


def test_scripts_have_no_address_of_their_own() -> None:
    root = Path(__file__).parent.parent.parent / "static"
    for script in root.glob("js/**/*.js"):
        for quote in "\"'`":
            for word in ("ui/", "static/", "jobs", "pipelines", "login"):
                assert f"{quote}/{word}" not in script.read_text(), script
    for sheet in root.glob("css/*.css"):
        assert "url(/" not in sheet.read_text() and 'url("/' not in sheet.read_text(), sheet


def test_the_api_names_addresses_below_the_path(seen: Seen) -> None:
    token = as_(token_of(seen.server, "root"))
    origins = {"through the proxy": (seen.request, PREFIX), "beside it": (seen.beside, "")}
    for ask, base in origins.values():

        def asked(
            method: str, path: str, body: str | None = None, ask: Ask = ask, base: str = base, **headers: str
        ) -> Answer:
            return ask(method, base + path, body, **token, **headers)

        made = asked("POST", "/pipelines", "name: x\nsteps: [a]\n", **{"Content-Type": "application/yaml"})
        assert made.headers["location"] == f"{PREFIX}/pipelines/{made.json['id']}"
        listed = asked("GET", "/jobs?limit=1")
        assert listed.headers["link"] == f'<{PREFIX}/jobs?limit=1&before=2>; rel="next"'
        followed = seen.request("GET", listed.headers["link"][1:].partition(">")[0], **token)
        assert [job["id"] for job in followed.json] == [1]
        assert asked("GET", "/openapi.json").json["servers"] == [{"url": seen.proxy.url}]
    assert seen.request("GET", PREFIX, **token).status == 200


def test_commands_that_are_shown_work_through_the_proxy(seen: Seen) -> None:
    token = token_of(seen.server, "root")
    page = seen.request("GET", f"{PREFIX}/ui/jobs/1", **as_(token)).text
    assert f"rapidflow --url {seen.proxy.url} logs -f 1" in page
    assert f"{seen.proxy.url}/jobs/1/logs/stream?follow=true" in page
    done = subprocess.run(
        [sys.executable, "-m", "rapidflow_web", "--url", seen.proxy.url, "logs", "-f", "1"],
        env={"PATH": "/usr/bin:/bin", "RAPIDFLOW_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "") and "out\n" in done.stdout


def test_a_whole_address_as_a_target_is_taken_like_its_path(seen: Seen) -> None:
    for prefix in (PREFIX, ""):
        for host, named in (
            ("localhost", "localhost"),
            ("localhost:80", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", seen.server.port, timeout=30)
            connection.putrequest("GET", f"http://{named}{prefix}/login?next=%2Fui", skip_host=True)
            connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            page = answer.read().decode()
            connection.close()
            assert (answer.status, 'value="/ui"' in page) == (200, True), (prefix, host)


@pytest.mark.parametrize(
    ("public", "host", "link"),
    [
        ("", "127.0.0.1", "localhost"),
        ("", "127.0.0.1:3000", "localhost"),
        ("", "LOCALHOST", "127.0.0.1"),
        ("", "ci.localhost:3000", "127.0.0.1"),
        ("http://127.0.0.1:8000/ci", "localhost:3000", "build.localhost"),
        ("http://localhost:8000/ci", "127.0.0.1", "build.localhost"),
        ("https://ci.example.com", "ci.example.com", "127.0.0.1"),
    ],
)
def test_no_port_of_a_build_is_linked_by_a_name_that_browsers_have_a_session_for(
    ported: Callable[[str], Server], public: str, host: str, link: str
) -> None:
    page = ported(public).get("/ui/jobs/1", {"Host": host}).text
    assert f'href="http://{link}:32768"' in page


@pytest.fixture(scope="module")
def ported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Starts a server with a public URL, and with a build that has a port."""
    started: dict[str, Server] = {}

    def start(public: str) -> Server:
        if public not in started:
            server = Server(tmp_path_factory.mktemp("ported") / "data", executor="process")
            server.set(public_url=public)
            started[public] = server.start()
            server.run({"name": "a", "steps": ["true"]})
            server.sql("""UPDATE job SET ports = '{"8080": "127.0.0.1:32768"}'""")
        return started[public]

    yield start
    for server in started.values():
        server.stop()


def test_behind_tls_cookies_are_secure_and_the_name_is_known(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", public_url="https://ci.example.com/rapidflow").start()
    add_user(server, "root", "admin")
    form = f"name=root&password={PASSWORD.replace(' ', '+')}"
    headers = {**FORM, "Host": "ci.example.com", "Origin": "https://ci.example.com"}
    done = server.request("POST", "/login", form, headers)
    assert done.status == 303
    cookie = done.headers["set-cookie"]
    assert "Secure" in cookie and "Path=/rapidflow;" in f"{cookie};"
    left = server.request("POST", "/logout", None, headers)
    assert "Path=/rapidflow;" in f"{left.headers['set-cookie']};"
    assert server.get("/health", {"Host": "ci.example.com:8443"}).status == 200
    assert server.get("/health", {"Host": "example.com"}).status == 403


@pytest.mark.parametrize("path", ["/ui", "/jobs", "/static/x", "/pipelines", "/login"])
def test_a_path_that_hides_pages_of_the_server_is_refused(
    new_server: Callable[..., Server], path: str
) -> None:
    done = new_server(executor="process", public_url=f"https://ci.example.com{path}").command("serve")
    assert done.returncode == 2
    assert f"RAPIDFLOW_PUBLIC_URL has the path '{path}', and the server itself has pages at" in done.stderr


def test_a_public_url_is_read_strictly() -> None:
    assert parse_public_url("") is None
    whole = parse_public_url("https://CI.example.com:8443/a/b/")
    assert whole is not None
    assert (str(whole), whole.name, whole.path) == (
        "https://ci.example.com:8443/a/b",
        "ci.example.com",
        "/a/b",
    )
    bare = parse_public_url("http://[::1]:3000")
    assert bare is not None and (bare.path, bare.name, bare.origin) == ("", "[::1]", "http://[::1]:3000")
    # As browsers name an origin, or every form would be refused as that of another website.
    for written, origin in (
        ("https://ci.example.com:443/a", "https://ci.example.com"),
        ("http://ci.example.com:80/a", "http://ci.example.com"),
        ("http://ci.example.com:443/a", "http://ci.example.com:443"),
    ):
        url = parse_public_url(written)
        assert url is not None and url.origin == origin
    for wrong in (
        "ci.example.com",
        "ftp://x",
        "https://",
        "https://x/?a",
        "https://x/#a",
        "https://u@x/",
        "https://x//y",
        "https://x/../y",
        "https://x/<y>",
        "https://x/a b",
        "https://x\n",
    ):
        with pytest.raises(ValueError, match="write it like"):
            parse_public_url(wrong)
