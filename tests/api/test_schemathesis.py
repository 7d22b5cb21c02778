"""What a program makes of the OpenAPI document alone: every border of every parameter, on a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.server import Server


def test_no_request_that_can_be_made_of_the_document_gets_an_answer_that_is_not_in_it(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    for code in ("0", "1"):
        server.run({"name": "for requests", "steps": ["echo some output", f"exit {code}"]})
    command = [
        str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json",
        "--phases", "coverage", "--seed", "1", "--checks", "all", "--request-timeout", "60", "--no-color",
        # What YAML text and which state of a job will do can't be said in a schema.
        "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Tested: 23" in done.stdout
    assert "Traceback" not in server.log.read_text()
