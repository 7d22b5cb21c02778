"""Fixtures: a server that all tests share, servers of a test's own, repositories."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import engine_api, images
from tests.support.builds import processes_of
from tests.support.engine_proxy import EngineProxy
from tests.support.postgres import Postgres
from tests.support.repos import Repo
from tests.support.server import COMMAND, Server, containers_of

# A shell that starts the tests in the background, or nohup, has signals ignored, by all that the tests start
# as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _ignored in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(_ignored, signal.SIG_DFL)

# On a busy machine anything may be slow.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

Server.forks = True

_LONGEST = (
    "test_swarm_builds", "test_swarm",
    "test_accessibility", "test_schemathesis", "test_packaging", "test_hostile_requests",
    "test_server_killed", "test_secrets", "test_server_shutdown", "test_installing", "test_clone_passwords",
    "test_hostile_pushes", "test_delivery_bursts", "test_webhooks", "test_engine_outages",
    "test_engine_restarts", "test_clock", "test_slow_clients", "test_overwritten_lines",
    "test_account_pages", "test_forks", "test_build_lifecycle", "test_container_isolation",
    "test_hostile_repositories", "test_concurrency_groups", "test_server_startup", "test_backup",
    "test_doctor", "test_masking", "test_roles_of_routes", "test_log_viewer", "test_hostile_text",
    "test_restore_killed", "test_postgres", "test_source", "test_cli",
)  # fmt: skip
_FOLDERS = ("e2e", "faults", "integration", "api", "contract", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, lest one process works on alone when the others have finished."""

    def place(item: pytest.Item) -> tuple[int, int]:
        name, folder = item.path.stem, item.path.parent.name
        return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST), _FOLDERS.index(folder)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """To look through thousands of tests for garbage again and again would take long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which the servers of the tests may fetch repositories."""
    return tmp_path_factory.mktemp("repos")


@pytest.fixture
def repo(repos: Path, request: pytest.FixtureRequest) -> Repo:
    """An empty repository of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.nodeid)[-80:]
    return Repo(repos / name)


@pytest.fixture(scope="session")
def docker_server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    """A server that many tests share, whose builds run in containers; nobody stops it."""
    yield from _shared(tmp_path_factory.mktemp("docker"), repos, default_image=images.ensure(images.BASH))


@pytest.fixture(scope="session")
def process_server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    """A server that many tests share, whose builds run as processes; nobody stops it.

    A build in a container takes far more CPU time, so this is for tests of all that is the same in both.
    """
    yield from _shared(tmp_path_factory.mktemp("process"), repos, executor="process")


def _shared(folder: Path, repos: Path, **settings: str) -> Iterator[Server]:
    server = Server(folder / "data", file_roots=str(repos), grace="2s", concurrency="4", **settings)
    # Executed, because what a forked server has imported already can't hold its event loop.
    server.program = COMMAND
    server.start()
    yield server
    _end(server)


@pytest.fixture(scope="session")
def server(docker_server: Server) -> Server:
    """The server that tests share, unless the tests of a folder say otherwise."""
    return docker_server


@pytest.fixture
def new_server(tmp_path: Path, repos: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, not yet started, that the test may kill; `new_server(grace="1s")` sets settings."""
    made: list[Server] = []

    def make(name: str = "data", **settings: str) -> Server:
        defaults = {"file_roots": str(repos), "grace": "2s", "concurrency": "4"}
        if settings.get("executor") != "process":
            # So that all containers there are belong to builds.
            defaults |= {"default_image": images.ensure(images.BASH), "parked": "0"}
        made.append(Server(tmp_path / name, **{**defaults, **settings}))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            _end(one)


@pytest.fixture(autouse=True)
def no_stalls() -> Iterator[None]:
    """Fails a test during which the event loop of a server was held for over 100 ms."""
    yield
    stalls = [stall for one in Server.started for stall in one.stalls.new()]
    if stalls:
        pytest.fail("\n".join(stalls), pytrace=False)


@pytest.fixture
def proxy() -> Iterator[EngineProxy]:
    """Stands between servers and the engine, where the test says so."""
    made = EngineProxy()
    yield made
    made.close()


@pytest.fixture
def behind(
    proxy: EngineProxy, new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Server]:
    """Makes servers that reach the engine through the proxy."""

    images.ensure(images.BASH)

    def make(**settings: str) -> Server:
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", proxy.host)
            return new_server(**settings)

    return make


def _end(server: Server) -> None:
    server.stop()
    # A server that ends leaves its builds running, for one that never comes here.
    if (server.data / "installation").exists():
        for container in containers_of(server):
            engine_api.remove(container)
    for process in processes_of(server.data / "work"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process.split()[0]), signal.SIGKILL)


@pytest.fixture(scope="session")
def kept_postgres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where new PostgreSQL servers are kept once somebody has made them."""
    folder = tmp_path_factory.getbasetemp()
    # That of all processes that run tests.
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "postgres"


@pytest.fixture(scope="module")
def postgres(kept_postgres: Path) -> Iterator[Postgres]:
    """A PostgreSQL server of the module's own."""
    made = Postgres(kept_postgres)
    yield made
    made.close()
