"""A follower that does what clients do when their stream is cut: it goes on from its offset."""

from __future__ import annotations

import http.client
import threading
import time

from tests.support.server import Server


class ResumingFollower:
    """Follows a job, or another `log` of it, over any number of dropped connections and servers."""

    def __init__(self, server: Server, job_id: int, log: str = "logs/stream") -> None:
        self.received = bytearray()
        self.connections = 0
        self._path = f"/jobs/{job_id}/{log}?follow=true"
        self._port = server.port
        self._given_up = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def wait(self, seconds: float = 60) -> bytes:
        """All that came, at the proper end of the stream."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the stream did not end: {bytes(self.received[-500:])!r}"
        return bytes(self.received)

    def give_up(self) -> None:
        self._given_up = True

    def _follow(self) -> None:
        while not self._given_up and not self._connection():
            time.sleep(0.02)

    def _connection(self) -> bool:
        """Reads until the connection ends; whether it ended properly."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", f"{self._path}&offset={len(self.received)}")
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.headers["RapidFlow-Offset"] == str(len(self.received))
            self.connections += 1
            while chunk := response.read1(65536):
                self.received += chunk
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
