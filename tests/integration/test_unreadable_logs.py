"""What clients are told of a log that can't be read."""

from __future__ import annotations

from collections.abc import Callable

from rapidflow_web.logs.compressed import BLOCK, CompressedFile, path_of
from rapidflow_web.logs.log import LogStore
from tests.support.server import Server

MENDS = "stop the server and run 'rapidflow doctor --fix'"


def damaged(server: Server, block: int) -> int:
    """A finished job whose compressed log can't be read from a block on."""
    job_id = server.run({"name": "long", "steps": ["seq 1 400000"]})["job"]["id"]
    server.stop()
    logs = LogStore(server.data / "logs")
    whole = logs.path(job_id).read_bytes()
    logs.compress(job_id)
    packed = path_of(logs.path(job_id))
    file, at = CompressedFile(packed), 0
    # Found by what the blocks before it take, as a reader would see it.
    content = packed.read_bytes()
    starts = [n for n in range(len(content)) if content[n : n + 4] == b"\x28\xb5\x2f\xfd"]
    at = starts[block] + 100
    packed.write_bytes(content[:at] + b"harm" + content[at + 4 :])
    assert file.size == len(whole)
    server.start()
    return job_id


def test_damage_at_the_beginning_is_an_error_everywhere(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = damaged(server, 0)
    sentence = f"the log of job {job_id} is damaged; {MENDS}"
    answer = server.get(f"/jobs/{job_id}/logs/stream")
    assert (answer.status, answer.text) == (500, f"{sentence}\n")
    for path in (f"/jobs/{job_id}/logs", f"/jobs/{job_id}/details", f"/jobs/{job_id}/steps"):
        answer = server.get(path)
        assert (answer.status, answer.json) == (500, {"error": sentence})
    done = server.command("--url", f"http://127.0.0.1:{server.port}", "logs", str(job_id))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"rapidflow: {sentence}\n")


def test_damage_in_the_middle_cuts_the_stream_and_is_said(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = damaged(server, 3)
    done = server.command("--url", f"http://127.0.0.1:{server.port}", "logs", str(job_id))
    assert done.returncode == 1
    assert len(done.stdout) <= 3 * BLOCK
    assert done.stdout.startswith("=== Step 1 (bash) ===\n1\n2\n")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"rapidflow: the log of job {job_id} ")
    assert "'rapidflow doctor --fix'" in last
    assert f"the log of job {job_id} can't be read: " in server.log.read_text()


def test_a_missing_log_is_no_empty_success(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job = server.run({"name": "short", "steps": ["echo out"]})
    job_id, step_id = job["job"]["id"], job["steps"][0]["id"]
    server.stop()
    LogStore(server.data / "logs").path(job_id).unlink()
    server.start()
    sentence = f"the log of job {job_id} is missing; 'rapidflow doctor' tells more"
    answer = server.get(f"/jobs/{job_id}/logs/stream")
    assert (answer.status, answer.text) == (500, f"{sentence}\n")
    for path in (
        f"/jobs/{job_id}/logs",
        f"/jobs/{job_id}/details",
        f"/jobs/{job_id}/steps",
        f"/steps/{step_id}",
        f"/steps/{step_id}/logs",
        f"/ui/jobs/{job_id}/log/map",
    ):
        answer = server.get(path)
        assert (answer.status, answer.json) == (500, {"error": sentence}), path
    page = server.get(f"/ui/jobs/{job_id}")
    assert page.status == 200
    assert sentence.replace("'", "&#39;") in page.text


def test_a_job_whose_log_was_never_written_has_an_empty_one(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.run({"name": "short", "steps": ["echo out"]})["job"]["id"]
    server.stop()
    LogStore(server.data / "logs").path(job_id).unlink()
    server.sql("UPDATE job SET log_size = 0 WHERE id = ?", job_id)
    server.start()
    assert server.get(f"/jobs/{job_id}/details").json["steps"][0]["output"] == ""
    assert server.get(f"/jobs/{job_id}/logs/stream").status == 200
