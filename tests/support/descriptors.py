"""What a server has open."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.server import Server


def descriptors(server: Server) -> int:
    """How many files, pipes and connections a server has open.

    A bounded number of finished logs stays open for whoever reads them next; these are left out.
    """
    assert server.process is not None
    process = Path(f"/proc/{server.process.pid}")
    return sum(not _is_read_of_a_log(process, entry.name) for entry in (process / "fd").iterdir())


def _is_read_of_a_log(process: Path, number: str) -> bool:
    try:
        flags = int((process / "fdinfo" / number).read_text().split("flags:")[1].split()[0], 8)
        return "/logs/" in str((process / "fd" / number).readlink()) and flags & os.O_ACCMODE == os.O_RDONLY
    except OSError:
        return False
