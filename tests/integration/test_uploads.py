"""Uploaded working trees over the API: what is taken, what is left of it, how long it is kept."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.consistency import stored
from tests.support.machine import only_root, small_disk
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import Server, wait_for
from tests.support.uploads import kept, pack, packed, start, upload

_DAY = 24 * 3600


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server(executor="process", concurrency="1", upload_limit="2m").start()


@pytest.fixture
def pipeline(server: Server, repo: Repo) -> int:
    repo.commit({".rapidflow.yml": definition()})
    return add(server, repo)["pipelines"][0]["id"]


def rows(server: Server) -> int:
    return stored(server, "SELECT COUNT(*) FROM upload")[0][0]


def test_an_upload_is_built_and_can_be_built_again(server: Server, pipeline: int, tmp_path: Path) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="cat a"), "a": "mine"})
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 201, answer.text
    assert list(answer.json) == ["id", "pipeline_id", "commit", "size", "created_at"]
    assert (answer.json["pipeline_id"], answer.json["commit"]) == (pipeline, commit)
    job_id = start(server, pipeline, answer.json["id"], environments={"MORE": "x"}).json["id"]
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["steps"][0]["output"]) == ("success", "mine")
    assert details["environments"][0]["value"] == "x"
    assert (details["job"]["commit"], details["job"]["event"]) == (commit, "api")
    assert details["pipeline"]["config"] == definition(steps="cat a")
    again = server.post(f"/jobs/{job_id}/retry").json["id"]
    assert server.wait_finished(again)["steps"][0]["output"] == "mine"
    # The pipeline is what it was, and the mirror of the repository knows nothing of it.
    assert server.get(f"/pipelines/{pipeline}").json["config"] == definition()
    normal = server.wait_finished(server.start_build(pipeline))
    assert normal["steps"][0]["output"] == "built\n"
    refused = server.wait_finished(server.start_build(pipeline, commit=commit))
    assert refused["job"]["status"] == "failed" and "no commit" in refused["job"]["error"]


def test_a_definition_that_is_not_valid_fails_the_build_with_its_line(
    server: Server, pipeline: int, tmp_path: Path
) -> None:
    for number, (text, words) in enumerate(
        [
            ("name: ci\nstep: []\n", "line 2, column 1: unknown key 'step'"),
            (definition(more="repo_name: file:///etc\n"), "repo_name"),
            (definition(more="new_privileges: true\n"), "new_privileges"),
            (None, "the working tree has no file .rapidflow.yml"),
        ]
    ):
        files: dict[str, str | bytes] = {"a": "a"} if text is None else {".rapidflow.yml": text}
        commit, data = pack(tmp_path / str(number), files)
        number = upload(server, pipeline, commit, data).json["id"]
        job = server.wait_finished(start(server, pipeline, number).json["id"])["job"]
        assert job["status"] == "failed" and words in job["error"], job["error"]


def test_what_is_no_working_tree_is_refused_and_nothing_of_it_is_kept(
    server: Server, pipeline: int, repo: Repo, tmp_path: Path
) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(), "a": "a" * 1000})
    child = Repo(tmp_path / "child")
    child.commit({"a": "a"})
    parent = child.git("rev-parse", "HEAD")
    head = child.commit({"b": "b"})
    shallow = child.git("rev-list", "--objects", head, "--not", parent)
    hostile = Repo(tmp_path / "hostile")
    blob = hostile.git("hash-object", "-w", "/dev/null")
    tree = _written(hostile, b"100644 ..\0" + bytes.fromhex(blob), "tree")
    outside = hostile.git("commit-tree", tree, "-m", "x")
    for name, wanted, body, words in (
        ("nothing", commit, b"", "not a complete pack"),
        ("no pack", commit, b"PK\x03\x04" + bytes(100), "not a complete pack"),
        ("cut off", commit, data[:-30], "not a complete pack"),
        ("changed", commit, data[:60] + bytes([data[60] ^ 1]) + data[61:], "not a complete pack"),
        ("another commit", "1" * 40, data, "does not contain the commit 111111111111"),
        ("a file", child.git("rev-parse", "HEAD:a"), packed(child, head), "does not contain the commit"),
        ("without its parent", head, _pack_of(child, shallow), "not a complete pack"),
        ("a path that leads out", outside, packed(hostile, outside), "not a complete pack"),
        ("sha256 that is none", "a" * 64, data, ""),
    ):
        answer = upload(server, pipeline, wanted, body)
        assert answer.status == 400 and words in answer.json["error"], (name, answer.text)
        assert "\n" not in answer.json["error"] and str(server.data) not in answer.json["error"]
    child.git("tag", "--annotate", "--message", "x", "v1", head)
    tag = child.git("rev-parse", "v1")
    for name, wanted, words in (
        ("with its parent", head, "has parents; upload one without"),
        ("a tag", tag, "does not contain the commit"),
    ):
        answer = upload(server, pipeline, wanted, packed(child, tag))
        assert answer.status == 400 and words in answer.json["error"], (name, answer.text)
    for wanted in ("main", "abc", "A" * 40):
        assert "full hash" in upload(server, pipeline, wanted, data).json["error"]
    assert "full hash" in server.request("POST", f"/pipelines/{pipeline}/uploads", data).json["error"]
    assert upload(server, 999, commit, data).status == 404
    own = server.pipeline({"name": "own", "steps": ["true"]})
    assert "is stored on the server" in upload(server, own, commit, data).json["error"]
    assert kept(server) == [] and rows(server) == 0


def _written(repo: Repo, data: bytes, kind: str) -> str:
    (repo.path.parent / "object").write_bytes(data)
    return repo.git("hash-object", "-w", "--literally", "-t", kind, str(repo.path.parent / "object"))


def _pack_of(repo: Repo, objects: str) -> bytes:
    return subprocess.run(
        ["git", "pack-objects", "--stdout", "--quiet"], cwd=repo.path, input=objects.encode(),
        capture_output=True, check=True,
    ).stdout  # fmt: skip


def test_what_is_too_large_is_refused_with_the_setting(server: Server, pipeline: int, tmp_path: Path) -> None:
    commit, data = pack(tmp_path / "tree", {"large": os.urandom(3 * 1024**2)})
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 413
    assert "2 MiB" in answer.json["error"] and "RAPIDFLOW_UPLOAD_LIMIT" in answer.json["error"]
    parts = iter([data[:1000], data[1000:]])
    answer = upload(server, pipeline, commit, parts)  # in chunks
    assert answer.status == 413
    # Small as it comes, and large on the disk.
    one = bytes(3 * 1024**2)
    commit, data = pack(tmp_path / "bomb", {f"{number}": one for number in range(8)})
    assert len(data) < 100_000
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 400 and "more than 20 MiB" in answer.json["error"]
    assert kept(server) == [] and rows(server) == 0


def test_an_upload_of_hundreds_of_megabytes_takes_no_memory(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server("large", executor="process").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    files: dict[str, str | bytes] = {f"{number}": os.urandom(20 * 1024**2) for number in range(5)}
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="ls | wc -l"), **files})
    small, little = pack(tmp_path / "small", {"a": "a"})
    assert upload(server, pipeline, small, little).status == 201
    before = server.memory
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 201, answer.text
    assert server.memory - before < len(data) / 2
    job_id = start(server, pipeline, answer.json["id"]).json["id"]
    assert server.wait_finished(job_id)["steps"][0]["output"].strip() == "5"


def test_an_upload_that_breaks_off_leaves_nothing(server: Server, pipeline: int, tmp_path: Path) -> None:
    commit, data = pack(tmp_path / "tree", {"a": os.urandom(1024**2)})
    connection = _half_sent(server, pipeline, commit, data)
    wait_for(lambda: kept(server), "a part of it is there")
    connection.close()
    wait_for(lambda: kept(server) == [] and rows(server) == 0, "it is gone")
    assert upload(server, pipeline, commit, data).status == 201


def test_a_server_that_is_killed_over_an_upload_leaves_nothing(
    server: Server, pipeline: int, tmp_path: Path
) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="cat a"), "a": "mine"})
    whole = upload(server, pipeline, commit, data).json["id"]
    large, much = pack(tmp_path / "large", {"a": os.urandom(1024**2)})
    connection = _half_sent(server, pipeline, large, much)
    wait_for(lambda: len(kept(server)) == 2, "a part of it is there")
    server.kill()
    connection.close()
    (server.data / "uploads" / "77.git").mkdir()  # what was being removed
    server.start()
    assert kept(server) == [f"{whole}.git"] and rows(server) == 1
    job_id = start(server, pipeline, whole).json["id"]
    assert server.wait_finished(job_id)["steps"][0]["output"] == "mine"


def _half_sent(server: Server, pipeline: int, commit: str, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = (
        f"POST /pipelines/{pipeline}/uploads?commit={commit} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data[: len(data) // 2])
    return connection


def test_a_server_that_is_killed_after_an_upload_was_started_builds_it(
    server: Server, pipeline: int, tmp_path: Path
) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="cat a"), "a": "mine"})
    number = upload(server, pipeline, commit, data).json["id"]
    jobs = [start(server, pipeline, number).json["id"] for _ in range(3)]
    server.kill()
    server.start()
    for job_id in jobs:
        details = server.wait_finished(job_id)
        assert details["steps"][0]["output"] == "mine", details["job"]


def test_uploads_are_kept_for_a_day_after_their_last_build(
    server: Server, pipeline: int, tmp_path: Path
) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition()})
    unused, used, waits = (upload(server, pipeline, commit, data).json["id"] for _ in range(3))
    job_id = start(server, pipeline, used).json["id"]
    server.wait_finished(job_id)
    holds = server.start_job({"name": "holds", "steps": ["sleep 1000"]})
    server.wait_output(holds, "Step 1")
    pending = start(server, pipeline, waits).json["id"]

    def older(seconds: int) -> None:
        server.stop()
        server.sql("UPDATE upload SET created_at = created_at - ?", seconds * 1000)
        server.sql("UPDATE job SET finished_at = finished_at - ? WHERE id = ?", seconds * 1000, job_id)
        server.start()
        assert server.post("/prune").status == 200

    older(3600)
    assert kept(server) == [f"{number}.git" for number in (unused, used, waits)]
    older(3700)
    assert kept(server) == [f"{number}.git" for number in (used, waits)]
    assert "no upload" in start(server, pipeline, unused).json["error"]
    older(_DAY)
    assert kept(server) == [f"{waits}.git"] and rows(server) == 1
    answer = server.post(f"/jobs/{job_id}/retry")
    assert answer.status == 400 and "is not kept any more" in answer.json["error"]
    server.post(f"/jobs/{holds}/cancel")
    assert server.wait_finished(pending)["job"]["status"] == "success"


def test_what_a_user_uploads_is_bounded_and_what_was_built_makes_room(
    server: Server, pipeline: int, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {".rapidflow.yml": definition(), "a": os.urandom(1024**2)}
    commit, data = pack(tmp_path / "tree", files)
    answers = [upload(server, pipeline, commit, data) for _ in range(30)]
    taken = [answer.json["id"] for answer in answers if answer.status == 201]
    (refused,) = {answer.text for answer in answers[len(taken) :]}
    assert answers[-1].status == 429 and answers[-1].headers["retry-after"]
    assert "your uploads that wait to be built take all the room" in refused
    assert len(kept(server)) == len(taken) < 20
    server.wait_finished(start(server, pipeline, taken[3]).json["id"])
    assert upload(server, pipeline, commit, data).status == 201
    assert f"{taken[3]}.git" not in kept(server) and f"{taken[0]}.git" in kept(server)


def test_an_upload_is_built_instead_of_anything_else(server: Server, pipeline: int, tmp_path: Path) -> None:
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition()})
    number = upload(server, pipeline, commit, data).json["id"]
    for name, value in (("branch", "main"), ("commit", commit), ("tag", "v1")):
        answer = start(server, pipeline, number, **{name: value})
        assert answer.status == 422 and f"leave out {name}" in answer.json["error"]
    assert start(server, pipeline, 99).status == 422
    assert start(server, 99, number).status == 404
    assert server.post(f"/pipelines/{pipeline}/jobs", {"secrets": False}).status == 422


def test_uploads_can_be_switched_off(new_server: Callable[..., Server], repo: Repo, tmp_path: Path) -> None:
    server = new_server("off", executor="process", upload_limit="off").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition()})
    answer = upload(server, pipeline, commit, data)
    assert answer.status == 403 and "builds no uploaded working trees" in answer.json["error"]


def test_a_client_that_is_refused_early_is_answered_while_it_sends(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server("early", executor="process", upload_limit="off").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    before = server.memory
    assert _answered_while_sending(server, pipeline, 10**9) == 403
    assert server.memory - before < 30 * 1024**2
    assert server.get("/health").status == 200


def _answered_while_sending(server: Server, pipeline: int, length: int, commit: str = "a" * 40) -> int:
    """The status of the answer to an upload that is sent as long as the server takes it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", f"/pipelines/{pipeline}/uploads?commit={commit}")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(length // 65536):
            connection.sock.sendall(bytes(65536))
    status = connection.getresponse().status
    connection.close()
    return status


@only_root
def test_on_a_full_disk_an_upload_is_refused_and_gives_back_its_room(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "48m"):
        server = new_server("disk/data", executor="process").start()
        repo.commit({".rapidflow.yml": definition()})
        pipeline = add(server, repo)["pipelines"][0]["id"]
        commit, data = pack(tmp_path / "large", {"large": os.urandom(60 * 1024**2)})
        for _ in range(2):
            answer = upload(server, pipeline, commit, data)
            assert answer.status == 500
            assert answer.json["error"].startswith(
                "the server can't store the upload: No space left on device"
            )
            assert kept(server) == []
        commit, data = pack(tmp_path / "small", {".rapidflow.yml": definition(steps="echo fits")})
        number = upload(server, pipeline, commit, data).json["id"]
        job_id = start(server, pipeline, number).json["id"]
        assert server.wait_finished(job_id)["steps"][0]["output"] == "fits\n"
        with (tmp_path / "disk" / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(1024**2))
        answer = upload(server, pipeline, commit, data)
        assert answer.status == 500 and "is full" in answer.json["error"]
        (tmp_path / "disk" / "ballast").unlink()
        server.stop()
