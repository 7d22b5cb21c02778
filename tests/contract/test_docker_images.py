"""Images of all kinds run the same agent."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import images
from tests.support.builds import WAIT, Place, engine, eventually, inspect


@contextmanager
def derived(base: str, *changes: str, stop_signal: str = "SIGTERM") -> Iterator[str]:
    """An image like `base` with these instructions more, for as long as it is needed."""
    name = f"rapidflow-test/derived:{uuid.uuid4().hex}"
    container = engine("create", "--stop-signal", stop_signal, images.ensure(base), "/bin/sh")
    try:
        engine("commit", *(word for change in changes for word in ("--change", change)), container, name)
        yield name
        engine("rmi", name)
    finally:
        engine("rm", "--force", container)


@pytest.mark.parametrize("image", [images.BASH, images.BUSYBOX, images.USER, images.NO_TAR])
async def test_every_image_runs_steps_on_the_source_and_stops_gracefully(docker: Place, image: str) -> None:
    spec = docker.spec(
        "cat src/main.c; echo made >made; cat made",
        "trap 'echo cleaned; exit 0' TERM; echo ready; " + WAIT,
        image=image,
        files={"src/main.c": "int x;\n"},
    )
    build = await docker.begin(spec)
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"int x;\nmade\n"
    await build.run(2)
    await build.printed(b"ready\n")
    async with asyncio.timeout(30):
        await build.running.stop(60)
    await build.ended()
    assert bytes(build.text).endswith(b"ready\ncleaned\n")
    assert build.markers[-1] == ("exit", "2", "0", "term")


async def test_a_bash_step_has_bash_and_fails_in_the_middle_of_a_pipe(docker: Place) -> None:
    build = await docker.begin_steps('echo "${BASH_VERSION:+bash}"; false | true; echo not reached')
    assert await build.exit(1) == "1"
    assert bytes(build.text) == b"bash\n"


async def test_where_there_is_no_bash_a_bash_step_runs_in_sh_and_stops_at_the_first_error(
    docker: Place,
) -> None:
    build = await docker.begin_steps("echo sh; false; echo not reached", image=images.BUSYBOX)
    assert await build.exit(1) == "1"
    assert bytes(build.text) == b"sh\n"


async def test_entrypoint_stop_signal_and_health_check_of_the_image_do_not_count(docker: Place) -> None:
    changes = ('ENTRYPOINT ["/bin/false"]', "HEALTHCHECK --interval=1s CMD false", "WORKDIR /not-there")
    with derived(images.BASH, *changes, stop_signal="SIGQUIT") as image:
        build = await docker.begin(docker.spec("trap 'echo cleaned' TERM; echo ready; " + WAIT, image=image))
        await build.printed(b"ready\n")
        assert inspect(build.running.id, "{{.Config.StopSignal}}") == "SIGTERM"
        assert inspect(build.running.id, "{{.State.Health}}") == "<nil>"
        await build.running.stop(1)
        await build.ended()
        assert bytes(build.text) == b"ready\ncleaned\n"
        await build.remove()


async def test_the_folders_of_a_build_belong_to_the_user_of_the_image(docker: Place) -> None:
    step = "id -un; stat -c '%U:%G %n' /workspace /rapidflow /workspace/src src/main.c; touch new src/new"
    build = await docker.begin(docker.spec(step, image=images.USER, files={"src/main.c": ""}))
    assert await build.exit(1) == "0"
    assert bytes(build.text).decode().splitlines() == [
        "builder",
        "builder:builder /workspace",
        "builder:builder /rapidflow",
        "builder:builder /workspace/src",
        "builder:builder src/main.c",
    ]


@pytest.mark.parametrize("user", ["builder", "1234", "builder:builder", "1234:1235", "4321", "0", "root"])
async def test_a_user_may_be_named_in_every_way_also_where_the_image_has_no_tar(
    docker: Place, user: str
) -> None:
    with derived(images.NO_TAR, f"USER {user}") as image:
        build = await docker.begin(
            docker.spec("touch src/new; stat -c %u .", image=image, files={"src/a": ""})
        )
        assert await build.exit(1) == "0", bytes(build.text)
        number = {"builder": b"1234", "root": b"0"}.get(
            user.partition(":")[0], user.partition(":")[0].encode()
        )
        assert bytes(build.text).strip() == number
        await build.remove()


async def test_a_user_who_is_not_in_the_image_is_an_error_that_says_so(docker: Place) -> None:
    with derived(images.BASH, "USER nobody-at-all") as image:
        with pytest.raises(Exception, match="nobody-at-all"):
            await docker.start(docker.spec("true", image=image))
        assert docker.left_behind() == []


async def test_volumes_of_the_image_go_with_the_container(docker: Place) -> None:
    with derived(images.BASH, "VOLUME /data") as image:
        build = await docker.begin(docker.spec("touch /data/kept", image=image))
        assert await build.exit(1) == "0"
        volume = inspect(build.running.id, "{{range .Mounts}}{{.Name}}{{end}}")
        assert volume
        await build.remove()
        with pytest.raises(subprocess.CalledProcessError):
            engine("volume", "inspect", volume)


async def test_an_exposed_port_is_published_on_loopback_and_can_be_reached(docker: Place) -> None:
    step = "while :; do echo hello | nc -l -p 3000; done"
    build = await docker.begin(docker.spec(step, image=images.BUSYBOX, port=3000))
    assert build.running.ports is not None
    host, port = build.running.ports["3000"].split(":")
    assert host == "127.0.0.1"

    def answers() -> bool:
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                return connection.recv(100) == b"hello\n"
        except OSError:
            return False

    await eventually(answers, "the port answers")
    found = await docker.another_executor().find(build.stored)
    assert found is not None
    assert found.ports == build.running.ports


async def test_no_port_is_published_where_none_was_asked_for(docker: Place) -> None:
    build = await docker.begin_steps("true")
    assert build.running.ports is None
    assert inspect(build.running.id, "{{.HostConfig.PortBindings}}") == "map[]"


@pytest.mark.parametrize("files", [{}, {"file": "text"}])
async def test_nobody_else_in_the_container_reads_the_variables_of_a_build(
    docker: Place, files: dict[str, str]
) -> None:
    show = "ls -l /rapidflow/env /rapidflow/workdir | cut -c 1-10"
    spec = docker.spec(show, image=images.ensure(images.DEBIAN), files=files)
    build = await docker.begin(spec)
    assert await build.exit(1) == "0"
    assert bytes(build.text).split() == [b"-rw-------", b"-rw-r--r--"]


@pytest.mark.parametrize("image", [images.DEBIAN, images.BUSYBOX])
async def test_a_step_with_orphans_is_asked_to_end_once(docker: Place, image: str) -> None:
    step = """
        n=0
        trap 'n=$((n + 1))' TERM
        for i in 1 2 3 4 5; do (sleep 1000 &); done
        echo ready
        until [ $n -gt 0 ]; do sleep 0.1 || :; done
        sleep 0.5
        echo asked $n
    """
    for _ in range(3):
        build = await docker.begin_steps(step, image=image)
        await build.printed(b"ready\n")
        await build.running.end_step()
        await build.exit(1)
        assert bytes(build.text).endswith(b"asked 1\n"), bytes(build.text)
        await build.running.remove()
