"""What a program makes of the OpenAPI document alone: every border of every parameter, on a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.accounts.roles import Role
from rapidflow_web.web.route_roles import ROLES
from tests.support import ids_that_exist
from tests.support.ids_that_exist import MADE_BEFORE
from tests.support.repos import Repo
from tests.support.repositories import add, definition, push
from tests.support.server import Server
from tests.support.users import add_user, as_, token_of

_ROLES = ("anyone", "viewer", "builder", "admin")
_CASES = int(os.environ.get("TORTURE_CASES", "0")) // len(_ROLES)
"""How many requests are made up for each role; without, only those at the borders.

Then administrators alone ask what is not valid, too: who may ask something at all is checked before what is
asked, and answered for all roles by the same code.
"""
_GUESSED_BY_NOBODY = ("/pipelines/{pipeline_id}/explain",)
"""What is asked about a commit."""
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
    new_server: Callable[..., Server], repos: Path, tmp_path: Path, role: str
) -> None:
    server = new_server(executor="process").start()
    for number in range(MADE_BEFORE):
        server.run({"name": "for requests", "steps": ["echo some output", f"exit {number % 2}"]})
        if _CASES:  # requests at the borders rarely find what is there
            repo = Repo(repos / f"requests-{role}-{number}")
            repo.commit({".rapidflow.yml": definition(f"of repository {number}")})
            added = add(server, repo)
            repo.commit({"pushed": "yes"})
            push(server, added["id"], repo)
    # There are always administrators besides the one who asks: without any, anybody is let in.
    for name in ("root", "other", "tester", "last"):
        add_user(server, name, role if name == "tester" and role != "anyone" else "admin")
    tokens = {name: token_of(server, name) for name in ("root", "other", "tester", "last")}
    document = server.get("/openapi.json", as_(tokens["root"])).body
    headers = [] if role == "anyone" else ["--header", f"Authorization: Bearer {tokens['tester']}"]
    all_borders = bool(_CASES) or role == "admin"
    mode = ("--mode", "all" if all_borders else "positive")
    done = schemathesis(document, server.url, tmp_path, *headers, *mode, cases=_CASES)
    assert done.returncode == 0, done.stdout
    tested = re.search(r"Test cases:\s+(\d+) generated, (\d+) passed", done.stdout)
    assert tested is not None and tested[1] == tested[2]
    assert int(tested[1]) >= max(_CASES, _AT_THE_BORDERS if all_borders else 0)
    assert "Traceback" not in server.log.read_text()
    found = answers(json.loads(document), tmp_path)
    print(f"{role}: {tested[1]} cases, by status {Counter(status for *_, status in found.elements())}")
    assert all(status < 500 for *_, status in found)
    paths = json.loads(document)["paths"]
    assert {call[:2] for call in found} == {(one.upper(), path) for path in paths for one in paths[path]}
    for method, path in {(method, path) for method, path, _ in found}:
        statuses = {status for *call, status in found if call == [method, path]}
        needed = ROLES[method, re.sub(r"{(\w+)}", r"<\1>", path)]
        if needed is not None and (role == "anyone" or Role[role.upper()] < needed):
            assert min(statuses) >= 400 and statuses & {401, 403}, path
        elif _CASES and method == "GET" and path not in _GUESSED_BY_NOBODY:
            assert min(statuses) < 400, path


@contextmanager
def answering(planted: Mapping[str, int]) -> Generator[str]:
    """A server that answers 401 to everything but what is `planted`, with a status each; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": "planted"}'
            self.send_response(planted.get(self.path.partition("?")[0], 401))
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


@pytest.mark.parametrize("planted", [{}, {"/audit": 500, "/me": 402}], ids=["none", "two"])
def test_a_wrong_answer_would_be_found(server: Server, tmp_path: Path, planted: dict[str, int]) -> None:
    document = json.loads(server.get("/openapi.json").body)
    document["paths"] = {path: document["paths"][path] for path in ("/audit", "/me")}
    with answering(planted) as url:
        # The server does not know which methods there are.
        options = ("--exclude-checks", "positive_data_acceptance,unsupported_method", "--mode", "positive")
        done = schemathesis(json.dumps(document).encode(), url, tmp_path, *options)
    assert (done.returncode == 0) == (not planted), done.stdout
    assert bool(planted) == ("Server error" in done.stdout and "GET /audit" in done.stdout)
    assert bool(planted) == ("Undocumented status code" in done.stdout and "GET /me" in done.stdout)
