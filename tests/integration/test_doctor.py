"""`rapidflow doctor` finds where database, files and engine disagree, and mends it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable

from rapidflow_web.logs.compressed import path_of
from rapidflow_web.logs.log import LogStore
from tests.support.builds import engine
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.doctor import examined
from tests.support.machine import only_root, small_disk
from tests.support.server import Server, containers_of, wait_for


def finished(server: Server) -> list[int]:
    pipeline_id = server.pipeline({"name": "good", "steps": ["seq 1 20000", "echo end"]})
    ids = [server.start_build(pipeline_id) for _ in range(5)]
    for job_id in ids:
        server.wait_finished(job_id)
        assert_ended_once(server, job_id)
    return ids


def test_nothing_is_found_where_all_is_well(new_server: Callable[..., Server]) -> None:
    server = new_server(parked="2").start()
    finished(server)
    running = server.start_job({"name": "running", "steps": ["echo begin; sleep 1000"]})
    server.wait_output(running, "begin\n")
    wait_for(lambda: len(containers_of(server)) == 3, "two containers are parked beside that of the build")
    assert examined(server) == examined(server, "--fix") == (0, ["all is well in DATA"])
    container = server.job(running)["container_id"]
    parked = [one for one in containers_of(server) if one != container]
    server.kill()
    # What the next server takes up is no drift; what was parked is left over.
    left = {f"mended: the container {one[:12]} is left over" for one in parked}
    code, said = examined(server, "--fix")
    assert code == 0 and left <= set(said) and len(said) == len(left) + 1
    assert containers_of(server) == [container]
    assert examined(server) == (0, ["all is well in DATA"])
    server.start()
    assert server.job(running)["status"] == "running"
    assert server.post(f"/jobs/{running}/cancel").status == 200


def test_what_drifted_apart_is_found_and_mended(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    missing, cut, damaged, endless, contradictory = finished(server)
    lost = server.start_job({"name": "lost", "steps": ["echo begin; sleep 1000"]})
    stray = server.start_job({"name": "stray", "steps": ["echo begin; sleep 1000"]})
    for job_id in (lost, stray):
        server.wait_output(job_id, "begin\n")
    lost_container, stray_container = (server.job(job_id)["container_id"] for job_id in (lost, stray))
    server.kill()

    logs = server.data / "logs" / "0000"
    (logs / f"{missing}.log").unlink()
    with (logs / f"{cut}.log").open("r+b") as log:
        log.truncate(70_000)
    (logs / f"{damaged}.log").rename(logs / f"{damaged}.log.zst")
    server.sql("UPDATE job SET log_size = NULL WHERE id = ?", endless)
    with (logs / f"{endless}.index").open("r+b") as index:
        index.truncate(index.seek(0, 2) - 1)
    server.sql("UPDATE step SET status = 'running' WHERE job_id = ? AND order_num = 2", contradictory)
    engine("rm", "--force", lost_container)
    server.sql(
        "UPDATE job SET status = 'failed', error = 'x', finished_at = 1, log_size = 1 WHERE id = ?", stray
    )
    shutil.copytree(logs, server.data / "logs" / "0009")  # logs of jobs that are no more
    for path in (server.data / "logs" / "0009").iterdir():
        path.rename(path.with_name(f"9{path.name.zfill(20)}"))
    (server.data / "work" / "77").mkdir()
    (server.data / "mirrors" / "broken.git").mkdir()

    code, found = examined(server)
    assert code == 1
    text = "\n".join(found)
    for sentence in (
        f"job {lost} is running, and its container is gone",
        f"the log of job {missing} is missing",
        f"the log of job {cut} has ",
        f"the log of job {damaged} can't be read (",
        f"the log of job {endless} has no end",
        f"a step of job {contradictory} is running, though the job has finished",
        "is the log of a job newer than all in the database",
        f"the container {stray_container[:12]} is left over",
        "the work folder DATA/work/77 is left over",
        "the mirror DATA/mirrors/broken.git is broken",
    ):
        assert sentence in text, sentence
    count = len(found) - 1
    assert found[-1] == f"{count} problems in DATA; 'rapidflow doctor --fix' mends {count} of them"
    assert examined(server)[0] == 1  # to look changes nothing

    code, mended = examined(server, "--fix")
    assert code == 0
    assert all(line.startswith("mended: ") for line in mended[:-1])
    assert examined(server) == (0, ["all is well in DATA"])
    assert containers_of(server) == []

    server.start()
    for job_id in (endless, contradictory, lost):
        assert_ended_once(server, job_id)
    rest = "=== The rest of this log was lost ===\n=== Build completed ===\n"
    assert server.stream(missing) == rest
    assert re.fullmatch(
        r"=== [0-9,]+ bytes of this log are lost ===\n=== Build completed ===\n", server.stream(damaged)
    )
    assert server.stream(cut).endswith(f"\n{rest}")
    assert server.follow(missing).wait().decode() == rest
    assert server.job(lost)["error"] == (
        "the container of the build was gone when the installation was repaired"
    )
    numbers = "".join(f"{number}\n" for number in range(1, 20_001))
    whole = f"=== Step 1 (bash) ===\n{numbers}"[:70_000]
    assert server.stream(cut) == whole.rstrip("\n") + f"\n\n{rest}"
    assert server.stream(endless).endswith("end\n\n=== Build completed ===\n")
    assert (logs / f"{damaged}.log.zst.damaged").exists()
    assert server.run({"name": "new", "steps": ["true"]})["job"]["status"] == "success"
    assert_nothing_left(server)


def test_beside_a_running_server_only_what_is_safe_is_mended(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    job_id = finished(server)[0]
    running = server.start_job({"name": "running", "steps": ["echo begin; sleep 1000"]})
    server.wait_output(running, "begin\n")
    (server.data / "logs" / "0000" / f"{job_id}.log").unlink()
    (server.data / "logs" / "0000" / "0.log").write_text("of no job")
    code, found = examined(server, "--fix")
    assert (code, found) == (
        1,
        [
            f"the log of job {job_id} is missing; stop the server to have it mended",
            "mended: DATA/logs/0000/0.log is the log of no job",
            "1 problem in DATA",
        ],
    )
    assert server.job(running)["status"] == "running"
    assert server.post(f"/jobs/{running}/cancel").status == 200


def test_a_damaged_database_is_found(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    finished(server)
    server.stop()
    with (server.data / "rapidflow.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 30_000)
    code, found = examined(server, "--fix")
    assert code == 1
    assert found[0].startswith("the database is damaged (")
    assert found[0].endswith("); stop the server and restore a backup")


def test_no_installation_and_no_engine_are_said_in_a_sentence(
    new_server: Callable[..., Server], monkeypatch
) -> None:
    nothing = new_server("nothing")
    done = nothing.command("doctor")
    assert done.returncode == 2
    assert done.stderr == (
        f"rapidflow: there is no installation in {nothing.data}; set RAPIDFLOW_DATA as for the server.\n"
    )
    assert not nothing.data.exists()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    server = new_server().start()
    code, found = examined(server)
    assert code == 1
    assert found[0].startswith("the Docker engine can't be reached: ")


def test_damage_inside_a_compressed_log_is_found_and_what_can_be_read_is_kept(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    holed, cut = (server.run({"name": "long", "steps": ["seq 1 400000"]})["job"]["id"] for _ in range(2))
    whole = server.stream(holed)
    server.stop()
    logs = LogStore(server.data / "logs")
    for job_id in (holed, cut):
        logs.compress(job_id)
    with path_of(logs.path(holed)).open("r+b") as packed:
        packed.seek(packed.seek(0, 2) // 2)
        packed.write(b"harm")
    with path_of(logs.path(cut)).open("r+b") as packed:
        packed.truncate(packed.seek(0, 2) * 3 // 4)

    code, found = examined(server)
    assert (code, len(found)) == (1, 3)
    assert found[0].startswith(f"the log of job {holed} can't be read (")
    assert found[1].startswith(f"the log of job {cut} can't be read (")
    assert examined(server, "--fix")[0] == 0
    assert examined(server) == (0, ["all is well in DATA"])
    server.start()
    for job_id in (holed, cut):
        text = server.stream(job_id)
        before, count, after = re.split(r"\n?=== ([0-9,]+) bytes of this log are lost ===\n", text)
        rest = len(whole) - len(before) - int(count.replace(",", ""))
        assert whole.startswith(before)
        assert before
        assert after == (whole[-rest:] if job_id == holed else "=== Build completed ===\n")
        assert server.get(f"/jobs/{job_id}/logs").json["logs"][0]["output"] in text


def test_an_index_that_is_lost_or_damaged_is_made_anew(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline_id = server.pipeline(
        {"name": "long", "steps": ["seq 30000", "printf two", "true", "seq 9; exit 3"]}
    )
    ids = [server.wait_finished(server.start_build(pipeline_id))["job"]["id"] for _ in range(6)]
    missing, empty, cut, torn, longer, packed = ids
    before = {job_id: server.details(job_id) for job_id in ids}
    whole, failed = server.stream(missing), "=== Build failed: step 4 (bash) exited with 3 ===\n"
    server.stop()
    logs = server.data / "logs" / "0000"
    (logs / f"{missing}.index").unlink()
    (logs / f"{empty}.index").write_bytes(b"")
    with (logs / f"{cut}.index").open("r+b") as index:
        index.truncate(100)
    (logs / f"{torn}.index").write_bytes(bytes(range(256)) * 9)
    with (logs / f"{longer}.log").open("ab") as log:
        log.write(b"somebody was here\n")
    LogStore(server.data / "logs").compress(packed)
    (logs / f"{packed}.index").unlink()

    code, found = examined(server)
    assert (code, found[:-1]) == (
        1,
        [
            f"the log of job {missing} has no index",
            f"the log of job {empty} has an index that does not fit it",
            f"the log of job {cut} has an index that does not fit it",
            f"the log of job {torn} has an index that does not fit it",
            f"the log of job {longer} has {len(whole) + 18} bytes instead of {len(whole)}",
            f"the log of job {packed} has no index",
        ],
    )
    server.start()
    for job_id in (missing, empty, cut, torn):
        answer = server.get(f"/jobs/{job_id}/logs/stream?follow=true")
        assert (answer.status, answer.text.strip()) == (
            500,
            server.get(f"/jobs/{job_id}/details").json["error"],
        )
    server.stop()
    assert examined(server, "--fix")[0] == 0
    assert examined(server) == (0, ["all is well in DATA"])
    server.start()
    for job_id in ids:
        assert server.stream(job_id) == whole
        assert whole.endswith(f"9\n\n{failed}=== Build completed ===\n")
        details = server.details(job_id)
        outputs = [step["output"] for step in before[job_id]["steps"]]
        if job_id != longer:
            outputs[1] = "two\n"  # nobody knows any more that it had no end
        assert [step["output"] for step in details["steps"]] == outputs
        assert details["steps"][3]["exit_code"] == 3


def test_states_that_no_job_can_have_are_mended_by_what_its_log_says(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    good, timeless, vanished, resized = (
        server.run({"name": "good", "steps": ["echo out"]})["job"]["id"] for _ in range(4)
    )
    bad = server.run({"name": "bad", "steps": ["exit 3"]})["job"]["id"]
    cancelled = server.start_job({"name": "cancelled", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(cancelled, "ready\n")
    assert server.post(f"/jobs/{cancelled}/cancel").status == 200
    for job_id in (good, bad, cancelled):
        assert_ended_once(server, job_id)
    server.stop()
    server.sql("UPDATE job SET status = 'running' WHERE id IN (?, ?)", good, cancelled)
    server.sql("UPDATE job SET status = 'strange', error = NULL, finished_at = NULL WHERE id = ?", bad)
    server.sql("UPDATE job SET finished_at = NULL WHERE id = ?", timeless)
    server.sql("UPDATE job SET log_size = 7 WHERE id = ?", resized)
    server.sql("DELETE FROM job WHERE id = ?", vanished)
    size = (server.data / "logs" / "0000" / f"{resized}.log").stat().st_size
    code, found = examined(server)
    assert (code, found[:-1]) == (
        1,
        [
            "a row of step in the database refers to nothing",
            f"job {good} is running, though its log has ended",
            f"job {bad} is strange, though its log has ended",
            f"job {cancelled} is running, though its log has ended",
            f"job {timeless} has ended, and nothing says when",
            f"the log of job {resized} has {size} bytes instead of 7",
            f"DATA/logs/0000/{vanished}.index is the log of no job",
            f"DATA/logs/0000/{vanished}.log is the log of no job",
        ],
    )
    assert examined(server, "--fix")[0] == 0
    assert examined(server) == (0, ["all is well in DATA"])
    server.start()
    for job_id in (good, bad, timeless, resized, cancelled):
        assert_ended_once(server, job_id)
    assert server.job(good)["status"] == "success"
    assert server.job(bad)["error"] == "step 1 (bash) exited with 3"
    assert server.job(cancelled)["status"] == "cancelled"


def test_a_database_that_is_lost_loses_no_log(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.run({"name": "before", "steps": ["echo before"]})["job"]["id"]
    later = server.run({"name": "later", "steps": ["echo later"]})["job"]["id"]
    server.stop()
    for path in server.data.glob("rapidflow.db*"):
        path.unlink()
    server.start()
    found = "there are logs, and the database knows no build; restore a backup of the database"
    assert examined(server, "--fix") == (1, [found, "1 problem in DATA"])
    again = server.run({"name": "after", "steps": ["echo after"]})["job"]["id"]
    assert again == job_id
    assert server.stream(again) == "=== Step 1 (bash) ===\nafter\n\n=== Build completed ===\n"
    assert "there was a log of another job of this number" in server.log.read_text()
    (kept,) = (server.data / "strays").glob(f"{job_id}.log.*")
    assert examined(server, "--fix")[0] == 0
    assert "later" in (server.data / "strays" / "0000" / f"{later}.log").read_text()
    assert kept.read_text() == "=== Step 1 (bash) ===\nbefore\n\n=== Build completed ===\n"
    server.stop()
    server.sql("DROP TABLE step")
    done = server.command("doctor")
    assert (done.returncode, done.stderr) == (
        2,
        f"rapidflow: the database sqlite://{server.data}/rapidflow.db can't be used: no such table: step.\n",
    )


def test_what_can_not_be_mended_is_said_in_a_sentence(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.run({"name": "short", "steps": ["echo out"]})["job"]["id"]
    server.stop()
    log = server.data / "logs" / "0000" / f"{job_id}.log"
    log.unlink()
    log.mkdir()
    (log / "file").write_text("in the way")
    code, found = examined(server, "--fix")
    assert code == 1
    assert found[0].endswith(", and can't be mended: Is a directory")
    server.start()
    answer = server.get(f"/jobs/{job_id}/logs/stream")
    assert answer.status == 500
    assert answer.text.startswith(f"the log of job {job_id} ")


def test_strays_among_the_logs_are_found_beside_a_server_too(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    server.run({"name": "short", "steps": ["echo out"]})
    logs = server.data / "logs"
    (logs / "0007").mkdir()
    for name in ("0000/99.log", "0000/stray.txt", "note"):
        (logs / name).write_text(name)
    found = [
        "DATA/logs/0000/99.log is the log of a job newer than all in the database",
        "DATA/logs/0000/stray.txt is nothing of the server's",
        "DATA/logs/note is nothing of the server's",
    ]
    assert examined(server)[1][:-1] == found
    server.stop()
    assert "DATA/logs/0007 is an empty folder" in examined(server)[1]
    assert examined(server, "--fix")[0] == 0
    assert examined(server) == (0, ["all is well in DATA"])
    assert not (logs / "0007").exists()
    strays = server.data / "strays"
    assert (strays / "0000" / "99.log").read_text() == "0000/99.log"
    assert (strays / "0000" / "stray.txt").read_text() == "0000/stray.txt"
    assert (strays / "note").read_text() == "note"


@only_root
def test_the_folders_may_be_disks_of_their_own(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", keep_mirrors="1g").start()
    server.stop()
    with contextlib.ExitStack() as stack:
        for name in ("logs", "mirrors", "work"):
            shutil.rmtree(server.data / name)
            stack.enter_context(small_disk(server.data / name, "64m"))
            (server.data / name / "lost+found").mkdir()
        server.start()
        server.run({"name": "some", "steps": ["echo some"]})
        assert server.post("/prune").status == 200
        server.stop()
        (server.data / "logs" / "note").write_text("mine")
        assert examined(server)[1][0] == "DATA/logs/note is nothing of the server's"
        assert examined(server, "--fix")[1][-1] == "all is well in DATA"
        assert (server.data / "strays" / "note").read_text() == "mine"
        assert len(list(server.data.glob("*/lost+found"))) == 3
