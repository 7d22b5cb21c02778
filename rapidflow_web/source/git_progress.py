"""How far git is, read from what it prints with `--progress`."""

from __future__ import annotations

import re

from rapidflow_web.progress import Progress

_LONGEST = 1024
"""Bytes that are looked at; git's lines are shorter, and a server across the network may print anything."""
_END = re.compile(rb"[\r\n]")
_LISTED = re.compile(rb"^(?:From | [ *+t=!-] )[^\n]*\n", re.MULTILINE)
"""What a fetch that tells of its progress says of each branch as well: a repository may have any number."""
_LINE = re.compile(
    rb"(?:remote: )?([A-Z][a-z]{1,20} [a-z]{1,20}): {1,8}(\d{1,3})% \(\d{1,15}/\d{1,15}\)"
    rb"(?:, (\d{1,6}\.\d\d [KMG]iB))?"
)
_STAGES = {
    b"Counting objects": ("counting objects", 0.0, 0.05),
    b"Compressing objects": ("compressing objects", 0.05, 0.1),
    b"Receiving objects": ("receiving objects", 0.1, 0.8),
    b"Unpacking objects": ("receiving objects", 0.1, 0.8),
    b"Resolving deltas": ("resolving deltas", 0.8, 0.9),
    b"Updating files": ("writing files", 0.9, 1.0),
}
"""What git does, in words, and from where to where that is of the way from the server to the work tree."""


class GitProgress:
    """Tells `progress` what one git says of itself. Of what came at once only the last counts."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Takes more of what git prints to its standard error."""
        *lines, self._rest = _END.split(self._rest + chunk[-_LONGEST:])
        self._rest = self._rest[-_LONGEST:]
        for line in reversed(lines):
            if (match := _LINE.match(line)) is not None and match[1] in _STAGES:
                words, start, stop = _STAGES[match[1]]
                percent = min(int(match[2]), 100)
                size = f", {match[3].decode()}" if match[3] else ""
                self._progress(f"{words}, {percent} %{size}", start + (stop - start) * percent / 100)
                return


class Errors:
    """The last `most` bytes of what git prints to its standard error; with `skips` without what it lists."""

    def __init__(self, most: int, *, skips: bool) -> None:
        self._most = most
        self._skips = skips
        self._end = b""
        self._line = b""

    def feed(self, chunk: bytes) -> None:
        """Takes more of it. Lines are looked at once, when they have ended."""
        if self._skips:
            lines, ended, rest = chunk.rpartition(b"\n")
            chunk, self._line = (self._line + lines + ended, rest) if ended else (b"", self._line + rest)
            self._line = self._line[-self._most :]
            chunk = _LISTED.sub(b"", chunk)
        self._end = (self._end + chunk)[-self._most :]

    @property
    def end(self) -> bytes:
        """The end of it, so far."""
        return (self._end + self._line)[-self._most :]
