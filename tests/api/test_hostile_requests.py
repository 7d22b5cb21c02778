"""What is hostile is answered, and holds nobody up: `no_stalls` fails a test that holds the event loop.

In `make test` each output meets some of the patterns, and each pattern some of the outputs; `make torture`,
which sets TORTURE_CASES, has each meet each.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.hostile import BODIES, HEADERS, OUTPUTS, PATTERNS
from tests.support.repos import Repo
from tests.support.server import Server

_ALL = bool(os.environ.get("TORTURE_CASES"))


@pytest.fixture(scope="module")
def printing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose builds run without containers, for the many that there are here."""
    folder = tmp_path_factory.mktemp("hostile")
    made = Server(folder / "data", executor="process", grace="2s", file_roots=str(folder)).start()
    yield made
    made.stop()


@pytest.mark.parametrize("what", OUTPUTS)
def test_hostile_output_is_read_by_all_pages_and_streams(printing: Server, tmp_path: Path, what: str) -> None:
    output = tmp_path / "output"
    output.write_bytes(OUTPUTS[what])
    build = printing.run({"name": "prints", "steps": [f"cat '{output}'; false"]})
    job_id = build["job"]["id"]
    for page in ("", "/state", "/log/map", "/log/times?start=0&end=1000000", "/log/outline"):
        assert printing.get(f"/ui/jobs/{job_id}{page}").status == 200, page
    place = list(OUTPUTS).index(what)
    some = (PATTERNS[place % len(PATTERNS)], PATTERNS[-1 if b"\r" in OUTPUTS[what] else 0])
    patterns = PATTERNS if _ALL else some
    for search in ("q=x", "q=%C3%A9", *(f"regex=true&q={quote(pattern)}" for pattern in patterns)):
        assert printing.get(f"/ui/jobs/{job_id}/log/search?{search}").status == 200, search
    for query in ("", "tail=100"):
        assert printing.get(f"/jobs/{job_id}/logs/stream?{query}").status == 200
    assert printing.details(job_id)["job"]["status"] == "failed"


@pytest.mark.parametrize("what", OUTPUTS)
def test_hostile_output_before_masks_is_stored(printing: Server, tmp_path: Path, what: str) -> None:
    output = tmp_path / "output"
    output.write_bytes(OUTPUTS[what][: 256 * 1024])
    printing.run({"name": "masks", "steps": [f"echo '::add-mask::xxxxxx'; cat '{output}'"]})


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/1/jobs"])
def test_hostile_bodies_are_refused(printing: Server, what: str, path: str) -> None:
    kind, body = BODIES[what]
    assert printing.request("POST", path, body, {"Content-Type": kind}).status in (
        400,
        403,
        404,
        413,
        415,
        422,
    )


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_answered(printing: Server, name: str) -> None:
    for path in ("/health", "/jobs", "/ui"):
        assert printing.get(path, {name: HEADERS[name]}).status < 500


def test_hostile_targets_are_answered(printing: Server) -> None:
    for target in (
        "/" + "jobs/" * 1500,
        "/jobs?" + "a&" * 3000,
        "/ui/" + "%2e" * 2000,
        "/jobs/" + "9" * 6000,
    ):
        connection = http.client.HTTPConnection("127.0.0.1", printing.port, timeout=60)
        connection.request("GET", target)
        assert connection.getresponse().status < 500
        connection.close()


def test_a_hostile_repository_is_built(printing: Server) -> None:
    repo = Repo(printing.data.parent / "repo")
    repo.commit({f"{n:02}{'No ' * 80}": "x" for n in range(30)}, "\r" * 1000 + "\x1b[31m" * 100)
    printing.run({"name": "repo", "repo_name": repo.url, "steps": ["ls"]})
