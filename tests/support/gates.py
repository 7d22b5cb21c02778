"""Steps that wait until a test lets them go on, in a container or without one."""

from __future__ import annotations

from tests.support.builds import engine
from tests.support.server import Server


def waiting(name: str = "go") -> str:
    """The shell command that waits. Names tell several in one build apart."""
    return f'until [ -e "$RAPIDFLOW_WORKSPACE/{name}" ]; do sleep 0.05; done'


def let_go(server: Server, job_id: int, name: str = "go") -> None:
    """Lets a build that waits go on."""
    container = server.job(job_id)["container_id"]
    if container.startswith("process:"):
        (server.data / "work" / str(job_id) / "workspace" / name).touch()
    else:
        engine("exec", container, "touch", f"/workspace/{name}")
