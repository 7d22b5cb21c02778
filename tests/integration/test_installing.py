"""What people install a server with: the Dockerfile, compose.yaml and the unit of systemd."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import images
from tests.support.builds import engine, inspect
from tests.support.repos import Repo
from tests.support.server import Server, containers, wait_for
from tests.support.users import as_

CHECKOUT = Path(__file__).parents[2]
IMAGE = "rapidflow-test/server:1"
UNIT = CHECKOUT / "examples" / "rapidflow.service"
SOCKET = Path("/var/run/docker.sock")
USER = 10001


@pytest.fixture(scope="module")
def image() -> str:
    """The server's image, built from the Dockerfile on a base made of Debian packages."""
    before = images.id_of(IMAGE)
    images.build(IMAGE, CHECKOUT, BASE=images.ensure(images.PYTHON))
    if before and before != images.id_of(IMAGE):
        subprocess.run(["docker", "image", "rm", before], capture_output=True)
    return IMAGE


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repository that the user in the container may read; it is `file:///repos/project` there."""
    repo = Repo(tmp_path_factory.mktemp("repos") / "project")
    repo.commit({"greeting": "from a container\n"})
    repo.url = "file:///repos/project"
    subprocess.run(["chown", "--recursive", str(USER), repo.path.parent], check=True)
    return repo


class Composed(Server):
    """compose.yaml with a file of the test's own over it, as `docker compose` runs them."""

    def __init__(self, folder: Path, image: str, repos: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder / "data")
        override = folder / "compose.override.yaml"
        override.write_text(
            "services:\n"
            "  server:\n"
            f"    volumes: ['{repos}:/repos:ro']\n"
            "    environment:\n"
            "      RAPIDFLOW_FILE_ROOTS: /repos\n"
            "    healthcheck:\n"
            "      interval: 2s\n"
        )
        self._command = ["docker-compose", "--file", str(CHECKOUT / "compose.yaml"), "--file", str(override)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
        self._settings = {
            **clean,
            "COMPOSE_PROJECT_NAME": f"rapidflow-test-{self.port}",
            "RAPIDFLOW_IMAGE": image,
            "RAPIDFLOW_PUBLISH": f"127.0.0.1:{self.port}",
            **environment,
        }
        self.container = ""

    def compose(self, *arguments: str, given: str = "") -> str:
        """What `docker compose` prints, and it must succeed."""
        done = subprocess.run(
            [*self._command, *arguments], env=self._settings, input=given, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def up(self) -> Composed:
        """The first start, as docs/operations.md has it."""
        add = ("run", "--rm", "-T", "server", "rapidflow", "user", "add", "anna", "--role", "admin")
        assert "admin anna added" in self.compose(*add, given="correct horse\n")
        self.compose("up", "--detach", "--no-build")
        self.container = self.compose("ps", "--quiet", "server")
        self.wait_healthy()
        self.headers = as_(self.inside("rapidflow", "token", "add", "anna", "a test"))
        return self

    def restart(self) -> None:
        """Restarts the container, which stays the same one."""
        engine("restart", self.container)
        self.wait_healthy()

    def wait_healthy(self) -> None:
        def healthy() -> bool:
            return inspect(self.container, "{{.State.Health.Status}}") == "healthy"

        # On a machine that has much else to do even Python takes its time.
        wait_for(healthy, "the server is healthy", seconds=180)

    def inside(self, *command: str) -> str:
        """What a command prints in the server's container, as its user."""
        return engine("exec", self.container, *command)

    def down(self) -> None:
        """Removes it with its data and its builds."""
        if self.container:
            # Only a server with an engine has a name for its containers.
            name = "/data/installation"
            installation = self.inside("sh", "-c", f"[ ! -e {name} ] || cat {name}") or "none"
            engine("stop", self.container)
            self._remove(containers(f"rapidflow.installation={installation}"))
        self.compose("down", "--volumes")

    @staticmethod
    def _remove(left: list[str]) -> bool:
        subprocess.run(["docker", "rm", "--force", "--volumes", *left], capture_output=True)
        return not left


@pytest.fixture(scope="module")
def with_engine(image: str, repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """A server that builds in the engine which runs it."""
    made = Composed(
        tmp_path_factory.mktemp("engine"),
        image,
        repo.path.parent,
        {
            "DOCKER_GID": str(SOCKET.stat().st_gid),
            "RAPIDFLOW_DEFAULT_IMAGE": images.ensure(images.BASH),
        },
    )
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture(scope="module")
def alone(image: str, repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """A server that builds in its own container, without an engine."""
    made = Composed(
        tmp_path_factory.mktemp("alone"),
        image,
        repo.path.parent,
        {"RAPIDFLOW_EXECUTOR": "process", "DOCKER_SOCKET": "/dev/null", "DOCKER_GID": str(USER)},
    )
    try:
        yield made.up()
    finally:
        made.down()


# The image


def test_image_refuses_to_start_without_users(image: str) -> None:
    done = subprocess.run(["docker", "run", "--rm", image], capture_output=True, text=True)

    assert done.returncode != 0
    assert "Add the first with 'rapidflow user add NAME --role admin'" in done.stderr
    assert "Traceback" not in done.stderr


def test_image_has_a_health_check_a_volume_and_the_tools_for_every_kind_of_repository(image: str) -> None:
    config = inspect(image, "{{json .Config.Healthcheck.Test}} {{json .Config.Volumes}} {{.Config.User}}")
    tools = "git --version && git lfs version && ssh -V && id --user"
    printed = engine("run", "--rm", image, "sh", "-c", tools)

    assert "/health" in config
    assert '{"/data":{}} rapidflow' in config
    assert printed.endswith(f"\n{USER}")


def test_image_has_the_pinned_versions_and_no_installer(image: str) -> None:
    script = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions(path=%r)]"
    folder = engine("run", "--rm", image, "sh", "-c", "echo /opt/rapidflow/lib/python3*/site-packages")
    printed = engine("run", "--rm", image, "python3", "-c", script % [folder])
    installed = {_normal(line.split()[0]): line.split()[1] for line in printed.splitlines()}
    pinned = dict(_pins("requirements.txt"))
    optional = {"asyncpg": dict(_pins("requirements-dev.txt"))["asyncpg"]}

    installed.pop("rapidflow-web")
    assert installed == pinned | optional


def _pins(name: str) -> list[tuple[str, str]]:
    lines = (CHECKOUT / name).read_text().splitlines()
    return [(_normal(line.split("==")[0]), line.split("==")[1]) for line in lines if "==" in line]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Compose


def test_compose_says_how_to_find_the_group_of_the_socket() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DOCKER_GID"}
    done = subprocess.run(
        ["docker-compose", "--file", CHECKOUT / "compose.yaml", "config"],
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode != 0
    assert "stat -c %g /var/run/docker.sock" in done.stderr


def test_composed_cluster_says_which_password_is_missing() -> None:
    files = [f"--file={CHECKOUT / name}" for name in ("compose.yaml", "compose.cluster.yaml")]
    command = ["docker-compose", *files, "config"]
    environment = {**os.environ, "DOCKER_GID": "999"}
    environment.pop("POSTGRES_PASSWORD", None)
    without = subprocess.run(command, env=environment, capture_output=True, text=True)
    done = subprocess.run(
        command, env={**environment, "POSTGRES_PASSWORD": "hunter2"}, capture_output=True, text=True
    )

    assert without.returncode != 0
    assert "openssl rand -hex 16" in without.stderr
    assert "RAPIDFLOW_DATABASE_URL: postgres://rapidflow:hunter2@database/rapidflow" in done.stdout
    assert "RAPIDFLOW_SWARM: unix:///var/run/docker.sock" in done.stdout
    assert "/var/run/docker.sock:/var/run/docker.sock" in done.stdout


def test_composed_server_is_not_root_and_keeps_its_data_to_itself(with_engine: Composed) -> None:
    assert with_engine.inside("id", "--user") == str(USER)
    # Process 1 is what reaps the orphans of builds.
    assert with_engine.inside("cat", "/proc/1/comm") == "tini"

    def rights() -> tuple[set[str], set[str]]:
        status = with_engine.inside("sh", "-c", "cat /proc/[0-9]*/status")
        return (
            set(re.findall(r"^Uid:\t(\d+)", status, re.MULTILINE)),
            set(re.findall(r"^CapEff:\t(\w+)", status, re.MULTILINE)),
        )

    # The engine's own helper, by which a health check begins, is root for a moment.
    wait_for(
        lambda: rights() == ({str(USER)}, {"0" * 16}), "all processes are the user's, without capabilities"
    )
    assert with_engine.inside("stat", "--format", "%a %U", "/data") == "700 rapidflow"
    assert engine("port", with_engine.container) == f"3000/tcp -> 127.0.0.1:{with_engine.port}"


def test_composed_server_asks_for_a_login(with_engine: Composed) -> None:
    assert with_engine.get("/health").status == 200
    assert with_engine.get("/jobs").status == 200
    assert with_engine.get("/jobs", {"Authorization": "Bearer wrong"}).status == 401


def test_composed_server_builds_in_the_engine_that_runs_it(with_engine: Composed, repo: Repo) -> None:
    details = with_engine.run(
        {"name": "engine", "repo_name": repo.url, "steps": ["cat greeting", "hostname"]}
    )

    assert details["job"]["status"] == "success", details
    assert details["steps"][0]["output"] == "from a container\n"
    assert details["steps"][1]["output"].strip() != with_engine.inside("hostname")


def test_build_survives_a_restart_of_the_servers_container(with_engine: Composed, repo: Repo) -> None:
    wait = "echo before; until [ -e /go ]; do sleep 0.1; done; echo after"
    job = with_engine.start_job({"name": "survivor", "repo_name": repo.url, "steps": [wait]})
    with_engine.wait_output(job, "before\n")
    follower = with_engine.follow(job, headers=with_engine.headers)
    follower.wait_for(b"before\n")
    build = with_engine.job(job)["container_id"]

    with_engine.restart()
    assert inspect(build, "{{.State.Running}}") == "true"
    resumed = with_engine.follow(job, headers=with_engine.headers)
    engine("exec", build, "touch", "/go")

    assert with_engine.wait_finished(job)["steps"][0]["output"] == "before\nafter\n"
    assert with_engine.job(job)["status"] == "success"
    assert resumed.wait().count(b"before\n") == 1
    follower.close()


def test_build_reaches_the_server_in_its_container_by_no_address(with_engine: Composed, repo: Repo) -> None:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{end}}"
    container, gateway = inspect(with_engine.container, template).split()
    tries = [
        _ask(container, 3000),
        _ask(gateway, with_engine.port),
        _ask("127.0.0.1", with_engine.port),
    ]

    details = with_engine.run({"name": "curious", "repo_name": repo.url, "steps": tries})

    network = inspect(
        with_engine.container, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
    )
    neighbour = ("run", "--rm", "--network", network, images.ensure(images.BASH), "sh", "-c")
    assert " 200" in engine(*neighbour, tries[0]), "the same command, where it may reach the server"
    assert [step["output"].splitlines()[-1] for step in details["steps"]] == ["refused"] * 3


def _ask(address: str, port: int) -> str:
    """A script that prints the first line of the server's answer, or "refused" last."""
    # Not wget: that of a static busybox crashes.
    request = f"GET /health HTTP/1.1\\r\\nHost: {address}\\r\\nConnection: close\\r\\n\\r\\n"
    script = f"exec 3<>/dev/tcp/{address}/{port} && printf '{request}' >&3 && head -n 1 <&3 | grep HTTP"
    return f'timeout 5 bash -c "{script}" || echo refused'


def test_server_builds_in_its_own_container_without_an_engine(alone: Composed, repo: Repo) -> None:
    steps = ["cat greeting", "id --user; hostname", "(sleep 0.1 & exec true)"]
    job = alone.start_job({"name": "alone", "repo_name": repo.url, "steps": steps})
    followed = alone.follow(job, headers=alone.headers).wait()
    details = alone.wait_finished(job)

    assert details["job"]["status"] == "success", details
    assert b"from a container\n" in followed
    assert details["steps"][1]["output"].split() == [str(USER), alone.inside("hostname")]
    wait_for(lambda: "Z" not in _states(alone), "nothing is left behind")


def test_build_in_the_servers_container_ends_with_it(alone: Composed, repo: Repo) -> None:
    job = alone.start_job({"name": "cut", "repo_name": repo.url, "steps": ["echo before; sleep 600"]})
    alone.wait_output(job, "before\n")

    alone.restart()

    assert alone.wait_finished(job)["job"]["status"] == "failed"


def test_composed_server_is_backed_up_and_checked(alone: Composed) -> None:
    assert alone.inside("rapidflow", "doctor") == "all is well in /data"
    backup = subprocess.run(
        ["docker", "exec", alone.container, "rapidflow", "backup", "-"], capture_output=True, check=True
    )
    assert b"rapidflow.db" in backup.stdout


def _states(server: Composed) -> str:
    """The states of all processes in the server's container."""
    # One that ends while they are read makes sed fail.
    return server.inside("sh", "-c", "sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/[0-9]*/status || :")


# systemd


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, its program one that is here."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/rapidflow/bin/rapidflow", "/bin/true"))
    return copy


def test_systemd_has_nothing_to_say_against_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_notices_a_wrong_word_in_the_unit(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSistem="))

    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)

    assert "ProtectSistem" in done.stderr


def test_systemd_calls_the_unit_hardly_exposed(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
    )

    # The threshold is ten times the level: from 0, nothing is left open, to 10.
    assert done.returncode == 0, done.stdout
