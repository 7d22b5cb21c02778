"""Runs all measures, or those whose names are given, and prints the table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import load, log_viewer, output, pages, start
from bench.table import Row, show
from tests.support import images
from tests.support.server import Server


def main() -> None:
    """Prints the table; exits with 1 if a bar was not met."""
    image = images.ensure(images.DEBIAN)
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name) / "data", default_image=image, concurrency="4").start()
        measures: dict[str, Callable[[], Row]] = {
            "first-output": lambda: start.first_output(server, image),
            "further-step": lambda: start.further_step(server, image),
            "throughput": lambda: output.throughput(server, image),
            "masking": lambda: output.masking(server, image),
            "live-delay": lambda: output.live_delay(server, image),
            "followers": lambda: output.many_followers(server, image),
            "memory": lambda: load.memory(server, image),
            "details": load.details,
            "at-rest": load.at_rest,
            "pages": pages.pages,
            "log-viewer": lambda: log_viewer.log_viewer(server, image),
        }
        wanted = sys.argv[1:] or list(measures)
        if unknown := set(wanted) - set(measures):
            sys.exit(f"unknown measures: {', '.join(unknown)}; there are {', '.join(measures)}")
        rows: list[Row] = []
        try:
            for measure in wanted:
                print(f"{measure} ...", file=sys.stderr)
                rows.append(measures[measure]())
        finally:
            server.stop()
    print(show(rows))
    sys.exit(0 if all(row.met is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
