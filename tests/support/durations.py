"""How elapsed times are written by the server (`tests/unit`) and by its scripts (`tests/e2e`)."""

from __future__ import annotations

ELAPSED: list[tuple[float, str]] = [
    (-1, "0.0s"), (0, "0.0s"), (99, "0.0s"), (100, "0.1s"), (999, "0.9s"), (1000, "1.0s"), (9_999, "9.9s"),
    (12_345.6, "12.3s"), (59_999, "59.9s"), (60_000, "1m00s"), (119_999, "1m59s"), (1_085_000, "18m05s"),
    (1_139_999, "18m59s"), (1_140_000, "19m00s"), (3_599_999, "59m59s"), (3_600_000, "1h00m"),
    (3_659_999, "1h00m"), (7_199_999, "1h59m"), (100 * 3_600_000, "100h00m"),
]  # fmt: skip
"""Milliseconds, and what is shown."""

WHOLE_SECONDS: list[tuple[float, str]] = [
    (-1, "0s"), (0, "0s"), (999, "0s"), (1000, "1s"), (59_999, "59s"), (60_000, "1m00s"),
    (3_659_999, "1h00m"),
]  # fmt: skip
