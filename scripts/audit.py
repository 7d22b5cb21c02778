"""Asks a public service of advisories whether a version that we pin has a known vulnerability.

Ends with 1 where one has. Where the service can't be asked, or does not know what everybody knows, it says so
and ends with 0: that is no reason to stop a build, and no answer either.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SERVICE = "https://api.osv.dev/v1/querybatch"
_SECONDS = 30
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)")
_KNOWN = ("jinja2", "2.10")
"""A release with well-known vulnerabilities, by which a service shows that it knows any."""
_ACCEPTED = Path(__file__).with_name("accepted_advisories.txt")

Pin = tuple[str, str]


def main() -> None:
    """Audits the requirements files that are named, or all of ours."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", default=_SERVICE)
    parser.add_argument("--accepted", type=Path, default=_ACCEPTED)
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    pins = read_pins(given.files or sorted(Path().glob("requirements*.txt")))
    if not pins:
        sys.exit("There are no pins to audit.")
    try:
        known, *found = ask(given.service, [_KNOWN, *pins])
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"Not audited: the service of advisories gave no answer ({getattr(error, 'reason', error)}).")
        return
    if not known:
        print(
            f"Not audited: the service knows of nothing against {_KNOWN[0]} {_KNOWN[1]}, so it knows nothing."
        )
        return
    accepted = set(re.findall(r"^[A-Z]+-\S+", given.accepted.read_text(), re.MULTILINE))
    bad = False
    for (name, version), advisories in zip(pins, found, strict=True):
        if left := sorted(set(advisories) - accepted):
            bad = True
            print(f"{name} {version} has known vulnerabilities: {', '.join(left)}")
    if bad:
        sys.exit(
            f"Pin versions without them (make pins), or give the reason to accept one in {given.accepted}."
        )
    print(f"{len(pins)} pins have no vulnerability that is known and not accepted.")


def read_pins(files: Sequence[Path]) -> list[Pin]:
    """The names and versions in requirements files, each once."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    # The service knows names only as they are normalized.
    return sorted(
        {
            (re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
            for line in lines
            if (match := _PIN.match(line))
        }
    )


def ask(service: str, pins: Sequence[Pin]) -> list[list[str]]:
    """The ids of the advisories on each pin. Raises OSError, ValueError, LookupError or TypeError."""
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    request = urllib.request.Request(
        service, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:
        results: list[dict[str, Any]] = json.load(response)["results"]
    if len(results) != len(pins):
        raise ValueError(f"it answered {len(results)} of {len(pins)} questions")
    return [[str(advisory["id"]) for advisory in result.get("vulns", [])] for result in results]


if __name__ == "__main__":
    main()
