"""Secrets: stored by an administrator, given to the builds that name them, shown to nobody."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.leaks import holding
from tests.support.postgres import Postgres
from tests.support.server import COMMAND, Answer, Server, containers_of, wait_for
from tests.support.users import add_user, as_, token_of

VALUE = "s3cret-of-the-tests/+%"
OTHER = "another value\nwith a second line"
PROVE = 'printf %s "$TOKEN" | sha256sum'
"""Tells whether a step has the value without printing it."""


def digest(value: str) -> str:
    """What PROVE prints for a value."""
    done = subprocess.run(["sha256sum"], input=value.encode(), capture_output=True, check=True)
    return done.stdout.decode()


def variables(details: dict[str, Any]) -> dict[str, str]:
    """What a job says of its environment."""
    return {one["key"]: one["value"] for one in details["environments"]}


def put(server: Server, path: str, value: str) -> Answer:
    return server.request("PUT", path, json.dumps({"value": value}), {"Content-Type": "application/json"})


@pytest.fixture(params=["docker", "process"])
def any_server(request: pytest.FixtureRequest, new_server: Callable[..., Server]) -> Server:
    """A running server with either executor."""
    return new_server(executor=request.param).start()


def test_a_build_gets_what_its_pipeline_names_and_no_answer_shows_it(any_server: Server) -> None:
    server = any_server
    pipeline = server.pipeline(
        {
            "name": "a",
            "env": {"PLAIN": "1"},
            "secrets": ["TOKEN"],
            "steps": [PROVE, "env | grep -c ^OTHER= || true"],
        }
    )
    assert put(server, "/secrets/OTHER", "not granted").status == 200
    assert put(server, "/secrets/TOKEN", "for-all-of-them").status == 200
    stored = put(server, f"/pipelines/{pipeline}/secrets/TOKEN", VALUE)
    assert stored.status == 200
    assert {key: stored.json[key] for key in ("name", "updated_by")} == {"name": "TOKEN", "updated_by": "api"}
    details = server.wait_finished(server.start_build(pipeline))
    assert [step["output"] for step in details["steps"]] == [digest(VALUE), "0\n"]
    assert variables(details) == {"PLAIN": "1", "TOKEN": "***"}

    again = server.post(f"/jobs/{details['job']['id']}/retry").json["id"]
    details = server.wait_finished(again)
    assert details["steps"][0]["output"] == digest(VALUE)
    assert variables(details) == {"PLAIN": "1", "TOKEN": "***"}
    # Without its own secret the pipeline has that of all.
    assert server.request("DELETE", f"/pipelines/{pipeline}/secrets/TOKEN").status == 200
    again = server.post(f"/jobs/{again}/retry").json["id"]
    assert server.wait_finished(again)["steps"][0]["output"] == digest("for-all-of-them")

    for path in (
        "/secrets", f"/pipelines/{pipeline}/secrets", f"/pipelines/{pipeline}", f"/jobs/{again}/timeline",
        f"/ui/jobs/{again}", f"/ui/pipelines/{pipeline}", "/", "/audit", "/openapi.json", "/metrics",
    ):  # fmt: skip
        answer = server.get(path)
        assert answer.status == 200, path
        assert VALUE not in answer.text and "for-all-of-them" not in answer.text, path
    server.stop()
    assert holding(server.data.parent, VALUE, "for-all-of-them", "not granted") == []


def test_while_a_build_runs_its_secrets_are_in_nothing_that_docker_or_the_server_shows(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    put(server, "/secrets/TOKEN", VALUE)
    put(server, "/secrets/LINES", OTHER)
    job = server.start_job(
        {
            "name": "a",
            "secrets": ["TOKEN", "LINES"],
            "steps": ['sh -c "echo begun; sleep 1000; :" x "$TOKEN"'],
        }
    )
    server.wait_output(job, "begun\n")
    (container,) = containers_of(server)
    shown = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True)
    assert VALUE not in shown.stdout
    activity = server.get(f"/jobs/{job}/activity")
    assert "sleep 1000" in activity.text and VALUE not in activity.text
    assert any(process["command"].endswith(" x ***") for process in activity.json["processes"])
    assert holding(server.data.parent, VALUE, OTHER) == []
    assert server.post(f"/jobs/{job}/cancel").status == 200


def test_a_missing_secret_fails_the_build_before_anything_runs(any_server: Server) -> None:
    pipeline = any_server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": ["echo ran"]})
    details = any_server.wait_finished(any_server.start_build(pipeline))
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == (
        "there is no secret TOKEN; an administrator can store it with "
        f"'rapidflow secret set TOKEN --pipeline {pipeline}'"
    )
    assert details["job"]["container_id"] is None
    assert [step["status"] for step in details["steps"]] == ["pending"]
    # That of another pipeline does not count.
    other = any_server.pipeline({"name": "b", "secrets": ["TOKEN"], "steps": ["true"]})
    put(any_server, f"/pipelines/{other}/secrets/TOKEN", VALUE)
    assert any_server.wait_finished(any_server.start_build(pipeline))["job"]["status"] == "failed"
    assert any_server.wait_finished(any_server.start_build(other))["job"]["status"] == "success"


def test_nobody_who_starts_a_build_can_put_a_value_in_the_place_of_a_secret(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": ["true"]})
    answer = server.post(f"/pipelines/{pipeline}/jobs", {"environments": {"TOKEN": "mine"}})
    assert answer.status == 422
    assert answer.json["error"] == (
        "TOKEN is a secret of this pipeline and can't be given; an administrator can change it with "
        f"'rapidflow secret set TOKEN --pipeline {pipeline}'"
    )
    assert answer.json["details"][0]["field"] == "environments.TOKEN"
    # Nor have it run something else that shows it.
    by_bash = {"environments": {"BASH_ENV": '$(echo "$TOKEN" | rev >&2)'}}
    answer = server.post(f"/pipelines/{pipeline}/jobs", by_bash)
    assert (answer.status, answer.json["error"]) == (
        422,
        "BASH_ENV can't be given to a build that has secrets, because the pipeline does not have it under "
        "'env'; whoever may change the definition can add it",
    )
    named = {"name": "c", "env": {"WHAT": ""}, "secrets": ["TOKEN"], "steps": ['echo "$WHAT"']}
    put(server, "/secrets/TOKEN", VALUE)
    job = server.start_build(server.pipeline(named), environments={"WHAT": "chosen"})
    assert server.wait_finished(job)["steps"][0]["output"] == "chosen\n"
    # Three stars are a value like any other where no secret is meant.
    job = server.run({"name": "b", "env": {"STARS": "***"}, "steps": ['echo "$STARS"']})
    assert job["steps"][0]["output"] == "***\n"


def test_a_secret_is_a_matter_of_administrators(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "a", "steps": ["true"]})
    for name, role in (("root", "admin"), ("berta", "builder")):
        add_user(server, name, role)
    root, berta = as_(token_of(server, "root")), as_(token_of(server, "berta"))
    body, json_body = json.dumps({"value": VALUE}), {"Content-Type": "application/json"}
    for scope in ("", f"/pipelines/{pipeline}"):
        path = f"{scope}/secrets/TOKEN"
        assert server.request("PUT", path, body, berta | json_body).status == 403
        assert server.request("PUT", f"{path}?value={VALUE}", body, root | json_body).status == 400
        stored = server.request("PUT", path, body, root | json_body)
        assert (stored.status, stored.json["updated_by"]) == (200, "root")
        assert server.get(f"{scope}/secrets", berta).status == 403
        assert [one["name"] for one in server.get(f"{scope}/secrets", root).json] == ["TOKEN"]
        assert server.request("DELETE", path, headers=berta).status == 403
    done = server.get("/audit", root)
    assert "secrets.put_secret" in done.text and f"/pipelines/{pipeline}/secrets/TOKEN" in done.text
    assert VALUE not in done.text


def test_the_command_takes_values_from_standard_input_and_shows_none(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    pipeline = str(server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": [PROVE]}))
    done = server.command("secret", "set", "TOKEN", "--pipeline", pipeline, input=f"{VALUE}\n")
    assert (done.returncode, done.stdout) == (0, "secret TOKEN stored\n"), done.stderr
    assert server.wait_finished(server.start_build(int(pipeline)))["steps"][0]["output"] == digest(VALUE)
    listed = server.command("secret", "list", "--pipeline", "a")
    assert listed.stdout.startswith("TOKEN ") and listed.stdout.endswith("  cli\n")
    assert server.command("secret", "list").stdout == ""
    short = server.command("secret", "set", "TOKEN", input="short")
    assert (short.returncode, short.stderr) == (
        2,
        "rapidflow: a secret has at least 6 bytes; a shorter one can't be masked in logs, "
        "because it occurs in ordinary words\n",
    )
    assert server.command("secret", "remove", "TOKEN").returncode == 2
    assert server.command("secret", "remove", "TOKEN", "--pipeline", pipeline).returncode == 0
    assert server.command("secret", "list", "--pipeline", pipeline).stdout == ""


def test_a_running_server_uses_a_new_key_at_once(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": [PROVE]})
    put(server, "/secrets/TOKEN", VALUE)
    key = (server.data / "secrets.key").read_text()
    rotated = server.command("secret", "rotate")
    assert (rotated.returncode, rotated.stdout) == (0, "1 secret encrypted with a new key\n"), rotated.stderr
    assert (server.data / "secrets.key").read_text() != key
    assert server.wait_finished(server.start_build(pipeline))["steps"][0]["output"] == digest(VALUE)
    put(server, "/secrets/TOKEN", OTHER)
    assert server.wait_finished(server.start_build(pipeline))["steps"][0]["output"] == digest(OTHER)


def test_a_rotation_that_is_killed_leaves_every_secret_readable(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    names = [f"SECRET_{number}" for number in range(100)]
    for name in names:
        assert put(server, f"/secrets/{name}", f"value of {name}").status == 200
    pipeline = server.pipeline(
        {"name": "a", "secrets": names, "steps": ['printf %s "$SECRET_99" | sha256sum']}
    )
    key = server.data / "secrets.key"
    killed = 0
    while not killed:
        before = key.read_text()
        rotation = subprocess.Popen(
            [*COMMAND, "secret", "rotate"],
            env={**os.environ, "RAPIDFLOW_DATA": str(server.data)},
            stdout=subprocess.DEVNULL,
        )
        # The moment is over soon.
        while key.read_text() == before:
            assert rotation.poll() in (None, 0)
            time.sleep(0.002)
        rotation.kill()
        rotation.wait()
        killed += len(key.read_text().split()) == 2
    expected = digest("value of SECRET_99")
    assert server.wait_finished(server.start_build(pipeline))["steps"][0]["output"] == expected
    assert server.command("secret", "rotate").stdout == "100 secrets encrypted with a new key\n"
    assert len(key.read_text().split()) == 1
    assert server.wait_finished(server.start_build(pipeline))["steps"][0]["output"] == expected


def test_a_deleted_pipeline_keeps_its_secrets_until_they_are_removed(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": [PROVE]})
    path = f"/pipelines/{pipeline}/secrets"
    put(server, f"{path}/TOKEN", VALUE)
    job = server.wait_finished(server.start_build(pipeline))["job"]["id"]
    assert server.request("DELETE", f"/pipelines/{pipeline}").status == 200
    job = server.post(f"/jobs/{job}/retry").json["id"]
    assert server.wait_finished(job)["steps"][0]["output"] == digest(VALUE)
    assert put(server, f"{path}/TOKEN", OTHER).status == 200
    job = server.post(f"/jobs/{job}/retry").json["id"]
    assert server.wait_finished(job)["steps"][0]["output"] == digest(OTHER)
    assert server.request("DELETE", f"{path}/TOKEN").status == 200
    assert server.get(path).json == []
    assert server.get(f"/pipelines/{pipeline + 1}/secrets").status == 404


def test_a_build_that_is_taken_up_without_the_key_ends_with_the_reason(any_server: Server) -> None:
    server = any_server
    put(server, "/secrets/TOKEN", VALUE)
    job = server.start_job({"name": "a", "secrets": ["TOKEN"], "steps": ["echo begun; sleep 1000"]})
    plain = server.start_job({"name": "b", "steps": ["echo begun; sleep 1000"]})
    for one in (job, plain):
        server.wait_output(one, "begun\n")
    server.kill()
    (server.data / "secrets.key").rename(server.data.parent / "elsewhere")
    assert "the key of the secrets is missing" in server.command("doctor").stdout
    server.start()
    details = server.wait_finished(job)
    assert (details["job"]["status"], details["job"]["error"]) == (
        "failed", "the key of the secrets is missing; put secrets.key back into the data folder",
    )  # fmt: skip
    assert server.job(plain)["status"] == "running"
    assert server.post(f"/jobs/{plain}/cancel").status == 200
    wait_for(lambda: not list((server.data / "work").iterdir()), "nothing is left of the builds")
    (server.data.parent / "elsewhere").rename(server.data / "secrets.key")
    assert server.command("doctor").returncode == 0


def test_a_backup_has_no_value_and_no_key_and_says_so(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": [PROVE]})
    put(server, "/secrets/TOKEN", VALUE)
    key = (server.data / "secrets.key").read_text().strip()
    file = server.data.parent / "backup.tar"
    done = server.command("backup", str(file))
    assert done.returncode == 0
    assert done.stderr.endswith(
        f"1 secret is in it without the key; keep {server.data}/secrets.key elsewhere\n"
    )
    assert key.encode() not in file.read_bytes() and VALUE.encode() not in file.read_bytes()
    server.stop()
    restored = new_server("restored", executor="process")
    done = restored.command("restore", str(file))
    assert done.returncode == 0
    assert done.stderr == (
        f"put the secrets.key of the server that was backed up into {restored.data}: 1 secret needs it\n"
        f"restored to {restored.data}; start the server\n"
    )
    restored.start()
    failed = restored.wait_finished(restored.start_build(pipeline))["job"]["error"]
    assert failed == "the key of the secrets is missing; put secrets.key back into the data folder"
    (restored.data / "secrets.key").write_text(key)
    assert restored.wait_finished(restored.start_build(pipeline))["steps"][0]["output"] == digest(VALUE)


def test_secrets_are_given_replaced_and_rotated_on_postgres(
    new_server: Callable[..., Server], postgres: Postgres
) -> None:
    server = new_server(database_url=postgres.url, executor="process").start()
    pipeline = server.pipeline({"name": "a", "secrets": ["TOKEN"], "steps": [PROVE]})
    for value in ("the first value", VALUE):
        assert put(server, f"/pipelines/{pipeline}/secrets/TOKEN", value).status == 200
    rotated = server.command("secret", "rotate")
    assert rotated.returncode == 0, rotated.stderr
    assert server.wait_finished(server.start_build(pipeline))["steps"][0]["output"] == digest(VALUE)
    server.stop()
    # As an older version stored it.
    old = "name: b\nrepo_name: https://anna:out-of-date@127.0.0.1:9/x\nsteps: [a]\n"
    postgres.sql(f"UPDATE definition SET config = '{old}'")
    server.start()
    assert server.get(f"/pipelines/{pipeline}").json["config"] == old.replace(":out-of-date", "")
    names = [one["name"] for one in server.get(f"/pipelines/{pipeline}/secrets").json]
    assert names == ["RAPIDFLOW_CLONE_PASSWORD", "TOKEN"]
