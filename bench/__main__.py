"""Runs all measures, or those whose names are given, and prints the table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import load, log_viewer, output, pages, parts, pool, push, requests, start
from bench.table import Row, show
from tests.support import images
from tests.support.server import Server

_MEASURES: dict[str, Callable[[Server, str], Row]] = {
    "first-output": start.first_output,
    "in-a-row": start.in_a_row,
    "unknown-image": start.unknown_image,
    "further-step": start.further_step,
    "push": lambda _, image: push.first_output(image),
    "throughput": output.throughput,
    "lines-to-end": output.lines_until_end,
    "flood-to-end": output.flood_until_end,
    "masking": output.masking,
    "live-delay": output.live_delay,
    "followers": output.many_followers,
    "500-followers": lambda server, image: output.many_followers(server, image, 500, 120),
    "memory": load.memory,
    "20-parts": parts.twenty_parts,
    "256-parts": parts.large_lead,
    # These have servers of their own.
    "small-builds": pool.many_small,
    "at-once": pool.at_once,
    "parked": pool.idle,
    "details": lambda *_: load.details(),
    "requests": lambda *_: requests.requests(),
    "at-rest": lambda *_: load.at_rest(),
    "pages": lambda *_: pages.pages(),
    "log-viewer": log_viewer.log_viewer,
}


def main() -> None:
    """Prints the table; exits with 1 if a bar was not met."""
    wanted = sys.argv[1:] or list(_MEASURES)
    if unknown := set(wanted) - set(_MEASURES):
        sys.exit(f"unknown measures: {', '.join(unknown)}; there are {', '.join(_MEASURES)}")
    image = images.ensure(images.DEBIAN)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name) / "data", default_image=image, concurrency="4").start()
        try:
            for measure in wanted:
                print(f"{measure} ...", file=sys.stderr)
                rows.append(_MEASURES[measure](server, image))
        finally:
            server.stop()
    print(show(rows))
    sys.exit(0 if all(row.met is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
