"""What a program makes of the OpenAPI document alone: every border of every parameter, on a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.accounts.roles import Role
from rapidflow_web.web.route_roles import ROLES
from tests.support import ids_that_exist
from tests.support.ids_that_exist import MADE_BEFORE
from tests.support.server import Server
from tests.support.users import add_user, as_, token_of

_ROLES = ("anyone", "viewer", "builder", "admin")
_CASES = int(os.environ.get("TORTURE_CASES", "0")) // len(_ROLES)
"""How many requests are made up for each role; without, only those at the borders."""
_AT_THE_BORDERS = 500
"""Fewer than the requests at the borders are."""


def schemathesis(
    document: bytes, url: str, folder: Path, *options: str, cases: int = 0
) -> subprocess.CompletedProcess[str]:
    """Asks the server at `url` what can be made of the document; the requests are in `folder`/har.json."""
    (folder / "openapi.json").write_bytes(document)
    calls = sum(len(item) for item in json.loads(document)["paths"].values())
    command = [
        str(Path(sys.executable).with_name("st")), "run", "openapi.json", "--url", url,
        "--phases", "coverage,fuzzing" if cases else "coverage",
        # Some calls have few different requests, but those at the borders come on top.
        "--max-examples", str(cases // calls + 1), "--seed", "1",
        "--checks", "all", "--request-timeout", "60", "--no-color", "--continue-on-failure",
        "--report", "har", "--report-har-path", "har.json",
        # What YAML text and which state of a job will do can't be said in a schema.
        "--exclude-checks", "positive_data_acceptance", *options,
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": ids_that_exist.__file__}
    return subprocess.run(command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True)


def answers(document: Any, folder: Path) -> Counter[tuple[str, str, int]]:
    """How often which call was answered with which status."""
    calls = [
        (method.upper(), path, re.compile(re.sub(r"{\w+}", "[^/]+", path)))
        for path, item in document["paths"].items()
        for method in item
    ]
    found: Counter[tuple[str, str, int]] = Counter()
    for entry in json.loads((folder / "har.json").read_text())["log"]["entries"]:
        asked = re.sub(r"^https?://[^/]*|[?#].*", "", entry["request"]["url"])
        for method, path, pattern in calls:
            if method == entry["request"]["method"] and pattern.fullmatch(asked):
                found[method, path, entry["response"]["status"]] += 1
    return found


@pytest.mark.parametrize("role", _ROLES)
def test_no_request_that_can_be_made_of_the_document_gets_an_answer_that_is_not_in_it(
    new_server: Callable[..., Server], tmp_path: Path, role: str
) -> None:
    server = new_server(executor="process").start()
    for number in range(MADE_BEFORE):
        server.run({"name": "for requests", "steps": ["echo some output", f"exit {number % 2}"]})
    # There are always administrators besides the one who asks: without any, anybody is let in.
    for name in ("root", "other", "tester", "last"):
        add_user(server, name, role if name == "tester" and role != "anyone" else "admin")
    tokens = {name: token_of(server, name) for name in ("root", "other", "tester", "last")}
    document = server.get("/openapi.json", as_(tokens["root"])).body
    headers = [] if role == "anyone" else ["--header", f"Authorization: Bearer {tokens['tester']}"]
    done = schemathesis(document, server.url, tmp_path, *headers, cases=_CASES)
    assert done.returncode == 0, done.stdout
    tested = re.search(r"Test cases:\s+(\d+) generated, (\d+) passed", done.stdout)
    assert tested is not None and tested[1] == tested[2]
    assert int(tested[1]) >= max(_CASES, _AT_THE_BORDERS)
    assert "Traceback" not in server.log.read_text()
    found = answers(json.loads(document), tmp_path)
    print(f"{role}: {tested[1]} cases, by status {Counter(status for *_, status in found.elements())}")
    assert all(status < 500 for *_, status in found)
    for method, path in {(method, path) for method, path, _ in found}:
        statuses = {status for *call, status in found if call == [method, path]}
        needed = ROLES[method, re.sub(r"{(\w+)}", r"<\1>", path)]
        if needed is not None and (role == "anyone" or Role[role.upper()] < needed):
            assert min(statuses) >= 400 and statuses & {401, 403}, path
        elif _CASES and method == "GET":
            assert min(statuses) < 400, path


@contextmanager
def answering(planted: str, status: int) -> Generator[str]:
    """A server that answers 401 to everything but `planted`, to which it answers `status`; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": "planted"}'
            self.send_response(status if self.path.startswith(planted) else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "reason"), [(401, None), (500, "Server error"), (402, "Undocumented status code")]
)
def test_a_wrong_answer_would_be_found(
    server: Server, tmp_path: Path, status: int, reason: str | None
) -> None:
    document = json.loads(server.get("/openapi.json").body)
    document["paths"] = {path: document["paths"][path] for path in ("/audit", "/me")}
    with answering("/audit", status) as url:
        # The server does not know which methods there are.
        options = ("--exclude-checks", "positive_data_acceptance,unsupported_method", "--mode", "positive")
        done = schemathesis(json.dumps(document).encode(), url, tmp_path, *options)
    assert (done.returncode == 0) == (reason is None), done.stdout
    if reason is not None:
        assert reason in done.stdout and "GET /audit" in done.stdout
