"""What the log viewer asks of the server, besides bytes."""

from __future__ import annotations

import http.client
import itertools
from pathlib import Path
from typing import Any

from tests.support.builds import processes_of
from tests.support.server import Server, wait_for


def test_the_map_says_where_lines_and_steps_stand(server: Server) -> None:
    job = server.run({"name": "map", "steps": [{"name": "count", "content": "seq 200000"}, "exit 3"]})
    job_id = job["job"]["id"]
    stream = server.get(f"/jobs/{job_id}/logs/stream").body
    answer = server.get(f"/ui/jobs/{job_id}/log/map")
    assert answer.headers["cache-control"] == "private, no-store"
    log = answer.json
    assert (log["size"], log["lines"], log["sealed"]) == (len(stream), stream.count(b"\n"), True)
    assert stream.split(b"\n")[log["final_line"]] == b"=== Build failed: step 2 (bash) exited with 3 ==="
    first, second = log["steps"]
    assert stream[first["header"] : first["start"]] == b"=== Step 1 (bash) ===\n"
    assert stream[second["header"] : second["start"]] == b"=== Step 2 (bash) ===\n"
    assert stream[first["start"] : first["end"]] == "".join(f"{n}\n" for n in range(1, 200_001)).encode()
    assert stream.count(b"\n", 0, second["start"]) == second["first_line"]
    assert (first["name"], first["status"], first["exit_code"]) == ("count", "success", 0)
    assert (second["name"], second["status"], second["exit_code"]) == ("exit 3", "failed", 3)
    assert len(log["points"]) > 2
    for offset, line in log["points"]:
        assert stream.count(b"\n", 0, offset) == line
        assert offset == 0 or stream[offset - 1 : offset] == b"\n"
    middle = log["points"][1][0]
    after = server.get(f"/ui/jobs/{job_id}/log/map?after={middle}").json
    assert after["points"] == log["points"][2:]
    times = server.get(f"/ui/jobs/{job_id}/log/times?start=0&end={len(stream)}").json["times"]
    assert times[0][0] == 0
    assert all(early[1] <= late[1] for early, late in itertools.pairwise(times))


def test_a_build_that_has_not_begun_has_an_empty_map(server: Server, repos: Path) -> None:
    job_id = server.start_job({"name": "none", "repo_name": f"file://{repos}/none", "steps": ["true"]})
    server.wait_finished(job_id)
    log = server.get(f"/ui/jobs/{job_id}/log/map").json
    assert (log["points"], log["steps"], log["final_line"]) == ([[0, 0]], [], 0)
    outline = server.get(f"/ui/jobs/{job_id}/log/outline").json
    assert (outline["groups"], outline["error"], outline["styles"]) == ([], None, [])


def test_lines_are_searched_where_the_log_is(server: Server, failed: dict[str, Any]) -> None:
    path = f"/ui/jobs/{failed['job']['id']}/log/search"
    assert server.get(f"{path}?q=OH+NO").json["lines"] == [4]
    assert server.get(f"{path}?q=OH+NO&case=true").json["count"] == 0
    assert server.get(f"{path}?q=%5Eoh&regex=1").json["lines"] == [4]


def test_a_search_that_can_not_be_done_says_why(server: Server, failed: dict[str, Any]) -> None:
    path = f"/ui/jobs/{failed['job']['id']}/log/search"
    for query, sentence in (
        ("q=", "say what to search for"),
        ("q=%28&regex=true", "this is not a regular expression: missing )"),
        ("q=a%7B2000%7D&regex=true", "this is not a regular expression: invalid repetition size"),
        ("q=%28%3F%3Da%29&regex=true", "this is not a regular expression: invalid perl operator"),
        (f"q={'x' * 1001}", "at most 1000 characters can be searched for"),
        ("q=a%0Ab", "leave out the line break"),
    ):
        answer = server.get(f"{path}?{query}")
        assert answer.status == 422
        assert sentence in answer.text
    assert server.get("/ui/jobs/999999999/log/search?q=x").status == 404
    assert server.get(f"{path}?q=x&case=maybe").status == 400


HARD_LINE = """
awk 'BEGIN { for (i = 0; i < 400000; i++) printf "%s", rand() < 0.5 ? "a" : "b" }' >line
for k in $(seq 25); do cat line; echo; done
"""
HARD = "q=a%5Bab%5D%7B900%7Dc&regex=true"
"""Takes even an engine that is never worse than linear longer than there is time."""


def test_an_expression_that_takes_for_ever_is_given_up(server: Server) -> None:
    job_id = server.run({"name": "slow", "steps": [HARD_LINE]})["job"]["id"]
    slow = server.get(f"/ui/jobs/{job_id}/log/search?{HARD}")
    assert slow.status == 422
    assert "takes too long" in slow.text


def test_a_search_ends_when_its_client_leaves(server: Server) -> None:
    job_id = server.run({"name": "slow", "steps": [HARD_LINE]})["job"]["id"]
    log = server.data / "logs" / f"{job_id // 1000:04}" / f"{job_id}.log"
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/ui/jobs/{job_id}/log/search?{HARD}")
    wait_for(lambda: processes_of(log, [str(log)]), "it is searched")
    connection.close()
    # Sooner than it would be given up.
    wait_for(lambda: not processes_of(log, [str(log)]), "nobody searches any more", seconds=5)


def test_slow_searches_delay_no_outline(server: Server) -> None:
    job_id = server.run({"name": "slow", "steps": [HARD_LINE]})["job"]["id"]
    other = server.run({"name": "other", "steps": ["echo ::group::Setup"]})["job"]["id"]
    log = server.data / "logs" / f"{job_id // 1000:04}" / f"{job_id}.log"
    searches = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(6)]
    for search in searches:
        search.request("GET", f"/ui/jobs/{job_id}/log/search?{HARD}")
    wait_for(lambda: processes_of(log, [str(log)]), "it is searched")
    assert server.get(f"/ui/jobs/{other}/log/outline").json["groups"]
    # One after the other, since nobody has more than one search at a time; so they go on for a minute.
    assert len(processes_of(log, [str(log)])) == 1
    for search in searches:
        search.close()
    wait_for(lambda: not processes_of(log, [str(log)]), "nobody searches any more")


def test_nobody_has_searches_wait_without_end(server: Server) -> None:
    job_id = server.run({"name": "slow", "steps": [HARD_LINE]})["job"]["id"]
    searches = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(25)]
    for search in searches:
        search.request("GET", f"/ui/jobs/{job_id}/log/search?{HARD}")
    refused = server.get(f"/ui/jobs/{job_id}/log/search?{HARD}")
    for search in searches:
        search.close()
    assert refused.status == 429
    assert "let one end first" in refused.text


def test_the_outline_has_groups_and_the_first_error(server: Server) -> None:
    script = "echo ::group::Setup; echo a; echo ::endgroup::; echo 'a.c:1:2: error: bad'; echo later; exit 1"
    job_id = server.run({"name": "outline", "steps": ["echo fine", script]})["job"]["id"]
    outline = server.get(f"/ui/jobs/{job_id}/log/outline").json
    assert outline["groups"] == [{"title": "Setup", "closed": False, "line": 4, "end": 6, "marked": True}]
    assert outline["error"]["line"] == 7
