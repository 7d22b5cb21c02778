"""What a program makes of the OpenAPI document alone: every border of every parameter, on a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.users import add_user, token_of

_CASES = int(os.environ.get("TORTURE_CASES", "0"))
"""How many requests are made up besides those at the borders."""
_CALLS = 37


@pytest.mark.parametrize("role", ["anyone", "viewer", "builder", "admin"])
def test_no_request_that_can_be_made_of_the_document_gets_an_answer_that_is_not_in_it(
    new_server: Callable[..., Server], tmp_path: Path, role: str
) -> None:
    server = new_server(executor="process").start()
    for code in ("0", "1"):
        server.run({"name": "for requests", "steps": ["echo some output", f"exit {code}"]})
    # The administrator stays: without one, anybody is let in.
    add_user(server, "root", "admin")
    add_user(server, "tester", "viewer" if role == "anyone" else role)
    headers = [] if role == "anyone" else ["--header", f"Authorization: Bearer {token_of(server, 'tester')}"]
    document = server.get("/openapi.json", {"Authorization": f"Bearer {token_of(server, 'root')}"})
    (tmp_path / "openapi.json").write_bytes(document.body)
    phases = "coverage,fuzzing" if _CASES else "coverage"
    command = [
        str(Path(sys.executable).with_name("st")), "run", str(tmp_path / "openapi.json"), "--url", server.url,
        "--phases", phases, "--max-examples", str(max(1, _CASES // 4 // _CALLS)), "--seed", "1",
        "--checks", "all", "--request-timeout", "60", "--no-color", *headers,
        # What YAML text and which state of a job will do can't be said in a schema.
        "--exclude-checks", "positive_data_acceptance",
        # Either would take the rights away with which the rest is asked.
        "--exclude-path", "/users/{user_id}", "--exclude-path", "/tokens/{token_id}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) == _CALLS
    assert "Traceback" not in server.log.read_text()
