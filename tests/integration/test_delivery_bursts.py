"""Many deliveries at once, and a server that is killed right after it answered one: each is built once.

In `make test` some deliveries and a few kills; `make torture` sets TORTURE_DELIVERIES and
TORTURE_DELIVERY_KILLS.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.deliveries import Hook, push_body
from tests.support.repos import Repo
from tests.support.repositories import add, definition, put
from tests.support.server import FINISHED, Answer, Server, wait_for

_DELIVERIES = int(os.environ.get("TORTURE_DELIVERIES", "25"))
_KILLS = int(os.environ.get("TORTURE_DELIVERY_KILLS", "3"))
_REFS = 20
_COMMITS = 50
_AT_ONCE = 50
_GROWTH = 100 * 1024 * 1024
"""Bytes of memory by which a server may grow: those of some large deliveries, not of all."""


def served(new_server: Callable[..., Server], repo: Repo) -> tuple[Server, Hook, dict[str, Any]]:
    server = new_server(executor="process", waiting_builds="100000", waiting_builds_per_user="100000")
    server.start()
    repo.commit({".rapidflow.yml": definition(steps="echo built")})
    added = add(server, repo)
    return server, Hook(server, added), added


def waiting(server: Server, added: dict[str, Any]) -> list[int]:
    """The deliveries that are still to be handled."""
    found: list[int] = []
    before = ""
    while page := server.get(f"/repositories/{added['id']}/deliveries?limit=100{before}").json:
        found += [one["id"] for one in page if one["handled_at"] is None]
        before = f"&before={page[-1]['id']}"
    return found


def jobs_of(server: Server) -> list[dict[str, Any]]:
    """All jobs."""
    found: list[dict[str, Any]] = []
    before = ""
    while page := server.get(f"/jobs?limit=100{before}").json:
        found += page
        before = f"&before={page[-1]['id']}"
    return found


def test_a_burst_of_deliveries_builds_each_commit_once(
    new_server: Callable[..., Server], repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    server, hook, added = served(new_server, repo)
    needed = min(_COMMITS, 1 + _DELIVERIES // _REFS)
    commits = [repo.commit({"a": str(number)}) for number in range(needed)]
    values: dict[tuple[str, str], None] = {}
    bodies: list[dict[str, Any]] = []
    for number in range(_DELIVERIES):
        ref, commit = f"refs/heads/b{number % _REFS}", commits[number // _REFS % needed]
        values[ref, commit] = None
        bodies.append(push_body("github", ref, None, commit))
    seconds: list[float] = []

    def send(number: int) -> Answer:
        begin = time.perf_counter()
        answer = hook.send("github", bodies[number], identifier=f"burst-{number}")
        seconds.append(time.perf_counter() - begin)
        return answer

    for ref, commit in dict(values):
        repo.git("update-ref", ref, commit)
    memory = server.memory
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(send, range(_DELIVERIES)))
        # The same delivery again and again, as forges do that heard no answer.
        same = push_body("github", "refs/heads/same", None, commits[-1])
        once = list(pool.map(lambda _: hook.send("github", same, identifier="once"), range(_AT_ONCE)))
    assert Counter(answer.status for answer in answers) == {202: _DELIVERIES}
    assert Counter(answer.status for answer in once) == {202: 1, 200: _AT_ONCE - 1}
    assert len({answer.json["delivery"] for answer in once}) == 1
    wait_for(lambda: not waiting(server, added), "all are handled", seconds=120 + _DELIVERIES)
    if _DELIVERIES >= 1000:
        assert server.memory - memory < _GROWTH
    jobs = jobs_of(server)
    built = Counter((job["ref"], job["commit"]) for job in jobs)
    assert built == Counter({*values, ("refs/heads/same", commits[-1])})
    slowest = sorted(seconds)[int(len(seconds) * 0.95)]
    with capsys.disabled():
        print(
            f"\n{_DELIVERIES} deliveries, {_AT_ONCE} at once: p95 of the answers {slowest * 1000:.0f} ms; "
            f"memory {memory >> 20} MB before, {server.memory >> 20} MB after"
        )


def test_a_server_that_is_killed_after_its_answer_builds_once(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server, hook, added = served(new_server, repo)
    sent: list[tuple[str, dict[str, Any]]] = []
    for number in range(_KILLS):
        commit = repo.commit({"a": str(number)})
        body = push_body("github", f"refs/heads/k{number}", None, commit)
        repo.git("branch", f"k{number}")
        answer = hook.send("github", body, identifier=f"kill-{number}")
        assert answer.status == 202
        # Somewhere between the answer and the build.
        time.sleep(number % 5 * 0.1)
        server.kill()
        server.start()
        sent.append((commit, body))
    for number, (_, body) in enumerate(sent):
        # The forge never heard the answer, and looks find what deliveries told.
        assert hook.send("github", body, identifier=f"kill-{number}").status == 200
    wait_for(lambda: not waiting(server, added), "all are handled")
    assert server.post(f"/repositories/{added['id']}/poll").status == 200
    jobs = [job for job in jobs_of(server) if job["ref"] != "refs/heads/main"]
    assert Counter(job["commit"] for job in jobs) == {commit: 1 for commit, _ in sent}
    for job in jobs:
        assert server.wait_finished(job["id"])["job"]["status"] == "success"


def test_deliveries_wait_for_a_repository_that_can_not_be_reached(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server, hook, added = served(new_server, repo)
    put(server, added["id"], poll="10s")
    commit = repo.commit({"a": "b"})
    away = repo.path.with_name(f"{repo.path.name}-away")
    repo.path.rename(away)
    answer = hook.push("github", commit)
    assert answer.status == 202
    path = f"/deliveries/{answer.json['delivery']}"
    wait_for(lambda: server.get(path).json["outcome"], "it is tried")
    # Either its refs or its commits are asked for first.
    said = server.get(path).json["outcome"]
    assert said.startswith(
        ("trying again: could not fetch the source: ", "trying again: could not look at the repository: ")
    )
    looked = server.post(f"/repositories/{added['id']}/poll")
    assert looked.status == 400 and "could not look at the repository" in looked.json["error"]
    shown = server.get(f"/repositories/{added['id']}").json
    assert "could not look at the repository" in json.dumps(shown)
    away.rename(repo.path)
    wait_for(lambda: server.get(path).json["handled_at"], "it is handled", seconds=60)
    wait_for(lambda: [job for job in jobs_of(server) if job["status"] in FINISHED], "it is built")
    (job,) = jobs_of(server)
    assert (job["commit"], job["status"]) == (commit, "success")
