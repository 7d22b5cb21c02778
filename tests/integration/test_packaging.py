"""What leaves the checkout: the wheel, `make run` and the Procfile, each from a folder elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.support import images
from tests.support.repos import Repo
from tests.support.server import Server, wait_for

CHECKOUT = Path(__file__).parents[2]
_LINKS = re.compile(
    r"""(?:href|src)="(/[^"]*)"|(?:from|import) ?["'](\.[^"']+)["']|url\(["']?([^"')]+)["']?\)"""
)
_READY = re.compile(r"RapidFlow Web is ready: (http://[^\s/]+:(\d+))\s")


class Command(Server):
    """A command that serves until it is stopped, in a process group of its own as from a terminal."""

    def __init__(self, command: list[str | Path], folder: Path, output: Path, **environment: str) -> None:
        super().__init__(output)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAPIDFLOW_", "MAKE", "PYTHON"))}
        with self.log.open("wb") as log:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                cwd=folder,
                env={**clean, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def wait_ready(self, seconds: float = 30) -> Command:
        """Waits until it says that it is ready, and where."""

        def ready() -> bool:
            assert self.process.poll() is None, self.printed
            return bool(_READY.search(self.printed))

        wait_for(ready, "the server is ready", seconds)
        self.url, self.port = _READY.findall(self.printed)[0][0], int(_READY.findall(self.printed)[0][1])
        return self

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code, negative for a signal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts commands that are stopped after the test."""
    yield from _starting(tmp_path)


def _starting(outputs: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def run(command: list[str | Path], folder: Path, **environment: str) -> Command:
        output = outputs / f"output-{len(started)}"
        started.append(Command(command, folder, output, **environment))
        return started[-1]

    yield run
    for command in started:
        command.interrupt()


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    subprocess.run([*pip, "--no-deps", "--wheel-dir", folder, CHECKOUT], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on comes from that of the tests."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", venv]
    subprocess.run([*pip, "install", "--no-deps", wheel], check=True)
    return venv


@pytest.fixture(scope="module")
def installed_server(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, repos: Path
) -> Iterator[Server]:
    """A server from the installed wheel, in a folder that has nothing to do with the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for start in _starting(tmp_path_factory.mktemp("outputs")):
        server: Command = start(
            [installed / "bin" / "rapidflow", "serve"],
            folder,
            PYTHONPATH=sysconfig.get_path("purelib"),
            RAPIDFLOW_BIND="127.0.0.1:0",
            RAPIDFLOW_DATA=str(folder / "data"),
            RAPIDFLOW_EXECUTOR="process",
            RAPIDFLOW_FILE_ROOTS=str(repos),
        )
        yield server.wait_ready()


def test_the_wheel_has_all_files_of_the_package_and_those_its_pages_are_made_of(wheel: Path) -> None:
    expected = {
        f"{folder}/{path.relative_to(CHECKOUT / source).as_posix()}"
        for source, folder in (
            ("rapidflow_web", "rapidflow_web"),
            ("templates", "rapidflow_web/templates"),
            ("static", "rapidflow_web/static"),
            ("docs", "rapidflow_web/docs"),
            ("examples/pipelines", "rapidflow_web/examples/pipelines"),
        )
        for path in (CHECKOUT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}

    assert packed == expected


def test_the_installed_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    printed = subprocess.run(
        [installed / "bin" / "python", "-c", "import rapidflow_web; print(rapidflow_web.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(printed.stdout.strip()).is_relative_to(installed)


def test_an_installed_server_serves_its_pages_and_all_that_they_link(installed_server: Server) -> None:
    seen: dict[str, str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        answer = installed_server.get(path, {"Accept": "text/html"})
        assert answer.status == 200, f"{path}: {answer.status}"
        assert answer.body, f"{path} is empty"
        seen[path] = answer.headers["content-type"].partition(";")[0]
        if seen[path] in ("text/html", "text/css", "text/javascript"):
            links = ("".join(groups) for groups in _LINKS.findall(answer.text))
            waiting += [
                urljoin(path, link).partition("#")[0] for link in links if not link.startswith("data:")
            ]

    assert list(seen.values()).count("text/html") > 1, seen
    static = {kind for path, kind in seen.items() if path.startswith("/static/")}
    assert {"text/css", "text/javascript", "image/svg+xml"} <= static, seen


def test_an_installed_server_shows_errors_as_a_page(installed_server: Server) -> None:
    answer = installed_server.get("/ui/jobs/4711", {"Accept": "text/html"})

    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "no build 4711" in answer.text


def test_an_installed_server_serves_every_static_file(installed_server: Server) -> None:
    static = CHECKOUT / "static"

    for path in filter(Path.is_file, static.rglob("*")):
        answer = installed_server.get(f"/static/{path.relative_to(static).as_posix()}")
        assert (answer.status, answer.body) == (200, path.read_bytes()), path


def test_an_installed_server_describes_its_api(installed_server: Server) -> None:
    assert "/jobs/{job_id}/logs/stream" in installed_server.get("/openapi.json").json["paths"]


def test_an_installed_server_builds(installed_server: Server, repo: Repo) -> None:
    repo.commit({"greeting": "from an installed wheel\n"})

    details = installed_server.run({"name": "installed", "repo_name": repo.url, "steps": ["cat greeting"]})

    assert details["job"]["status"] == "success", details
    assert details["steps"][0]["output"] == "from an installed wheel\n"


# The checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the checkout: what git would keep, changes included. The first test makes its .venv."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    copy = tmp_path_factory.mktemp("clean") / "checkout"
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheels() -> Path:
    """What `make run` installs. Fetched once for each set of pins: that takes pip most of its time."""
    pins = [CHECKOUT / "requirements.txt", CHECKOUT / "requirements-build.txt"]
    digest = hashlib.sha256(b"".join([sys.version.encode(), *(file.read_bytes() for file in pins)]))
    kept = CHECKOUT / ".cache" / f"wheels-{digest.hexdigest()[:16]}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        for old in kept.parent.glob("wheels-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fetched = Path(folder) / "wheels"
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
            wanted = [f"--requirement={file}" for file in pins]
            subprocess.run([*pip, "--no-deps", "--wheel-dir", fetched, *wanted], check=True)
            fetched.rename(kept)
    return kept


@pytest.fixture
def settings(tmp_path: Path, wheels: Path) -> dict[str, str]:
    """A free port, a data folder, a small image, and where pip finds all that is pinned."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        "RAPIDFLOW_BIND": f"127.0.0.1:{port}",
        "RAPIDFLOW_DATA": str(tmp_path / "data"),
        "RAPIDFLOW_DEFAULT_IMAGE": images.ensure(images.BASH),
        # Of all that is installed, a server imports a small part, which it compiles itself.
        "PIP_NO_COMPILE": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }


def test_make_run_builds_the_example_at_its_first_start_only(
    checkout: Path, start: Callable[..., Command], settings: dict[str, str]
) -> None:
    anybody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    first = start(["make", "run"], checkout, **settings, **anybody).wait_ready(seconds=300)
    wait_for(lambda: "The example builds right now" in first.printed, "the example was started")
    details = first.wait_finished(1)
    assert details["job"]["status"] == "success", details
    assert (details["job"]["event"], details["job"]["title"]) == ("push", "Say what the number is")
    assert details["job"]["image"] == settings["RAPIDFLOW_DEFAULT_IMAGE"]
    assert [step["status"] for step in details["steps"]] == ["success"] * 3
    assert Path(settings["RAPIDFLOW_DATA"]).stat().st_mode & 0o777 == 0o700
    first.interrupt()
    work = Path(settings["RAPIDFLOW_DATA"]) / "examples/hello"
    # Whoever has never told git a name can do what the last line asks for.
    nobody = {"PATH": os.environ["PATH"], "HOME": str(work.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (["commit", "--quiet", "--allow-empty", "-m", "Mine"], ["push", "--quiet", "--dry-run"]):
        subprocess.run(["git", *command], cwd=work, env=nobody, check=True)

    second = start(["make", "run"], checkout, **settings).wait_ready()
    own = second.start_build(1)
    assert second.wait_finished(own)["job"]["status"] == "success"

    assert [job["id"] for job in second.get("/jobs").json] == [own, 1]
    assert "requirements" not in second.printed, "they were installed again"


def test_ctrl_c_ends_make_run_without_a_complaint(
    checkout: Path, start: Callable[..., Command], settings: dict[str, str]
) -> None:
    running = start(["make", "run"], checkout, **settings).wait_ready(seconds=300)

    # make itself ends by the signal.
    assert running.interrupt() in (0, -signal.SIGINT)
    assert "***" not in running.printed
    assert "Traceback" not in running.printed
    with pytest.raises(ConnectionRefusedError):
        running.get("/health")


def test_make_run_tells_of_a_port_that_is_taken(
    checkout: Path, start: Callable[..., Command], settings: dict[str, str]
) -> None:
    bind = settings["RAPIDFLOW_BIND"]

    with socket.create_server(("127.0.0.1", int(bind.rpartition(":")[2]))):
        refused = start(["make", "run"], checkout, **settings)
        assert refused.process.wait(timeout=300) == 2

    assert f"RAPIDFLOW_BIND is '{bind}', which can't be used: Address already in use." in refused.printed
    assert "Traceback" not in refused.printed


def test_make_run_goes_on_with_processes_and_says_so_where_no_engine_answers(
    checkout: Path, start: Callable[..., Command], settings: dict[str, str], tmp_path: Path
) -> None:
    nowhere = f"unix://{tmp_path}/nowhere.sock"

    running = start(["make", "run"], checkout, DOCKER_HOST=nowhere, **settings).wait_ready(seconds=300)
    wait_for(lambda: "The example builds right now" in running.printed, "the example was started")

    assert f"Warning: DOCKER_HOST is '{nowhere}'" in running.printed
    assert "without isolation" in running.printed
    assert "without isolation" in running.get("/").text
    assert running.wait_finished(1)["job"]["status"] == "success"


def test_the_procfile_starts_a_server(
    checkout: Path, start: Callable[..., Command], settings: dict[str, str]
) -> None:
    subprocess.run([checkout / "scripts" / "venv.sh"], check=True)
    kind, _, line = (checkout / "Procfile").read_text().strip().partition(": ")
    assert kind == "web"
    port = settings.pop("RAPIDFLOW_BIND").rpartition(":")[2]

    server = start(["sh", "-c", line], checkout, PORT=port, **settings).wait_ready()

    assert server.url == f"http://127.0.0.1:{port}"
    assert server.get("/health").json["status"] == "ok"
