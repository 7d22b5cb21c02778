"""The parts of a build on a terminal, a line each with its state, drawn again in place as they change."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from rapidflow_web.pipeline.durations import format_elapsed
from rapidflow_web.terminal import safe

_WORDS = {"waits_for_approval": "approval?", "forgiven": "allowed"}
_COLOURS = {"success": 32, "forgiven": 32, "failed": 31, "running": 36, "waits_for_approval": 33}
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_ROWS, _LEAST_ROWS = 24, 5


class PartTable:
    """Draws on a terminal. What was drawn last stays on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = not os.environ.get("NO_COLOR")
        self._drawn = 0

    def show(self, parts: Sequence[dict[str, Any]]) -> None:
        """Draws the parts, as the API gives the steps of their build, in place of those before.

        More than there are rows for are shown by their jobs.
        """
        rows = self._rows()
        lines = [self._part(one) for one in parts]
        if len(lines) >= rows:
            lines = list(self._jobs(parts))
        if len(lines) >= rows:
            lines = [*lines[: rows - 2], f"  and {len(lines) - rows + 2} more jobs"]
        back = f"\x1b[{self._drawn}A\r\x1b[J" if self._drawn else ""
        # A line that wrapped would be two to go back over.
        text = "".join(f"{line}\n" for line in lines)
        self._stream.write(f"{back}{_NO_WRAP}{text}{_WRAP}")
        self._stream.flush()
        self._drawn = len(lines)

    def leave(self) -> None:
        """Leaves what is drawn as it is, because something else is printed; the next is drawn below."""
        self._drawn = 0

    def _part(self, one: dict[str, Any]) -> str:
        part = one["part"]
        state = part["state"]
        if state == "waiting" and part["job_id"] is not None:
            state = "queued"
        attempt = f", attempt {part['attempt']}" if part["attempt"] > 1 else ""
        took = _took(one) if state in ("running", "success", "failed", "forgiven") else ""
        about = "  ".join(text for text in (took + attempt, part["reason"] or "") if text)
        return f"  {self._word(state)}  {safe(one['content'])}  {safe(about)}".rstrip()

    def _jobs(self, parts: Sequence[dict[str, Any]]) -> Iterator[str]:
        counts: dict[str, Counter[str]] = {}
        for one in parts:
            counts.setdefault(one["content"].partition(" (")[0], Counter())[one["part"]["state"]] += 1
        for job, states in counts.items():
            state = next((one for one in ("failed", "running") if states[one]), next(iter(states)))
            said = ", ".join(f"{count} {_WORDS.get(one, one)}" for one, count in states.most_common())
            yield f"  {self._word(state)}  {safe(job)}  {safe(said)}"

    def _word(self, state: str) -> str:
        word = f"{safe(_WORDS.get(state, state)):<9}"
        colour = _COLOURS.get(state)
        return f"\x1b[{colour}m{word}\x1b[0m" if colour is not None and self._colours else word

    def _rows(self) -> int:
        try:
            lines = os.get_terminal_size(self._stream.fileno()).lines
        except OSError:
            lines = 0
        return max(lines or _ROWS, _LEAST_ROWS)


def _took(one: dict[str, Any]) -> str:
    if one["started_at"] is None:
        return "taken over"
    end = datetime.fromisoformat(one["finished_at"]) if one["finished_at"] else datetime.now(UTC)
    elapsed = (end - datetime.fromisoformat(one["started_at"])).total_seconds()
    return format_elapsed(max(0.0, elapsed) * 1000, tenths=False)
