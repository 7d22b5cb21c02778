"""The proxy through which one fetch of git reaches https servers. It judges the address of each connection.

Git follows redirects, and resolves names anew each time. The proxy resolves the name, judges the addresses
and connects to one of them, so nothing can change in between.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import secrets
from collections.abc import AsyncGenerator

from rapidflow_web.source.servers import IP, Allowed, Server, judged, resolve

_HEAD = 16 * 1024
_CHUNK = 64 * 1024
_HEAD_SECONDS = 30.0
_CONNECT_SECONDS = 60.0
_USER = "git"


class EgressProxy:
    """Connects git to `home`, and to others only where `elsewhere` says so and these may be contacted.

    `trusted` is whether `home` may have any address. `problem` is why something was not connected.
    """

    def __init__(self, home: Server, allowed: Allowed, *, trusted: bool, elsewhere: bool) -> None:
        self._home = home
        self._allowed = allowed
        self._trusted = trusted
        self._elsewhere = elsewhere
        self._password = secrets.token_hex(16)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.problem: str | None = None
        self.redirects = False
        """Whether `home` sent git to another server that may be contacted."""

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[EgressProxy]:
        """Listens, on this machine only and for whoever knows the password in `url`."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD)
        self.url = f"http://{_USER}:{self._password}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also of one that is cancelled before it begins.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            try:
                async with asyncio.timeout(_HEAD_SECONDS):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except asyncio.LimitOverrunError:
                return
            if not self._is_ours(head):
                writer.write(b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="git"\r\n\r\n')
                await writer.drain()
                return
            there = await self._connect(head[0])
            if there is None:
                writer.write(b"HTTP/1.1 502 No\r\n\r\n")
                await writer.drain()
                return
            with contextlib.closing(there[1]):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass_on(reader, there[1]))
                    group.create_task(_pass_on(there[0], writer))

    def _is_ours(self, head: list[str]) -> bool:
        expected = "Basic " + base64.b64encode(f"{_USER}:{self._password}".encode()).decode()
        fields = (line.partition(":") for line in head[1:])
        said = [value.strip() for name, _, value in fields if name.lower() == "proxy-authorization"]
        return len(said) == 1 and hmac.compare_digest(said[0].encode(), expected.encode())

    async def _connect(self, line: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        method, _, rest = line.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT" or not host or not port.isascii() or not port.isdigit() or len(port) > 5:
            self.problem = "the server redirects to a URL that is not https"
            return None
        server = Server("https", host.strip("[]").lower().rstrip("."), int(port))
        try:
            addresses = await self._addresses(server)
        except ValueError as error:
            self.problem = str(error)
            return None
        return await self._opened(server, addresses)

    async def _addresses(self, server: Server) -> list[IP]:
        if server.is_at(self._home):
            return await (resolve(server) if self._trusted else judged(server, self._allowed))
        addresses = await judged(server, self._allowed)
        if not self._elsewhere:
            self.redirects = True
            raise ValueError(f"{self._home} redirects to {server}")
        return addresses

    async def _opened(
        self, server: Server, addresses: list[IP]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for address in addresses:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection(str(address), server.port)
            except TimeoutError:
                self.problem = f"{server} does not answer"
            except OSError as error:
                # asyncio puts the address into its own words.
                reason = os.strerror(error.errno) if error.errno else "no connection"
                self.problem = f"could not connect to {server}: {reason}"
        return None


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Either may go at any time; git says what that means. uvloop has a RuntimeError for what is closed.
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.close()  # or the other would wait for more for as long as a fetch may take
