"""What a build may use at most: in the pipeline, by default, and at the very most."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from rapidflow_web.pipeline.durations import format_duration, parse_duration

_LONGEST = 7 * 24 * 3600
_LEAST_MEMORY = 6 * 1024**2
"""Bytes. No engine starts a container with less."""
_LEAST_SHM = 64 * 1024
"""Bytes. With less than a page, an engine takes it for no limit at all."""
_LEAST_LOG = 64 * 1024
_PROCESSES = range(16, 4_194_305)
_SIZE_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
_SIZE = re.compile(r"([0-9]{1,15})([kmgKMG]?)")


def parse_size(text: str) -> int:
    """Bytes, at least 1. Raises ValueError with a sentence that says how to write them."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _SIZE_UNITS.get(match[2].lower(), 1) if match else 0
    if size < 1:
        raise ValueError(f"{text[:60]!r} is not a size; write one like 512k, 2m or 1g")
    return size


def format_size(size: int) -> str:
    """The shortest exact way to write `size` bytes, e.g. `2g`."""
    for letter, unit in reversed(_SIZE_UNITS.items()):
        if size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def parse_timeout(text: str) -> int:
    """Seconds. Raises ValueError."""
    seconds = parse_duration(text)
    if seconds > _LONGEST:
        raise ValueError(f"the timeout must be at most {format_duration(_LONGEST)}")
    return seconds


def parse_memory(text: str) -> int:
    """Bytes. Raises ValueError."""
    size = parse_size(text)
    if size < _LEAST_MEMORY:
        raise ValueError(f"a build needs at least {format_size(_LEAST_MEMORY)} of memory")
    return size


def parse_shm(text: str) -> int:
    """Bytes. Raises ValueError."""
    size = parse_size(text)
    if size < _LEAST_SHM:
        raise ValueError(f"shared memory must have at least {format_size(_LEAST_SHM)}")
    return size


def parse_cpus(text: str) -> float:
    """A number of cores, in hundredths. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", text) or float(text) < 0.01:
        raise ValueError(f"{text[:60]!r} is not a number of CPUs; write one like 0.5 or 2")
    return float(text)


def parse_processes(text: str) -> int:
    """A number of processes and threads. Raises ValueError."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) not in _PROCESSES:
        raise ValueError(
            f"{text[:60]!r} is not a number of processes; "
            f"use a whole number from {_PROCESSES.start} to {_PROCESSES.stop - 1}"
        )
    return int(text)


def parse_log_size(text: str) -> int:
    """Bytes. Raises ValueError."""
    size = parse_size(text)
    if size < _LEAST_LOG:
        raise ValueError(f"a log must be allowed at least {format_size(_LEAST_LOG)}")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a build, named like the keys of a pipeline. None: not said, or not limited.

    Times are in seconds, sizes in bytes.
    """

    timeout: int | None = None
    silence_timeout: int | None = None
    """How long a step may run without printing anything."""
    memory: int | None = None
    shm: int | None = None
    """The size of /dev/shm."""
    cpus: float | None = None
    processes: int | None = None
    log_limit: int | None = None

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each limit by name."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    def above(self, most: Limits) -> Iterator[tuple[str, str]]:
        """The limits that exceed `most`, by name, each with what is allowed, as people write it."""
        for name, value in self.items():
            allowed = getattr(most, name)
            if value is not None and allowed is not None and value > allowed:
                yield name, FORMATS[name](allowed)

    def completed(self, default: Limits, most: Limits) -> Limits:
        """These limits, with `default` for what they don't say, and none above `most`."""
        values: dict[str, Any] = {}
        for name, value in self.items():
            value, allowed = value or getattr(default, name), getattr(most, name)
            values[name] = value if allowed is None else min(value or allowed, allowed)
        return Limits(**values)


NO_LIMITS = Limits()

PARSERS: dict[str, Callable[[str], Any]] = {
    "timeout": parse_timeout,
    "silence_timeout": parse_timeout,
    "memory": parse_memory,
    "shm": parse_shm,
    "cpus": parse_cpus,
    "processes": parse_processes,
    "log_limit": parse_log_size,
}
"""From text, by the name of the limit."""

FORMATS: dict[str, Callable[[Any], str]] = {
    "timeout": format_duration,
    "silence_timeout": format_duration,
    "memory": format_size,
    "shm": format_size,
    "cpus": "{:g}".format,
    "processes": str,
    "log_limit": format_size,
}
"""Back to text, by the name of the limit."""
