"""`rapidflow doctor` examines the logs of services like those of builds, and mends them."""

from __future__ import annotations

import re
from collections.abc import Callable

from rapidflow_web.logs.compressed import path_of
from rapidflow_web.logs.log import LogStore
from tests.support import images
from tests.support.doctor import examined
from tests.support.server import Server


def test_logs_of_services_are_the_servers(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    db = {"image": images.ensure(images.BUSYBOX), "command": "seq 1 2000; exec sleep 1000"}
    job_id = server.run({"name": "with", "services": {"db": db}, "steps": ["echo out"]})["job"]["id"]
    logs = server.data / "logs" / "0000"
    assert examined(server, "--fix") == (0, ["all is well in DATA"])
    shown = server.get(f"/jobs/{job_id}/services/db/logs").text
    assert shown.startswith("1\n2\n") and shown.endswith("2000\n")
    (logs / f"{job_id}.services" / "note").write_text("mine")
    # No service can have that name.
    (logs / f"{job_id}.services" / "a_b.log").write_text("mine")
    (logs / "99.services").mkdir()
    (logs / "99.services" / "db.log").write_text("of no job")
    server.stop()
    assert LogStore(server.data / "logs").compress(job_id)
    assert (logs / f"{job_id}.services" / "db.log.zst").exists()
    assert examined(server, "--fix") == (
        0,
        [
            f"mended: DATA/logs/0000/{job_id}.services/a_b.log is nothing of the server's",
            f"mended: DATA/logs/0000/{job_id}.services/note is nothing of the server's",
            "mended: DATA/logs/0000/99.services/db.log is the log of a job newer than all in the database",
            "mended: DATA/logs/0000/99.services is an empty folder",
            "all is well in DATA",
        ],
    )
    assert (server.data / "strays" / "0000" / f"{job_id}.services" / "note").read_text() == "mine"
    assert server.start().get(f"/jobs/{job_id}/services/db/logs").text == shown


def test_damage_in_logs_of_services_is_found_and_what_can_be_read_is_kept(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    db = {"image": images.ensure(images.BUSYBOX), "command": "seq 1 60000; touch /up; exec sleep 1000"}
    config = {"name": "with", "services": {"db": {**db, "ready": "test -e /up"}}, "steps": ["echo out"]}
    ids = [server.run(config)["job"]["id"] for _ in range(3)]
    holed, cut, bare = ids
    whole = server.get(f"/jobs/{holed}/services/db/logs").text
    server.stop()
    logs = LogStore(server.data / "logs")
    logs.compress(holed)
    with path_of(logs.path(holed, "db")).open("r+b") as packed:
        packed.seek(packed.seek(0, 2) // 4)
        packed.write(b"harm")
    with logs.path(cut, "db").open("r+b") as plain:
        plain.truncate(1001)
    logs.path(bare, "db").with_suffix(".index").unlink()

    problems = [
        f"the log of the service db of job {holed} can't be read (",
        f"the log of the service db of job {cut} has an index that does not fit it",
        f"the log of the service db of job {bare} has no index",
    ]
    server.start()
    for job_id in (holed, cut, bare):
        answer = server.get(f"/jobs/{job_id}/services/db/logs")
        assert (answer.status, "is damaged" in answer.text) == (500, True), answer.text[:200]
    code, found = examined(server, "--fix")
    assert (code, len(found)) == (1, 4)
    assert all(line.endswith("; stop the server to have it mended") for line in found[:3])
    server.stop()
    code, found = examined(server, "--fix")
    assert (code, len(found)) == (0, 4)
    for line, problem in zip(found, problems, strict=False):
        assert line.startswith(f"mended: {problem}")
    assert examined(server) == (0, ["all is well in DATA"])
    server.start()
    after = [server.get(f"/jobs/{job_id}/services/db/logs").text for job_id in ids]
    assert re.fullmatch(r"\n?=== [0-9,]+ bytes of this log are lost ===\n", after[0][: -len(whole[131072:])])
    assert after[0].endswith(whole[131072:])
    assert after[1] == f"{whole[:1001].rstrip()}\n=== The rest of this log was lost ===\n"
    assert after[2] == whole
