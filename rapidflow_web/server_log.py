"""What the server says of itself on standard error: lines for people, or JSON for programs.

Each line knows the job that it is about, whoever writes it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Generator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from rapidflow_web.terminal import safe_json, safe_lines

_job: ContextVar[int | None] = ContextVar("job", default=None)


@contextlib.contextmanager
def about(job_id: int) -> Generator[None]:
    """What is logged meanwhile, also by tasks that are begun meanwhile, is about this job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def configure(form: str) -> None:
    """Writes the log from now on as `text` or as `json`, a line for each entry."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("asyncpg.pool").addFilter(_in_one_line)


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shortens the traceback that the driver logs again and again while PostgreSQL is away."""
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
        record.msg, record.args = "%s: %s", (record.getMessage(), record.exc_info[1])
        record.exc_info = None
    return True


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(about)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        job = _job.get()
        record.about = "" if job is None else f"job {job}: "
        # What comes after the message is a traceback.
        return safe_lines(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Only an entry begins at the margin, whatever others have written into its message.
        return safe_lines(super().formatMessage(record)).replace("\n", "\n    ")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (job := _job.get()) is not None:
            entry["job"] = job
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return safe_json(json.dumps(entry, ensure_ascii=False))
