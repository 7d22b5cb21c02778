"""The frames in which an engine sends what a container prints on both of its outputs."""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">BxxxL")


class Frames:
    """Takes the frames apart. What it gives is the output in the order in which the engine has it."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        """Bytes of the current frame that are still to come."""

    def feed(self, data: bytes) -> bytes:
        """The output in `data`, which may begin and end within a frame."""
        output: list[bytes] = []
        position = 0
        while position < len(data):
            if self._left:
                part = data[position : position + self._left]
                output.append(part)
                self._left -= len(part)
                position += len(part)
                continue
            part = data[position : position + _HEADER.size - len(self._header)]
            self._header += part
            position += len(part)
            if len(self._header) == _HEADER.size:
                self._left = _HEADER.unpack(self._header)[1]
                self._header = b""
        return b"".join(output)
