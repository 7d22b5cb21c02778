"""PostgreSQL instead of SQLite."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.consistency import assert_nothing_left
from tests.support.postgres import Postgres
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import Server, wait_for
from tests.support.uploads import kept, pack, start, upload
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of


def test_builds_run_on_postgres_through_a_restart(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, concurrency="2").start()
    good = server.run({"name": "good", "env": {"GREETING": "hello"}, "steps": ["echo $GREETING", "true"]})
    assert good["job"]["status"] == "success"
    assert [step["output"] for step in good["steps"]] == ["hello\n", ""]
    bad = server.run({"name": "bad", "steps": ["exit 7", "echo never"]})
    assert bad["job"]["error"] == "step 1 (bash) exited with 7"
    retried = server.post(f"/jobs/{good['job']['id']}/retry").json
    assert server.wait_finished(retried["id"])["job"]["retry_of"] == good["job"]["id"]

    endless = server.start_job({"name": "endless", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(endless, "ready")
    server.kill()
    server.start()
    assert server.job(endless)["status"] == "running"
    assert server.post(f"/jobs/{endless}/cancel").status == 200
    assert server.job(endless)["status"] == "cancelled"
    for page in ("/", "/ui/pipelines/1", f"/ui/jobs/{endless}"):
        assert server.get(page).status == 200
    found = server.get("/ui/builds?branch=&pipeline=BAD&who=API&since=1h&status=failed").text
    assert f"build-{bad['job']['id']}" in found and f"build-{good['job']['id']}" not in found
    assert "No builds match" in server.get("/ui/builds?branch=nowhere").text
    assert "good" not in server.get("/ui/pipelines?q=bad").text
    listed = server.get("/jobs?status=cancelled").json
    assert [job["id"] for job in listed] == [endless]
    assert_nothing_left(server)
    add_user(server, "api", "admin")  # by this name they were started
    cookie = {"Cookie": session_of(server, "api")}
    found = server.request("GET", "/ui/builds?mine=yes&status=failed", headers=cookie).text
    assert f"build-{bad['job']['id']}" in found and f"build-{good['job']['id']}" not in found
    told = server.request("GET", f"/ui/builds/told?ids={endless},0,x,{10**15}", headers=cookie).json
    assert [(one["id"], one["status"], one["ended"]) for one in told] == [(endless, "cancelled", True)]
    # The other tests need no login.
    (user,) = server.request("GET", "/users", headers=cookie).json
    assert server.request("DELETE", f"/users/{user['id']}", headers=cookie).status == 200


def test_builds_that_were_started_at_once_each_run_once_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, executor="process", concurrency="4").start()
    pipeline = server.pipeline({"name": "many", "steps": ["echo $RAPIDFLOW_JOB_ID"]})
    jobs = [server.start_build(pipeline) for _ in range(12)]
    for job in jobs:
        details = server.wait_finished(job)
        assert [step["output"] for step in details["steps"]] == [f"{job}\n"]


def test_builds_that_are_not_kept_go_and_logs_are_put_to_rest_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(
        database_url=postgres.url, executor="process", keep_builds="1", keep_age="90d", keep_size="1g"
    ).start()
    pipeline = server.pipeline({"name": "kept", "steps": ["echo $RAPIDFLOW_JOB_ID"]})
    ids = [server.start_build(pipeline) for _ in range(3)]
    for job_id in ids:
        server.wait_finished(job_id)
    going = [build["id"] for build in server.post("/prune?dry_run=true").json["builds"]]
    assert set(ids[:2]) <= set(going) and ids[2] not in going
    assert [build["id"] for build in server.post("/prune").json["builds"]] == going
    assert server.get(f"/jobs/{ids[0]}").status == 404
    assert server.details(ids[2])["steps"][0]["output"] == f"{ids[2]}\n"
    assert "failed" not in server.log.read_text()
    # The database has builds of the other tests, whose logs are elsewhere.
    assert f"job {ids[2]} " not in server.command("doctor").stdout


def test_accounts_and_the_audit_log_are_kept_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, executor="process").start()
    pipeline = server.pipeline({"name": "seen by some", "steps": ["true"]})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    add_user(server, "root", "admin")
    for name in ("nobody%00", "x" * 500):
        wrong = server.request("POST", "/login", f"name={name}&password=wrong", form)
        assert wrong.status == 401
    root = {"Cookie": session_of(server, "root")}
    for path, body in (
        ("/ui/account/tokens", f"name=laptop&role=viewer&pipelines={pipeline}"),
        ("/ui/users", f"name=anna&role=viewer&password={PASSWORD}"),
        (f"/ui/pipelines/{pipeline}/visibility", "seen_by=some&users=anna"),
        ("/ui/account/sessions?%00", ""),
    ):
        assert server.request("POST", path, body, {**form, **root}).status in (200, 303)
    for page in (
        "/ui/account",
        "/ui/users",
        "/ui/audit",
        "/ui/audit?user=root%00",
        f"/ui/pipelines/{pipeline}",
    ):
        assert server.get(page, root).status == 200, page
    numbers = {user["name"]: user["id"] for user in server.get("/users", root).json}
    assert "<dt>Last login</dt><dd><time" in server.get(f"/ui/users/{numbers['root']}", root).text
    # The other tests need no login.
    for name in ("anna", "root"):
        assert server.request("POST", f"/ui/users/{numbers[name]}/remove", None, root).status == 303
    assert server.get("/me").status == 200


def test_a_copy_is_made_before_an_upgrade_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, executor="process").start()
    job_id = server.run({"name": "before", "steps": ["echo before"]})["job"]["id"]
    server.stop()
    older, restored = postgres.create("older"), postgres.create("restored")
    databases.migrate(older, "0004_access")
    for table in ("definition", "pipeline", "job", "step"):
        known = f"information_schema.columns WHERE table_name = '{table}'"
        columns = postgres.value(f"SELECT string_agg(column_name, ',') FROM {known}", older)
        rows = postgres.value(f"COPY (SELECT {columns} FROM {table} ORDER BY id) TO STDOUT", trim=False)
        postgres.sql(f"COPY {table} ({columns}) FROM STDIN", older, rows)
        postgres.sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}", older)

    server.set(database_url=older)
    server.set_path(f"{postgres.programs}:{os.environ['PATH']}")
    server.start()
    assert server.stream(job_id).startswith("=== Step 1 (bash) ===\nbefore\n")
    assert server.run({"name": "after", "steps": ["true"]})["job"]["status"] == "success"
    server.stop()
    (copy,) = server.data.glob("postgres.before-0004_access-*.dump")

    # The restored copy is upgraded as well, without `pg_dump`.
    subprocess.run([postgres.programs / "pg_restore", "--dbname", restored, copy], check=True)
    assert postgres.value("SELECT max(name) FROM tortoise_migrations", restored) == "0004_access"
    server.set(database_url=restored)
    server.set_path(str(Path(sys.executable).parent))
    server.start()
    assert server.stream(job_id).startswith("=== Step 1 (bash) ===\nbefore\n")
    server.stop()
    assert list(server.data.glob("postgres.before-*.dump")) == [copy]
    assert "no copy of the database is made before it is brought up to date: pg_dump is missing" in (
        server.log.read_text()
    )


def test_a_database_that_does_not_answer_stops_the_start_with_one_sentence(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    postgres.stop()
    try:
        server = new_server(database_url=postgres.url)
        with pytest.raises(AssertionError, match="the server ended"):
            server.start()
        said = server.log.read_text()
        assert "secret" not in said
        assert "Traceback" not in said
        assert f"the database postgres://127.0.0.1:{postgres.port}/postgres can't be opened" in said
    finally:
        postgres.start()


def test_builds_go_on_when_the_database_was_away(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, executor="process", concurrency="1").start()
    steps = ["echo one; until [ -e go ]; do sleep 0.05; done", "echo two"]
    running = server.start_job({"name": "running", "steps": steps})
    server.wait_output(running, "one")
    waiting = server.start_job({"name": "waiting", "steps": ["echo three"]})
    postgres.stop()
    try:
        (server.data / "work" / str(running) / "workspace" / "go").touch()
        assert server.get("/health").status == 200
        assert server.get("/ready").status == 503
        # The driver tries to connect again by itself.
        wait_for(lambda: "asyncpg.pool: Failed" in server.log.read_text(), "the log says so")
        assert "Traceback" not in server.log.read_text()
    finally:
        postgres.start()
    for job_id in (running, waiting):
        assert server.wait_finished(job_id)["job"]["status"] == "success"
    assert server.stream(running).endswith("two\n\n=== Build completed ===\n")
    assert server.get("/ready").status == 200


def test_working_trees_are_built_and_kept_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres, repo: Repo, tmp_path: Path
) -> None:
    server = new_server(database_url=postgres.url, executor="process", upload_limit="64k").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="echo mine")})
    taken: list[int] = []
    while (answer := upload(server, pipeline, commit, data)).status == 201:
        taken.append(answer.json["id"])
    assert answer.status == 429, answer.text
    job_id = start(server, pipeline, taken[0]).json["id"]
    assert server.wait_finished(job_id)["steps"][0]["output"] == "mine\n"
    assert upload(server, pipeline, commit, data).status == 201
    assert server.post("/prune").status == 200
    assert f"{taken[0]}.git" not in kept(server) and f"{taken[1]}.git" in kept(server)


def test_a_second_server_on_the_same_database_is_refused_with_one_sentence(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    first = new_server("first", database_url=postgres.url).start()
    second = new_server("second", database_url=postgres.url)
    refused = serve(second)
    assert refused == (
        f"rapidflow: another server uses the database postgres://127.0.0.1:{postgres.port}/postgres; "
        "stop it, or set RAPIDFLOW_DATABASE_URL.\n"
    )
    # One that was killed is in nobody's way.
    first.kill()
    second.start()
    assert serve(first) == refused


def test_a_server_whose_database_restarts_keeps_it_or_ends_if_another_was_faster(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    first = new_server("first", database_url=postgres.url).start()
    second = new_server("second", database_url=postgres.url)
    postgres.stop()
    postgres.start()
    held = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory'"
    wait_for(lambda: postgres.value(held) == "1", "the first one has taken it again")
    assert "another server uses the database" in serve(second)
    # Nobody can take it while the first one is stopped, and its connection is gone.
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    others = "pid <> pg_backend_pid() AND usename = 'builds'"
    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    second.start()
    first.process.send_signal(signal.SIGCONT)
    wait_for(lambda: first.process is not None and first.process.poll() is not None, "the first one ends")
    assert "another server uses the database; this one ends" in first.log.read_text()
    assert second.run({"name": "x", "steps": ["true"]})["job"]["status"] == "success"


def serve(server: Server) -> str:
    """What a server says that does not come to serve."""
    before = server.log.read_text() if server.log.exists() else ""
    server.start(wait=False)
    assert server.process is not None
    assert server.process.wait(timeout=60) != 0
    server.process = None
    return server.log.read_text().removeprefix(before)


def test_users_are_changed_one_at_a_time_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(executor="process", database_url=postgres.url).start()
    for name in ("root", "rita"):
        add_user(server, name, "admin")
    tokens = [token_of(server, name) for name in ("root", "rita")]
    root = {"Content-Type": "application/json", **as_(tokens[0])}
    pipeline = server.request("POST", "/pipelines", '{"config": "name: a\\nsteps: [ls]"}', root).json["id"]
    with ThreadPoolExecutor(8) as several:

        def at_once(*asked: tuple[str, str, str]) -> list[int]:
            return [
                answer.status for answer in several.map(lambda one: server.request(*one, headers=root), asked)
            ]

        for name in ("anna", "bea", "cleo"):
            made = at_once(*[("POST", "/users", f'{{"name": "{name}"}}')] * 8)
            assert sorted(made) == [201] + [409] * 7
            number = next(user["id"] for user in server.get("/users", root).json if user["name"] == name)
            visible = f'{{"restricted": true, "users": ["root", "{name}"]}}'
            hidden = ("PUT", f"/pipelines/{pipeline}/visibility", visible)
            assert set(at_once(*[hidden, ("DELETE", f"/users/{number}", "{}")] * 4)) <= {200, 404, 422}
        demoted = at_once(*[("PUT", f"/users/{number}", '{"role": "viewer"}') for number in (1, 2)])
    assert sorted(demoted) != [200, 200]
    roles = {server.get("/me", as_(token)).json["role"] for token in tokens}
    assert "admin" in roles
