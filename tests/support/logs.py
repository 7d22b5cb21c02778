"""Logs that tests write and read without a server."""

from __future__ import annotations

from rapidflow_web.logs import stream_text
from rapidflow_web.logs.log import Log
from rapidflow_web.logs.writer import LogWriter


async def write(writer: LogWriter, *outputs: str, seal: bool = True) -> None:
    """Writes steps 11, 12 and so on with these outputs, in pieces, and the end of a success."""
    source = 0
    for number, output in enumerate(outputs, 1):
        await writer.begin_step(10 + number, number, "bash", source)
        for piece in output.splitlines(keepends=True):
            source += len(piece.encode())
            await writer.append(piece.encode(), source)
        await writer.end_step(0, source)
    if seal:
        await writer.seal(stream_text.final_lines("success", None))


async def everything(log: Log) -> str:
    """All that there is, read as readers do."""
    data = b""
    while chunk := await log.read(len(data)):
        data += chunk
    return data.decode()
