"""Services: containers beside the steps of a build."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import images
from tests.support.builds import WAIT
from tests.support.server import Server, containers_of, wait_for


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    """A running server of the test's own."""
    return new_server().start()


def service(command: str, **more: Any) -> dict[str, Any]:
    return {"image": images.ensure(images.BUSYBOX), "command": command, **more}


def config(*steps: Any, services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "beside", "steps": list(steps), "services": services, **more}


def log_of(server: Server, job_id: int, name: str) -> str:
    answer = server.get(f"/jobs/{job_id}/services/{name}/logs")
    assert answer.status == 200, answer.text
    return answer.text


def build(server: Server, *steps: Any, services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return server.wait_finished(server.start_job(config(*steps, services=services, **more)))


def assert_nothing_left(server: Server) -> None:
    wait_for(lambda: containers_of(server) == [], "no container is left")


def ended(details: dict[str, Any]) -> tuple[str, str | None]:
    return details["job"]["status"], details["job"]["error"]


WEB = "mkdir /www; echo hello >/www/index.html; echo begun; exec httpd -f -p {port} -h /www"


def test_steps_reach_a_service_by_its_name_and_as_localhost(server: Server) -> None:
    details = build(
        server,
        "wget -q -O - http://web:8080/; wget -q -O - http://localhost:8080/",
        services={"web": service(WEB.format(port=8080), ports=[8080])},
    )
    assert ended(details) == ("success", None)
    assert details["steps"][0]["output"] == "hello\nhello\n"
    assert log_of(server, details["job"]["id"], "web") == "begun\n"
    assert_nothing_left(server)


def test_services_of_two_builds_at_once_have_the_same_port(server: Server) -> None:
    def web(text: str) -> dict[str, Any]:
        command = f"mkdir /www; echo {text} >/www/index.html; exec httpd -f -p 8080 -h /www"
        return {"web": service(command, ports=[8080])}

    step = "until [ -e /go ]; do sleep 0.05; done; wget -q -O - http://web:8080/"
    ids = [server.start_job(config(step, services=web(text))) for text in ("one", "two")]
    for job_id in ids:
        server.wait_output(job_id, "=== Step 1")
    for job_id in ids:
        subprocess.run(["docker", "exec", server.job(job_id)["container_id"], "touch", "/go"], check=True)
    outputs = [server.wait_finished(job_id)["steps"][0]["output"] for job_id in ids]
    assert outputs == ["one\n", "two\n"]


def test_a_build_without_network_reaches_its_services(server: Server) -> None:
    details = build(
        server,
        "wget -q -O - http://web:80/; ! wget -q -T 1 -O - http://1.1.1.1/",
        services={"web": service(WEB.format(port=80), ports=[80])},
        network="none",
    )
    assert ended(details) == ("success", None)


def test_a_port_that_listens_on_ipv6_alone_is_ready(server: Server) -> None:
    command = "sleep 0.3; echo begun; exec httpd -f -p [::]:7000"
    details = build(server, "true", services={"six": service(command, ports=[7000], ready_timeout="20s")})
    assert ended(details) == ("success", None)


def test_steps_wait_until_ready_succeeds(server: Server) -> None:
    command = "sleep 0.7; touch /ready; echo done; exec sleep 1000"
    details = build(
        server, "true", services={"slow": service(command, ready="echo no; [ -e /ready ]", env={"A": "b"})}
    )
    assert ended(details) == ("success", None)
    assert log_of(server, details["job"]["id"], "slow") == "done\n"


def test_a_service_has_its_variables_and_what_its_image_starts(server: Server) -> None:
    image = images.ensure(images.BUSYBOX)
    with_command = "rapidflow-test/service:1"
    if not images.exists(with_command):
        subprocess.run(
            ["docker", "build", "-q", "-t", with_command, "-"],
            input=f'FROM {image}\nENV GREETING=hello\nCMD ["sh", "-c", "echo $GREETING $NAME; sleep 1000"]\n',
            text=True,
            check=True,
        )
    service = {"image": with_command, "env": {"NAME": "you"}, "ready": "true"}
    job_id = server.start_job(config("sleep 0.5", services={"greeter": service}))
    server.wait_finished(job_id)
    assert log_of(server, job_id, "greeter") == "hello you\n"


def test_a_service_that_does_not_come_up_fails_the_build_with_its_last_lines(server: Server) -> None:
    services = {
        "db": service("echo first; sleep 0.1; echo wrong password >&2; exec sleep 1000", ports=[5432])
    }
    services["db"]["ready_timeout"] = "2s"
    details = build(server, "echo never", services=services)
    assert ended(details) == (
        "failed",
        "the service db did not come up within 2s; its last lines: first wrong password",
    )
    assert "=== Step" not in server.stream(details["job"]["id"])
    assert log_of(server, details["job"]["id"], "db") == "first\nwrong password\n"
    assert_nothing_left(server)


def test_a_service_that_ends_before_it_is_ready_fails_the_build_at_once(server: Server) -> None:
    details = build(server, "echo never", services={"db": service("echo oops; exit 3", ports=[5432])})
    assert ended(details) == (
        "failed",
        "the service db ended with 3 before it was ready; its last lines: oops",
    )
    phases = server.get(f"/jobs/{details['job']['id']}/timeline").json
    phase = next(one for one in phases if one["failed"])
    assert (phase["name"], phase["detail"]) == ("services", details["job"]["error"])
    assert_nothing_left(server)


def test_a_ready_script_that_fails_is_quoted(server: Server) -> None:
    services = {"db": service("exec sleep 1000", ready="pg_isready", ready_timeout="1s")}
    error = build(server, "echo never", services=services)["job"]["error"]
    assert error == (
        "the service db did not come up within 1s; it printed nothing; "
        "`ready` said: sh: pg_isready: not found"
    )


def test_a_ready_script_says_nothing_of_a_service_that_has_ended(server: Server) -> None:
    services = {"db": service("sleep 1; echo oops; exit 3", ready="echo not yet; exit 1")}
    error = build(server, "echo never", services=services)["job"]["error"]
    assert error == "the service db ended with 3 before it was ready; its last lines: oops"


def test_a_service_that_dies_stops_the_step_that_runs(server: Server) -> None:
    services = {"db": service("exec nc -ll -p 5432 -e cat", ports=[5432])}
    step = f"trap 'echo cleaned up; exit 0' TERM; echo begun; {WAIT}"
    job_id = server.start_job(config(step, "echo never", services=services))
    server.wait_output(job_id, "begun")
    kill(server, job_id, "db")
    details = server.wait_finished(job_id)
    assert ended(details) == ("failed", "the service db ended with 137 while the build ran")
    assert details["steps"][0]["output"] == "begun\ncleaned up\n"
    assert_nothing_left(server)


def test_a_service_that_is_removed_is_told_as_such(server: Server) -> None:
    services = {"db": service("exec nc -ll -p 5432 -e cat", ports=[5432])}
    job_id = server.start_job(config(f"echo begun; {WAIT}", services=services))
    server.wait_output(job_id, "begun")
    command = ["docker", "rm", "--force", container_of(server, job_id, "db")]
    subprocess.run(command, check=True, capture_output=True)
    reason = ended(server.wait_finished(job_id))[1]
    # The engine may still have it, ended.
    assert reason in [
        f"the service db {how} while the build ran" for how in ("was removed", "ended with 137")
    ]
    assert_nothing_left(server)


def test_a_step_that_fails_for_a_dead_service_fails_with_its_name(server: Server) -> None:
    services = {"db": service("nc -l -p 5432 -e cat; exit 9", ports=[5432])}
    job_id = server.start_job(config("nc db 5432 </dev/null; exit 1", services=services))
    error = server.wait_finished(job_id)["job"]["error"]
    assert error == "the service db ended with 9 while the build ran"


def kill(server: Server, job_id: int, name: str) -> None:
    subprocess.run(["docker", "kill", container_of(server, job_id, name)], check=True, capture_output=True)


def container_of(server: Server, job_id: int, name: str) -> str:
    beside = server.job(job_id)["container_id"]
    filters = [f"--filter=label=rapidflow.beside={beside}", f"--filter=label=rapidflow.service={name}"]
    found = subprocess.run(
        ["docker", "ps", "--quiet", "--no-trunc", *filters], capture_output=True, text=True, check=True
    )
    (container_id,) = found.stdout.split()
    return container_id


def test_an_image_that_can_not_be_had_is_said_with_the_name_of_the_service(server: Server) -> None:
    services = {"db": {"image": "127.0.0.1:1/nothing:1"}}
    error = build(server, "echo never", services=services)["job"]["error"]
    assert error.startswith("the service db can't start: could not pull image 127.0.0.1:1/nothing:1: ")
    assert_nothing_left(server)


def test_plain_processes_have_no_services(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    details = server.wait_finished(
        server.start_job(config("echo never", services={"db": {"image": "postgres:16"}}))
    )
    assert ended(details) == (
        "failed",
        "the pipeline has services (db), which need containers; "
        "take them out, or run builds in Docker (RAPIDFLOW_EXECUTOR=docker)",
    )


def test_a_cancel_removes_services(server: Server) -> None:
    services = {"db": service("exec sleep 1000"), "web": service("exec sleep 1000")}
    job_id = server.start_job(config("sleep 1000", services=services))
    server.wait_output(job_id, "=== Step 1")
    assert len(containers_of(server)) == 3
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert_nothing_left(server)


def test_a_cancel_before_services_are_ready_removes_them(server: Server) -> None:
    services = {"db": service("exec sleep 1000", ports=[5432])}
    job_id = server.start_job(config("echo never", services=services))
    wait_for(lambda: len(containers_of(server)) == 2, "the service is started")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert server.wait_finished(job_id)["job"]["status"] == "cancelled"
    assert_nothing_left(server)


_DATABASES = int(os.environ.get("TORTURE_DATABASES", "2"))
# Like the usual image of a database: its first server runs scripts, and can be reached by its socket alone.
_DATABASE = """\
initdb --pgdata /tmp/data --auth trust --username builds --locale C --no-sync >/dev/null
echo "host all all all trust" >>/tmp/data/pg_hba.conf
pg_ctl --pgdata /tmp/data -o "-c listen_addresses= -k /tmp" -w start
psql -h /tmp -U builds postgres -c "CREATE TABLE made AS SELECT generate_series(1, 100000) AS number"
sleep 2
psql -h /tmp -U builds postgres -c "CREATE TABLE ready AS SELECT 42 AS answer"
pg_ctl --pgdata /tmp/data -m fast -w stop
exec postgres -D /tmp/data -k /tmp -c "listen_addresses=*"
"""


def test_the_first_query_to_a_database_with_slow_initial_scripts_succeeds(server: Server) -> None:
    image, query = images.ensure(images.POSTGRES), "SELECT answer, (SELECT count(*) FROM made) FROM ready"
    pipeline_id = server.pipeline(
        {
            "name": "database",
            "image": image,
            "steps": [f'psql -h db -U builds postgres -A -t -c "{query}"'],
            "services": {"db": {"image": image, "command": _DATABASE, "ports": [5432]}},
        }
    )
    for _ in range(_DATABASES):
        details = server.wait_finished(server.start_build(pipeline_id))
        assert (ended(details), details["steps"][0]["output"]) == (("success", None), "42|100000\n")
