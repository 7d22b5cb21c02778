"""Secrets are nowhere in what a build prints, says or does, however it comes by them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.leaks import holding
from tests.support.resuming import ResumingFollower
from tests.support.server import Server, wait_for

TOKEN = "hunter2/correct+horse=staple"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----"
BYTE_BY_BYTE = 'for ((i = 0; i < ${#TOKEN}; i++)); do printf %s "${TOKEN:i:1}"; sleep 0.005; done; echo'


@pytest.fixture(params=["docker", "process"])
def server(request: pytest.FixtureRequest, new_server: Callable[..., Server]) -> Server:
    """A running server with either executor that has two secrets."""
    server = new_server(executor=request.param).start()
    store(server, TOKEN=TOKEN, KEY=KEY)
    return server


def store(server: Server, **secrets: str) -> None:
    for name, value in secrets.items():
        answer = server.request(
            "PUT", f"/secrets/{name}", json.dumps({"value": value}), {"Content-Type": "application/json"}
        )
        assert answer.status == 200, answer.text


def config(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"name": "masked", "secrets": ["TOKEN", "KEY"], "steps": list(steps), **more}


def outputs(details: dict[str, Any]) -> list[str]:
    return [step["output"] for step in details["steps"]]


def assert_nowhere(server: Server, job_id: int, *fragments: str) -> None:
    """None of the fragments is in anything that anybody is shown of a job."""
    steps = [step["id"] for step in server.details(job_id)["steps"]]
    for path in (
        f"/jobs/{job_id}/details", f"/jobs/{job_id}/logs", f"/jobs/{job_id}/logs/stream",
        f"/jobs/{job_id}/timeline", f"/jobs/{job_id}", f"/ui/jobs/{job_id}", "/jobs",
        *(f"/steps/{step}/logs" for step in steps),
    ):  # fmt: skip
        answer = server.get(path)
        assert answer.status == 200, path
        assert not [fragment for fragment in fragments if fragment in answer.text], path
    # The agent's own copy of what was printed goes with the build.
    wait_for(lambda: not list((server.data / "work").iterdir()), "the build's folder is removed")
    assert [file for file in holding(server.data, *fragments) if "mirrors" not in file.parts] == []


def test_a_secret_is_masked_in_every_form_and_on_every_way_out(server: Server) -> None:
    encoded = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    details = server.run(
        config(
            'echo "$TOKEN"; echo "<$TOKEN>" >&2; printf %s "$TOKEN"',
            {"content": "cat said.txt", "files": {"said.txt": f"{quote(TOKEN, '')} {json.dumps(KEY)}\n"}},
            f"echo {encoded}",
            'set -x; test -n "$TOKEN"',
            'echo "$KEY"',
            'echo "$KEY" | while read -r line; do echo "  $line"; done; printf \'%s\\r\\n\' "$TOKEN"',
            f"{BYTE_BY_BYTE}; {BYTE_BY_BYTE} >&2",
        )
    )
    assert details["job"]["status"] == "success"
    one, two, three, four, five, six, seven = outputs(details)
    assert one == "***\n<***>\n***"
    assert two == '*** "***"\n'
    assert "***" in three and not [n for n in range(len(encoded) - 11) if encoded[n + 6 : n + 12] in three]
    assert four == "+ test -n ***\n"
    assert five == "***\n"
    assert six == "  ***\n  ***\n  ***\n  ***\n***\r\n"
    assert seven == "***\n***\n"
    job_id = details["job"]["id"]
    stream = server.stream(job_id)
    assert TOKEN not in stream and "BEGIN KEY" not in stream and encoded[8:-4] not in stream


def test_a_secret_that_two_steps_share_reaches_neither_output(server: Server) -> None:
    first, second = TOKEN[:14], TOKEN[14:]
    late = '(until [ -e go ]; do sleep 0.02; done; printf %s "${TOKEN:14}"; touch gone) &'
    details = server.run(
        config(
            f'{late} printf "a %s" "${{TOKEN:0:14}}"',
            "touch go; until [ -e gone ]; do sleep 0.02; done; echo; echo b",
        )
    )
    assert outputs(details) == ["a ***", "***\nb\n"]
    assert_nowhere(server, details["job"]["id"], first, second)


def test_what_a_step_adds_is_masked_from_there_on_for_every_step(server: Server) -> None:
    details = server.run(
        config(
            'value=made-up-$((6 * 7)); echo "$value"; echo "::add-mask::$value"; echo "it is $value"',
            "printf made-up-$((6 * 7)) | base64",
            "echo ::add-mask::of-two%0Alines; echo two-of-them; printf 'of-two\\nlines\\n'",
            "echo ::add-mask::short; echo short",
        )
    )
    assert outputs(details) == [
        "made-up-42\n::add-mask::***\nit is ***\n",
        "***g==\n",  # the character also depends on what is beside the value
        "::add-mask::***\ntwo-of-them\n***\n",
        "::add-mask::short\nshort\n",
    ]


def test_a_server_that_takes_a_build_up_masks_what_earlier_ones_did(server: Server) -> None:
    step = 'echo ::add-mask::made-up-4711; echo "first made-up-4711 $TOKEN"; ' + "".join(
        f'echo "{number} made-up-4711 $TOKEN"; {BYTE_BY_BYTE.replace("echo", "echo end")}; sleep 0.1; '
        for number in range(20)
    )
    job_id = server.start_job(config(step, 'echo "second made-up-4711 $KEY"'))
    follower = ResumingFollower(server, job_id)
    for text in ("first", "4 ***", "9 ***", "14 ***"):
        server.wait_output(job_id, text)
        server.kill()
        server.start()
    assert server.wait_finished(job_id)["job"]["status"] == "success"
    lines = "".join(f"{number} *** ***\n***end\n" for number in range(20))
    expected = (
        f"=== Step 1 (bash) ===\n::add-mask::***\nfirst *** ***\n{lines}\n"
        "=== Step 2 (bash) ===\nsecond *** ***\n\n=== Build completed ===\n"
    )
    assert server.stream(job_id) == expected
    assert follower.wait().decode() == expected


def test_a_line_that_is_no_secret_is_not_kept_waiting_for_its_end(server: Server) -> None:
    job_id = server.start_job(config('printf "Password: "; sleep 1000'))
    follower = server.follow(job_id)
    follower.wait_for(b"Password: ")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    follower.wait()
    # What might have become a secret is there when the step ends, as far as it says nothing.
    job_id = server.start_job(config("printf hunt; sleep 1000"))
    wait_for(lambda: "sleep 1000" in server.get(f"/jobs/{job_id}/activity").text, "it has printed that")
    follower = server.follow(job_id)
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert b"hunt\n" in follower.wait()


def test_a_log_that_is_too_long_keeps_no_secret_at_either_edge(server: Server) -> None:
    line = "0123456789" * 9
    details = server.run(
        config(
            f'for i in {{1..3000}}; do echo "{line} $TOKEN"; done; printf "%s" "$TOKEN"',
            log_limit="100k",
        )
    )
    output = outputs(details)[0]
    assert "bytes are left out" in output
    assert output.endswith(f"{line} ***\n***")
    assert TOKEN[:6] not in output and TOKEN[-6:] not in output


def test_processes_and_reasons_show_no_secret(server: Server) -> None:
    job_id = server.start_job(config('sh -c "echo begun; sleep 1000; :" x "$TOKEN"', silence_timeout="2s"))
    server.wait_output(job_id, "begun\n")
    activity = server.get(f"/jobs/{job_id}/activity")
    assert any(process["command"].endswith(" x ***") for process in activity.json["processes"])
    assert TOKEN not in activity.text
    server.post(f"/jobs/{job_id}/cancel")


def test_a_step_that_adds_masks_without_end_ends_the_build_with_the_reason(server: Server) -> None:
    details = server.run(
        config("for i in {1..600}; do echo ::add-mask::value-number-$i; done; echo value-number-600")
    )
    assert details["job"]["error"] == (
        "with ::add-mask:: a build may mask 500 values, of 8 KiB each and 64 KiB together"
    )
    assert "value-number" not in server.stream(details["job"]["id"])
