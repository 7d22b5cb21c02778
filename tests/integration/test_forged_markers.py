"""Steps that print what only the agent should: they know the nonce from its copy of the output."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server

NONCE = (
    'nonce=$(head -c 33 "$RAPIDFLOW_WORKSPACE/../rapidflow/log" | tail -c 32); '
    'forge() { printf \'\\036%s %s\\n\' "$nonce" "$1"; }; '
)


@pytest.fixture(params=["docker", "process"])
def server(request: pytest.FixtureRequest, new_server: Callable[..., Server]) -> Server:
    """A running server with either executor."""
    return new_server(executor=request.param, grace="1s").start()


@pytest.mark.parametrize("words", ["x", "sync 1 1 1"])
def test_a_flood_of_forged_markers_ends_the_build_with_the_reason(server: Server, words: str) -> None:
    job_id = server.start_job({"name": "forger", "steps": [f'{NONCE} yes "$(forge "{words}")"']})
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == (
        "step 1 (bash) printed over 1000 of the markers by which the agent of the build speaks to the "
        "server; a step must not print what it reads in /rapidflow"
    )
    assert details["steps"][0]["output"] == ""
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_forged_markers_with_words_for_numbers_are_no_news(server: Server) -> None:
    forged = [
        "sync one two three", "sync", "sync 1", "sync 1 2", "sync 1 -1 0", "sync 1 0 1e3", "sync 1 0 \\xb2",
        "sync 1 0 99999999999999999999", "exit", "exit 1", "exit 1 x", "exit one 0", "exit 1 256",
        "exit 1 -1", "exit 1 9999999999", "exit 2 0", "start", "start one", "unpacked", "unpacked x",
        "ready", "ready \\xff", "\\xff",
    ]  # fmt: skip
    script = NONCE + "; ".join(f"forge $'{words}'" for words in forged)
    details = server.run({"name": "forger", "steps": [f"{script}; echo one", "echo two"]})
    assert details["job"]["error"] is None
    assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]
    assert "Traceback" not in server.log.read_text()
