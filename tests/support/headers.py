"""What every answer must say to browsers."""

from __future__ import annotations

from rapidflow_web.web.security_headers import HEADERS
from tests.support.server import Answer


def assert_safe(answer: Answer, what: object) -> None:
    """That an answer has what keeps browsers from doing harm with it, each once."""
    for name, value in HEADERS.items():
        # Said twice, it would be joined by a comma.
        assert answer.headers.get(name.lower()) == value, (what, name)
    # Only static files, and parts of pages that are asked for again each time, may be kept.
    cached = (
        ("public, max-age=31536000, immutable", "public, max-age=43200", "private, no-cache")
        if "etag" in answer.headers
        else ("private, no-store",)
    )
    assert answer.headers.get("cache-control") in cached, what
