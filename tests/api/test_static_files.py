"""Styles, scripts and icons: browsers keep them, and take none of another version from their cache."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from rapidflow_web.web import assets
from tests.support.headers import assert_safe
from tests.support.server import Server

FOR_GOOD = "public, max-age=31536000, immutable"
FOR_HALF_A_DAY = "public, max-age=43200"
NAMED = "/static/js/page.js"
OLD = "/static/0123456789abcdef/js/page.js"


def addresses(server: Server) -> set[str]:
    """Those of the styles and scripts of a page."""
    page = server.get("/ui/pipelines/new").text
    return set(re.findall(r'(?:href|src)="([^"]+\.(?:css|js))"', page))


def test_a_browser_keeps_styles_and_scripts_for_good(server: Server) -> None:
    named = addresses(server)
    assert len(named) > 10
    for address in named:
        answer = server.get(address)
        _, root, digest, name = address.split("/", 3)
        assert (answer.status, root, answer.headers["cache-control"]) == (200, "static", FOR_GOOD)
        assert re.fullmatch("[0-9a-f]{16}", digest)
        assert answer.body == (assets.folder("static") / name).read_bytes()
        assert answer.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
        assert_safe(answer, address)


def test_what_a_browser_has_already_is_not_sent_again(server: Server) -> None:
    address = addresses(server).pop()
    whole = server.get(address)
    for etag in (whole.headers["etag"], f'"another", W/{whole.headers["etag"]}', "*"):
        again = server.get(address, {"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == whole.headers["etag"]
        assert_safe(again, etag)
    assert server.get(address, {"If-None-Match": '"another"'}).body == whole.body


def test_a_head_request_has_the_headers_alone(server: Server) -> None:
    address = addresses(server).pop()
    whole, head = server.get(address), server.request("HEAD", address)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    known = server.request("HEAD", address, headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status, known.body) == (304, b"")


def test_conditions_and_ranges_count_where_an_address_has_no_digest(server: Server) -> None:
    whole = server.get(NAMED)
    assert (whole.status, whole.headers["cache-control"]) == (200, FOR_HALF_A_DAY)
    part = server.get(NAMED, {"Range": "bytes=0-9"})
    assert (part.status, part.body) == (206, whole.body[:10])
    since = server.get(NAMED, {"If-Modified-Since": part.headers["last-modified"]})
    assert (since.status, since.body) == (304, b"")
    assert server.get("/static/vendor/htmx-LICENSE").status == 200


def test_an_address_with_a_digest_always_has_the_whole_file(server: Server) -> None:
    for address in (addresses(server).pop(), OLD):
        whole = server.get(address)
        for headers in ({"Range": "bytes=0-9"}, {"If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"}):
            answer = server.get(address, headers)
            assert (answer.status, answer.body) == (200, whole.body)
            assert answer.headers["cache-control"] == whole.headers["cache-control"]


def test_what_is_not_there_is_not_found(server: Server) -> None:
    address = addresses(server).pop()
    for path in ("/static/", "/static/js", f"{address}x", f"{address}/x", "/static/js%2Fpage.js%00"):
        assert server.get(path).status == 404, path
    assert server.post(address).status == 405


def test_no_other_name_of_the_server_is_answered(server: Server) -> None:
    for address in (addresses(server).pop(), NAMED, OLD):
        for method in ("GET", "HEAD"):
            assert server.request(method, address, headers={"Host": "evil.example"}).status == 403


def test_a_page_that_was_open_during_an_upgrade_gets_what_it_asks_for(server: Server) -> None:
    old = server.get(OLD)
    assert old.body == (assets.folder("static") / "js/page.js").read_bytes()
    assert old.headers["cache-control"] == "private, no-store"
    assert server.get(OLD, {"If-None-Match": old.headers["etag"]}).status == 304


def test_another_version_has_other_addresses(tmp_path: Path) -> None:
    checkout = Path(__file__).parents[2]
    for folder in ("rapidflow_web", "static"):
        shutil.copytree(checkout / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))

    def named() -> str:
        script = "from rapidflow_web.web import static_files; print(static_files.address('js/page.js'))"
        return subprocess.check_output([sys.executable, "-c", script], cwd=tmp_path, text=True)

    before = named()
    assert named() == before
    with (tmp_path / "static/css/base.css").open("a") as changed:
        changed.write("\n")
    assert named() != before
