"""How far a pull is: what the engine says of each layer, added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from rapidflow_web.progress import Progress

_MOST_LAYERS = 1_000
_MB = 1_000_000


class _Layer(NamedTuple):
    """Bytes as they are downloaded. `size` is 0 until it is known."""

    size: int = 0
    downloaded: int = 0
    unpacked: int = 0


class PullProgress:
    """Tells `progress` of the pull of an image."""

    def __init__(self, image: str, progress: Progress) -> None:
        self._image = image
        self._progress = progress
        self._layers: dict[str, _Layer] = {}
        self._sized = self._total = self._downloaded = self._unpacked = 0  # of all layers
        self._done = 0.0

    def note(self, said: Mapping[str, Any]) -> None:
        """Takes one message of the engine's."""
        before = self._layers.get(name := str(said.get("id")))
        size, downloaded, unpacked = before or _Layer()
        current, total = _bytes(said.get("progressDetail"))
        match said.get("status"):
            case "Pulling fs layer" | "Waiting":
                pass
            case "Downloading":
                size = size or total
                downloaded = min(current, size)
            case "Verifying Checksum" | "Download complete":
                downloaded = size
            case "Extracting":
                # Some engines count seconds instead, and say no total.
                downloaded = size = size or total
                unpacked = size * min(current, total) // total if total else unpacked
            case "Pull complete":
                downloaded = unpacked = size
            case _:
                return  # not of a layer, or of one that is there already
        if before is not None or len(self._layers) < _MOST_LAYERS:
            self._count(name, before or _Layer(), _Layer(size, downloaded, unpacked))
            self._tell()

    def _count(self, name: str, before: _Layer, now: _Layer) -> None:
        self._layers[name] = now
        self._sized += (now.size > 0) - (before.size > 0)
        self._total += now.size - before.size
        self._downloaded += now.downloaded - before.downloaded
        self._unpacked += now.unpacked - before.unpacked

    def _tell(self) -> None:
        if not self._total:
            return
        # Of a layer that has not begun the size is not known; and what was done stays done.
        share = self._sized / len(self._layers)
        self._done = max(self._done, (self._downloaded + self._unpacked) / (2 * self._total) * share)
        downloaded, unpacked, total = (
            size // _MB for size in (self._downloaded, self._unpacked, self._total)
        )
        if self._downloaded < self._total or self._sized < len(self._layers):
            unpacks = f", {unpacked} MB unpacked" if unpacked else ""
            self._progress(f"pulling {self._image}: {downloaded} of {total} MB{unpacks}", self._done)
        else:
            self._progress(f"pulling {self._image}: unpacking, {unpacked} of {total} MB", self._done)


def _bytes(detail: object) -> tuple[int, int]:
    """How many of how many bytes; 0 where that is not said."""
    said: Mapping[str, Any] = cast(Mapping[str, Any], detail) if isinstance(detail, dict) else {}
    current, total = (said.get(name) for name in ("current", "total"))
    if not (isinstance(current, int) and isinstance(total, int) and current >= 0 and 0 < total < 2**60):
        return 0, 0
    return current, total
