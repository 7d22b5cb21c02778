"""The audit of dependencies, against a service of advisories on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import free_port

ROOT = Path(__file__).parents[2]
KNOWS = {("jinja2", "2.10"): ["GHSA-462w-v97r-4m45"]}
Advisories = dict[tuple[str, str], list[str]]


@pytest.fixture
def service() -> Iterator[Callable[[Any], str]]:
    """Starts a service that knows some advisories, or sends what it is given; returns its URL."""
    started: list[tuple[HTTPServer, threading.Thread]] = []

    def start(knows: Advisories | bytes) -> str:
        class Service(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
                body = knows if isinstance(knows, bytes) else answer(asked, knows)
                self.send_response(404 if body == b"not found" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Service)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(asked: list[Any], knows: Advisories) -> bytes:
    """What the public service says, in its own form."""
    found = [knows.get((query["package"]["name"], query["version"]), []) for query in asked]
    assert all(query["package"]["ecosystem"] == "PyPI" for query in asked)
    results = [{"vulns": [{"id": one, "modified": "2026"} for one in ids]} if ids else {} for ids in found]
    return json.dumps({"results": results}).encode()


def audit(url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.audit", "--service", url, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_pin_with_a_known_vulnerability_fails_the_audit(service: Callable[[Any], str], tmp_path: Path):
    pins = tmp_path / "requirements.txt"
    pins.write_text("# Made by hand\nJinja2==2.10\nPrometheus_Client==1.0 ; python_version > '3'\n")
    done = audit(service({**KNOWS, ("prometheus-client", "1.0"): ["B-2", "A-1"]}), pins)
    assert done.returncode == 1
    assert done.stdout == (
        "jinja2 2.10 has known vulnerabilities: GHSA-462w-v97r-4m45\n"
        "prometheus-client 1.0 has known vulnerabilities: A-1, B-2\n"
    )
    assert "Pin versions without them (make pins), or give the reason" in done.stderr


def test_every_pin_of_ours_is_asked_for(service: Callable[[Any], str]):
    url = service({**KNOWS, ("quart", version("quart", "requirements.txt")): ["PYSEC-1"],
                   ("pytest", version("pytest", "requirements-dev.txt")): ["PYSEC-2"]})  # fmt: skip
    done = audit(url)
    assert done.returncode == 1
    assert "PYSEC-1" in done.stdout and "PYSEC-2" in done.stdout


def version(name: str, file: str) -> str:
    """The version that a file of ours pins."""
    (line,) = [
        line for line in (ROOT / file).read_text().splitlines() if line.lower().startswith(f"{name}==")
    ]
    return line.partition("==")[2]


def test_pins_without_a_known_vulnerability_pass_and_an_accepted_one_does_too(
    service: Callable[[Any], str], tmp_path: Path
):
    pins, accepted = tmp_path / "requirements.txt", tmp_path / "accepted"
    pins.write_text("quart==0.22.0\n")
    accepted.write_text("# PYSEC-2 is not\nPYSEC-1 is only about Windows\n")
    done = audit(service(KNOWS), "--accepted", accepted, pins)
    assert (done.returncode, done.stdout) == (
        0,
        "1 pins have no vulnerability that is known and not accepted.\n",
    )
    found = {**KNOWS, ("quart", "0.22.0"): ["PYSEC-1", "PYSEC-2"]}
    done = audit(service(found), "--accepted", accepted, pins)
    assert (done.returncode, done.stdout) == (1, "quart 0.22.0 has known vulnerabilities: PYSEC-2\n")


@pytest.mark.parametrize(
    "said", [b"not found", b"<html>", b"{}", b'{"results": [{}]}', b"[]", b'{"results": 1}']
)
def test_a_service_that_gives_no_answer_is_no_good_news_and_no_failure(
    service: Callable[[Any], str], said: bytes
):
    done = audit(service(said))
    assert done.returncode == 0
    assert done.stdout.startswith("Not audited: the service of advisories gave no answer (")
    assert done.stdout.count("\n") == 1


def test_a_service_that_is_not_there_or_knows_nothing_is_none_either(service: Callable[[Any], str]):
    done = audit(f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout[:12]) == (0, "Not audited:")
    done = audit(service({}))
    assert done.returncode == 0
    assert done.stdout == (
        "Not audited: the service knows of nothing against jinja2 2.10, so it knows nothing.\n"
    )


def test_what_others_wrote_for_browsers_is_what_was_recorded():
    folder = ROOT / "static" / "vendor"
    recorded = {line.split()[1]: line.split()[0] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    assert recorded == scripts
    pages = "".join(path.read_text() for path in (ROOT / "templates").rglob("*.html"))
    for name in scripts:
        library, _, release = name.removesuffix(".min.js").partition("-")
        assert release.replace(".", "").isdigit() and f"vendor/{name}" in pages
        assert (folder / f"{library}-LICENSE").exists()
