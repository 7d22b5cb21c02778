"""Builds in containers, through any Docker engine that can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors import agent, registry_auth
from rapidflow_web.executors.attachment import Attachment, attach
from rapidflow_web.executors.base import BuildSpec, Exit, Progress
from rapidflow_web.executors.copy import archived_file
from rapidflow_web.shielding import to_the_end

_CALL = aiohttp.ClientTimeout(total=120, connect=10)
"""For calls that the engine answers by itself; a hung engine must not hold a build for ever."""

INSTALLATION_LABEL = "rapidflow.installation"
JOB_LABEL = "rapidflow.job"
_LOG = "/rapidflow/log"


@contextlib.contextmanager
def _engine_errors(doing: str) -> Iterator[None]:
    """Turns what the client raises into errors of ours: no answer, or an answer in the engine's words."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == 900:
            raise EngineUnavailable(f"the Docker engine can't be reached: {error.message}") from error
        raise BuildError(f"could not {doing}: {_one_line(error.message)}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = _one_line(str(error)) or type(error).__name__
        raise EngineUnavailable(f"the Docker engine does not answer: {reason}") from error


class DockerExecutor:
    """Implements `Executor`. `installation` tells containers of ours from those of other installations."""

    name = "docker"
    warning = None
    images = True

    def __init__(self, installation: str, engine_timeout: float, pull_timeout: float) -> None:
        self.installation = installation
        self.engine_timeout = engine_timeout
        self._pull_timeout = pull_timeout
        self._docker: aiodocker.Docker | None = None
        self._pulls: dict[str, asyncio.Lock] = {}
        self._owners: dict[str, tuple[int, int]] = {}

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath("/workspace")

    @property
    def docker(self) -> aiodocker.Docker:
        """The client. Raises `EngineUnavailable` while there is no socket to connect to."""
        if self._docker is None:
            try:
                self._docker = aiodocker.Docker(timeout=_CALL)
            except (AssertionError, ValueError) as error:
                raise EngineUnavailable("no Docker engine was found; start one or set DOCKER_HOST") from error
            # Every running build holds a connection; the usual limit of 100 would let builds wait for ever.
            self._docker.connector._limit = 0  # pyright: ignore[reportPrivateUsage]
        return self._docker

    async def check(self) -> None:
        docker = self.docker
        with _engine_errors("ask the engine for its version"):
            async with asyncio.timeout(5):
                await docker.version()

    async def provide_image(self, image: str, progress: Progress) -> None:
        docker = self.docker
        async with self._pulls.setdefault(image, asyncio.Lock()):
            if await self._has(image):
                return
            progress(f"pulling {image}")
            auth = await registry_auth.credentials(image)
            name = image
            if auth is not None and registry_auth.registry_of(image) == registry_auth.DEFAULT_REGISTRY:
                name = f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"
            layers = _LayerProgress(image, progress)
            try:
                with _engine_errors(f"pull image {image}"):
                    async with asyncio.timeout(self._pull_timeout):
                        async for status in docker.images.pull(name, auth=auth, stream=True):
                            layers.note(status)
            except EngineUnavailable as error:
                if not isinstance(error.__cause__, TimeoutError):
                    raise
                limit = f"{self._pull_timeout:.0f} s"
                raise BuildError(f"could not pull image {image}: it took longer than {limit}") from error
            if not await self._has(image):
                raise BuildError(f"could not pull image {image}: the engine stopped pulling it")

    async def _has(self, image: str) -> bool:
        with _engine_errors(f"look for image {image}"):
            try:
                await self.docker.images.inspect(image)
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return False
                raise
        return True

    async def start(self, spec: BuildSpec, created: Callable[[str], None]) -> DockerBuild:
        docker = self.docker
        build = DockerBuild(self, spec, self._container_name(spec.job_id))
        try:
            with _engine_errors("create the container"):
                container = await docker.containers.create(self._config(spec), name=build.name)
            build.id = container.id
            created(container.id)
            with _engine_errors("start the container"):
                build.attachment, details = await asyncio.gather(attach(docker, build.id), container.show())
                if user := details["Config"]["User"]:
                    await self._make_folders(container, details["Image"], user)
                await build.attachment.write(f"{spec.nonce}\n".encode())
                await container.start()
                if spec.port is not None:
                    build.ports = _published(await container.show())
        except BaseException:
            await to_the_end(build.remove())
            raise
        return build

    async def find(self, spec: BuildSpec) -> DockerBuild | None:
        name = self._container_name(spec.job_id)
        with _engine_errors("look for the container"):
            try:
                details = await self.docker.containers.container(name).show()
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return None
                raise
        build = DockerBuild(self, spec, name)
        build.id = details["Id"]
        build.ports = _published(details) if spec.port is not None else None
        return build

    async def sweep(self, live: set[int]) -> int:
        removed = 0
        labels = {"label": [f"{INSTALLATION_LABEL}={self.installation}"]}
        with _engine_errors("list containers"):
            for container in await self.docker.containers.list(all=True, filters=labels):
                job_id = container["Labels"].get(JOB_LABEL, "")
                if not job_id.isdigit() or int(job_id) not in live:
                    await _delete(container)
                    removed += 1
        return removed

    async def close(self) -> None:
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    def _container_name(self, job_id: int) -> str:
        return f"rapidflow-{self.installation[:12]}-job-{job_id}"

    def _config(self, spec: BuildSpec) -> dict[str, Any]:
        command = agent.command_line(root="", output="copy")
        host: dict[str, Any] = {
            # With any other driver every line would be parsed, stored and sent again: a tenth of the speed.
            "LogConfig": {"Type": "none"},
        }
        config: dict[str, Any] = {
            "Image": spec.image,
            "Entrypoint": command[:1],
            "Cmd": command[1:],
            "WorkingDir": "/",
            "OpenStdin": True,
            "StdinOnce": False,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {INSTALLATION_LABEL: self.installation, JOB_LABEL: str(spec.job_id)},
            "HostConfig": host,
        }
        if spec.port is not None:
            config["ExposedPorts"] = {f"{spec.port}/tcp": {}}
            host["PortBindings"] = {f"{spec.port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        return config

    async def _make_folders(self, container: Any, image_id: str, user: str) -> None:
        """Gives the agent's folders to the image's user, who could not make them in the root folder."""
        if user in ("0", "root", "0:0", "root:root"):
            return
        key = f"{image_id} {user}"
        if key not in self._owners:
            self._owners[key] = await _look_up(container, user)
        uid, gid = self._owners[key]
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("rapidflow", "workspace"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, uid, gid
                tar.addfile(folder)
        await container.put_archive("/", archive.getvalue())


class DockerBuild:
    """Implements `Running` for one container."""

    def __init__(self, executor: DockerExecutor, spec: BuildSpec, name: str) -> None:
        self.name = name
        self.id = name
        self.ports: dict[str, str] | None = None
        self.attachment: Attachment | None = None
        self._executor = executor
        self._spec = spec
        self._removed = False

    @property
    def _container(self) -> aiodocker.containers.DockerContainer:
        return self._executor.docker.containers.container(self.id)

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        while True:
            if self.attachment is None:
                state = await self._state()
                if not state["Running"]:
                    async for chunk in self._copy(offset):
                        yield chunk
                    return
                with _engine_errors("attach to the container"):
                    number, rest = await self._synchronize()
                # The copy up to the marker, what came after it from the attachment: nothing lost or doubled.
                async for chunk in self._copy_to_marker(offset, number):
                    offset += len(chunk)
                    yield chunk
                if rest:
                    offset += len(rest)
                    yield rest
            assert self.attachment is not None
            while chunk := await self.attachment.read():
                offset += len(chunk)
                yield chunk
            # The container ended, or the engine went away; its state tells.
            self.attachment.close()
            self.attachment = None

    async def send(self, line: bytes) -> None:
        if self.attachment is None:
            return  # the connection is being made anew; commands are sent again after it
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self.attachment.write(line)

    async def deliver(self, unpacks: bool) -> None:
        tar = await asyncio.create_subprocess_exec(
            "tar", "--create", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner",
            "--directory", str(self._spec.root), "rapidflow", "workspace",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=8 * agent.BLOCK,
        )  # fmt: skip
        assert tar.stdout is not None and tar.stderr is not None
        try:
            with _engine_errors("put the source into the container"):
                if unpacks:
                    await self._unpack(tar.stdout)
                else:
                    await self._container.put_archive("/", _chunks(tar.stdout))
        finally:
            if tar.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    tar.kill()
            errors = await tar.stderr.read()
            code = await tar.wait()
        if code != 0:
            raise BuildError(f"could not pack the source: {_one_line(errors.decode('utf-8', 'replace'))}")

    async def _unpack(self, archive: asyncio.StreamReader) -> None:
        # Over the agent's own input: an archive call costs 40 ms, whatever its size, and can't overlap the start.
        assert self.attachment is not None
        await self.attachment.write(b"unpack\n")
        pending = b""
        while chunk := await archive.read(64 * agent.BLOCK):
            pending += chunk
            if blocks := len(pending) // agent.BLOCK:
                whole = blocks * agent.BLOCK
                await self.attachment.write(b"%d\n" % blocks + pending[:whole])
                pending = pending[whole:]
        await self.attachment.write(b"0\n")

    async def stop(self, grace: float) -> None:
        with _engine_errors("stop the container"), _gone_is_fine():
            await self._container.stop(t=round(grace))

    async def exit(self) -> Exit:
        if self.attachment is not None:
            self.attachment.close()
            self.attachment = None
        with _engine_errors("stop the container"):
            try:
                with _gone_is_fine():
                    await self._container.kill()
                await self._container.wait(timeout=30.0)
                state = (await self._container.show())["State"]
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return Exit(None)
                raise
        return Exit(state["ExitCode"], state["OOMKilled"])

    async def remove(self) -> None:
        if self._removed:
            return
        # An attachment that nobody reads would make the engine wait with the removal.
        if self.attachment is not None:
            self.attachment.close()
            self.attachment = None
        with _engine_errors("remove the container"):
            await _delete(self._container)
        self._removed = True

    async def detach(self) -> None:
        if self.attachment is not None:
            self.attachment.close()
            self.attachment = None

    async def _state(self) -> dict[str, Any]:
        """The container's state, once the engine answers. Raises `EngineUnavailable` after a time."""
        deadline = asyncio.get_running_loop().time() + self._executor.engine_timeout
        while True:
            try:
                with _engine_errors("look at the container"):
                    return (await self._container.show())["State"]
            except EngineUnavailable as error:
                if asyncio.get_running_loop().time() > deadline:
                    seconds = f"{self._executor.engine_timeout:.0f} s"
                    raise EngineUnavailable(
                        f"the Docker engine went away and did not come back in {seconds}"
                    ) from error
                await asyncio.sleep(0.5)
            except BuildError as error:
                raise BuildError("the container of the build is gone") from error

    async def _synchronize(self) -> tuple[bytes, bytes]:
        """Attaches anew and has the agent print a marker; returns that and what came after it."""
        self.attachment = await attach(self._executor.docker, self.id)
        await self._container.kill(signal="SIGUSR1")
        prefix = f"\x1e{self._spec.nonce} sync ".encode()
        seen = b""
        while chunk := await self.attachment.read():
            seen += chunk
            found = seen.find(prefix)
            if found >= 0 and (end := seen.find(b"\n", found)) >= 0:
                return seen[found : end + 1], seen[end + 1 :]
            seen = seen[-len(prefix) :] if found < 0 else seen[found:]
        raise BuildError("the container ended while its output was taken up again")

    async def _copy(self, offset: int) -> AsyncIterator[bytes]:
        """The copy of the output in the container, from `offset`."""
        with _engine_errors("read the container's copy of the output"):
            async with self._executor.docker._query(  # pyright: ignore[reportPrivateUsage]
                f"containers/{self.id}/archive",
                params={"path": _LOG},
                timeout=aiohttp.ClientTimeout(total=None, sock_read=60),
            ) as response:
                async for chunk in archived_file(response.content, offset):
                    yield chunk

    async def _copy_to_marker(self, offset: int, marker: bytes) -> AsyncIterator[bytes]:
        # tee writes the copy last, so the marker may be a moment late in it.
        for _ in range(50):
            held = b""
            async for chunk in self._copy(offset):
                held += chunk
                if (found := held.find(marker)) >= 0:
                    yield held[: found + len(marker)]
                    return
                if safe := len(held) - len(marker):
                    if safe > 0:
                        yield held[:safe]
                        offset += safe
                        held = held[safe:]
            await asyncio.sleep(0.02)
        raise BuildError("the container's copy of the output stopped; its disk may be full")


class _LayerProgress:
    """Adds up what the engine says of each layer while it pulls."""

    def __init__(self, image: str, progress: Progress) -> None:
        self._image = image
        self._progress = progress
        self._layers: dict[str, tuple[int, int]] = {}

    def note(self, status: dict[str, Any]) -> None:
        detail = status.get("progressDetail") or {}
        if status.get("status") != "Downloading" or not detail.get("total"):
            return
        self._layers[status["id"]] = (detail.get("current", 0), detail["total"])
        done = sum(current for current, _ in self._layers.values()) // 1_000_000
        total = sum(total for _, total in self._layers.values()) // 1_000_000
        self._progress(f"pulling {self._image}: {done} of {total} MB")


async def _delete(container: Any) -> None:
    with _gone_is_fine():
        await container.delete(force=True, v=True)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Lets pass that a container is gone, has ended, or is being removed already."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status not in (304, 404, 409):
            raise


async def _look_up(container: Any, user: str) -> tuple[int, int]:
    """The numbers of an image's USER, e.g. `app`, `1000` or `app:staff`, from the image's own files."""
    name, _, group = user.partition(":")
    entries = await _entries(container, "/etc/passwd")
    entry = next((e for e in entries if name in (e[0], e[2])), None)
    if entry is None and not name.isdigit():
        raise BuildError(f"the image's user '{name}' is not in its /etc/passwd")
    uid = int(entry[2]) if entry else int(name)
    if not group:
        return uid, int(entry[3]) if entry else 0
    if group.isdigit():
        return uid, int(group)
    for candidate in await _entries(container, "/etc/group"):
        if candidate[0] == group:
            return uid, int(candidate[2])
    raise BuildError(f"the image's group '{group}' is not in its /etc/group")


async def _entries(container: Any, path: str) -> list[list[str]]:
    try:
        with await container.get_archive(path) as archive:
            file = archive.extractfile(archive.next())
            text = file.read().decode("utf-8", "replace") if file else ""
    except aiodocker.DockerError:
        return []
    return [fields for line in text.splitlines() if len(fields := line.split(":")) >= 4]


def _published(details: dict[str, Any]) -> dict[str, str] | None:
    bindings: dict[str, Any] = details["NetworkSettings"]["Ports"] or {}
    return {
        port.partition("/")[0]: f"{hosts[0]['HostIp']}:{hosts[0]['HostPort']}"
        for port, hosts in bindings.items()
        if hosts
    } or None


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await stream.read(256 * 1024):
        yield chunk


def _one_line(text: str) -> str:
    return " ".join(text.split())
