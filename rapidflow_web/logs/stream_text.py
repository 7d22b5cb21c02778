"""The lines of ours between the output of the steps. They are part of the log, byte for byte."""

from __future__ import annotations

from rapidflow_web.pipeline.limits import format_size

COMPLETED = b"=== Build completed ===\n"
LOST = b"=== The rest of this log was lost ===\n"

MOST_CONTINUED = 3
"""Bytes of a character in UTF-8 that can follow its first."""


def continues(byte: int) -> bool:
    """Whether a byte is in the middle of a character in UTF-8."""
    return byte & 0b1100_0000 == 0b1000_0000


def header(order_num: int, step_type: str) -> bytes:
    """The line above a step's output."""
    return f"=== Step {order_num} ({step_type}) ===\n".encode()


def separator(last_byte: bytes) -> bytes:
    """What follows a step's output, of which `last_byte` is the last, or b"" if there was none."""
    return b"\n" if last_byte in (b"", b"\n") else b"\n\n"


def left_out(count: int, limit: int, last_byte: bytes) -> bytes:
    """The line that stands for `count` bytes, in a log that may have `limit`; `last_byte` is before it."""
    line = f"=== {count:,} bytes are left out: the log may have at most {format_size(limit)} ===\n"
    return (b"" if last_byte == b"\n" else b"\n") + line.encode()


def lost(count: int, last_byte: bytes) -> bytes:
    """The line that stands for `count` bytes that can't be read any more; `last_byte` is before it."""
    return (
        b"" if last_byte in (b"", b"\n") else b"\n"
    ) + f"=== {count:,} bytes of this log are lost ===\n".encode()


def final_lines(status: str, error: str | None) -> bytes:
    """The last lines of a build that ended with `status`, and with `error` where it failed."""
    if status == "success":
        return COMPLETED
    if status == "cancelled":
        return b"=== Build cancelled ===\n" + COMPLETED
    reason = " ".join((error or "no reason is known").splitlines())
    return f"=== Build failed: {reason} ===\n".encode("utf-8", "replace") + COMPLETED


def end_of(final: bytes) -> tuple[str, str | None]:
    """Status and error of a build by its final lines; failed for no known reason where they are none."""
    if final == COMPLETED:
        return "success", None
    if final == final_lines("cancelled", None):
        return "cancelled", None
    line = final.decode("utf-8", "replace").partition("\n")[0]
    reason = line.removeprefix("=== Build failed: ").removesuffix(" ===")
    return "failed", reason if reason != line else "no reason is known"
