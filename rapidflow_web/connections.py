"""How many clients may be connected, and when a connection ends."""

from __future__ import annotations

import resource
from typing import ClassVar

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event, Updated

_SENTENCE = b'{"error": "too many clients are connected; try again in a while"}\n'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Retry-After: 5\r\nConnection: close\r\n\r\n%s" % (len(_SENTENCE), _SENTENCE)
)
_MOST_DESCRIPTORS = 65_536
"""More than clients take, and few enough for programs of builds that go through all of them."""


class Connection(TCPServer):
    """A connection that is refused where there are too many, and that ends with its client.

    The framework's own has no bound, and lingers for the whole keep-alive timeout: a thousand clients that
    come and go within that time would take all the file descriptors there are.
    """

    most: ClassVar[int] = 4096
    _open: ClassVar[int] = 0
    _client_left = False

    async def run(self) -> None:
        if Connection._open >= Connection.most:
            self.writer.write(_REFUSAL)
            await self._close()
            return
        Connection._open += 1
        try:
            await super().run()
        finally:
            Connection._open -= 1

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if not (self._client_left and isinstance(event, Updated) and event.idle):
            await super().protocol_send(event)


def raise_descriptor_limit() -> int:
    """Lets this process open as many files as its user may. Returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
